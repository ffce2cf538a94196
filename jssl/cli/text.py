"""``jssl tokenizer``: texts in, ``tokenizer.json`` out."""

from jssl.data.tokenizer import read_documents, train_tokenizer


def tokenizer(arguments) -> int:
    """Trains a tokenizer on the texts of a file and writes it."""
    kind, _, path = arguments.data.partition(":")
    if kind != "text" or not path:
        raise ValueError(f"--data takes text:PATH, got {arguments.data!r}")
    if not arguments.output.parent.is_dir():
        raise ValueError(f"--output: there is no folder {arguments.output.parent}")
    documents = read_documents(path, arguments.column)
    made = train_tokenizer(documents, arguments.size, arguments.kind)
    made.save(str(arguments.output))
    print(f"{made.get_vocab_size()} tokens from {len(documents)} documents in {arguments.output}")
    return 0
