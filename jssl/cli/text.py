"""``jssl tokenizer``: texts in, ``tokenizer.json`` out; and the tokenizer of a run."""

from pathlib import Path

from jssl.data.tokenizer import load_tokenizer, read_documents, train_tokenizer


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


def keep_tokenizer(config, workdir: Path) -> None:
    """Of a run on texts: puts its tokenizer into its folder, and that into the config.

    It is the one already there, or that of ``data.tokenizer``, or one of ``data.vocabulary``
    tokens trained on the texts.
    """
    kind, _, path = config.data.source.partition(":")
    if kind != "text":
        return
    file = workdir / "tokenizer.json"
    if not file.exists():
        if config.data.tokenizer is not None:
            made = load_tokenizer(config.data.tokenizer)
        else:
            made = train_tokenizer(read_documents(path), config.data.vocabulary)
        workdir.mkdir(parents=True, exist_ok=True)
        made.save(str(file.with_suffix(".partial")))
        file.with_suffix(".partial").rename(file)
    with config.unlocked():
        config.data.tokenizer = str(file)
