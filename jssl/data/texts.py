"""Texts as rows of tokens: the readers behind `text:PATH`."""

import functools
from pathlib import Path

import numpy as np

from jssl.data.bad import DataError
from jssl.data.documents import Documents, read_documents
from jssl.data.packing import pack
from jssl.data.tokenizer import load_tokenizer


class Texts:
    """The documents of a file or folder (`jssl.data.documents`), a record each.

    Behind each stands [EOS], where the tokenizer has it; what is longer than a row loses its end,
    what is shorter is padded.
    """

    content, names = "tokens", None

    def __init__(self, path: str, split: str, tokenizer: str | Path | None, length: int):
        """Reads and encodes; raises `DataError`."""
        if tokenizer is None:
            raise DataError(f"text:{path}: needs a tokenizer; `jssl tokenizer` trains one")
        self.path, self.name, self._given = path, f"text:{path}", (split, tokenizer, length)
        documents, self.ids = _encoded(path, split, str(tokenizer))
        self.labels, self.class_names = documents.labels, documents.class_names
        self.num_classes = len(documents.class_names or ())
        self.pad, self.length = load_tokenizer(tokenizer).token_to_id("[PAD]") or 0, length

    def __reduce__(self):  # noqa: D105
        # A worker process reads the file itself.
        return Texts, (self.path, *self._given)

    def __len__(self) -> int:
        """The number of documents."""
        return len(self.ids)

    def read(self, i: int, size: int | None = None) -> tuple[np.ndarray, np.ndarray, int]:
        """The tokens [t], segments [t] (1, or 0 for padding) and label of a document."""
        ids = self.ids[i][: self.length]
        tokens, segments = (np.full(self.length, x, np.int32) for x in (self.pad, 0))
        tokens[: len(ids)], segments[: len(ids)] = ids, 1
        return tokens, segments, int(self.labels[i])

    def place(self, i: int) -> str:
        """Where a document is, for people."""
        where = f"{self.path} {self._given[0]}" if Path(self.path).is_dir() else self.path
        return f"{where} document {i}"

    def identity(self, i: int) -> str:
        """What names a document: its number, so long as the text stays the same before it."""
        return str(i)

    def packed(self, documents: np.ndarray) -> "Packed":
        """Some of the documents, one after the other in rows that are full."""
        return Packed(self, [int(i) for i in documents])


class Packed:
    """Documents packed into rows (`jssl.data.packing.pack`), a record each, without a label."""

    content, names, labels = "tokens", None, None

    def __init__(self, texts: Texts, documents: list[int]):
        """Packs these documents of the texts."""
        self._given, self.name = (texts, documents), texts.name
        self.num_classes, self.class_names = texts.num_classes, texts.class_names
        self.tokens, self.segments = pack(
            [texts.ids[i] for i in documents], texts.length, texts.pad
        )

    def __reduce__(self):  # noqa: D105
        return Packed, self._given

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.tokens)

    def read(self, i: int, size: int | None = None) -> tuple[np.ndarray, np.ndarray, int]:
        """The tokens and segments [t] of a row, and -1."""
        return self.tokens[i], self.segments[i], -1

    def place(self, i: int) -> str:
        """Where a row is, for people."""
        return f"{self.name} row {i}"

    def identity(self, i: int) -> str:
        """The number of a row."""
        return str(i)


@functools.lru_cache(maxsize=4)
def _encoded(path: str, split: str, file: str) -> tuple[Documents, list[np.ndarray]]:
    tokenizer, documents = load_tokenizer(file), read_documents(path, split)
    end = tokenizer.token_to_id("[EOS]")
    after = [] if end is None else [end]
    encoded = tokenizer.encode_batch(documents.texts, add_special_tokens=False)
    return documents, [np.array(e.ids + after, np.int32) for e in encoded]


def describe_tokens(file: str | Path) -> dict[str, int | str | None]:
    """What a method is told of a tokenizer: its size, its special tokens, where words begin.

    Raises:
        DataError: if it lacks a special token.
    """
    tokenizer = load_tokenizer(file)
    special = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "cls", "sep", "mask")}
    found = {name: tokenizer.token_to_id(token) for name, token in special.items()}
    for name, token in special.items():
        if found[name] is None:
            raise DataError(f"tokenizer {file}: has no token {token}")
    k = tokenizer.get_vocab_size()
    tokens = [tokenizer.id_to_token(i) or "" for i in range(k)]
    # A space that begins a word is Ġ in byte-level BPE and ▁ in Unigram; WordPiece marks the rest.
    spaces = next((mark for mark in "Ġ▁" if any(t.startswith(mark) for t in tokens)), None)
    starts = [not t.startswith("##") if spaces is None else t.startswith(spaces) for t in tokens]
    return {"vocabulary": k, **found, "word_starts": "".join("01"[start] for start in starts)}
