"""Texts as rows of tokens: the reader behind `text:PATH`."""

import functools
from pathlib import Path

import numpy as np

from jssl.data.bad import DataError
from jssl.data.packing import pack
from jssl.data.tokenizer import load_tokenizer, read_documents


class Texts:
    """The documents of a file, each with [EOS] behind it where the tokenizer has one, packed.

    A record is a row of tokens; see `jssl.data.packing.pack`.
    """

    content = "tokens"
    num_classes, class_names, names, labels = 0, None, None, None

    def __init__(self, path: str, split: str, tokenizer: str | Path | None, length: int):
        """Reads and packs the file; raises `DataError`."""
        if split != "train":
            raise DataError(f"text:{path}: has no {split} split")
        if tokenizer is None:
            raise DataError(f"text:{path}: needs a tokenizer; `jssl tokenizer` trains one")
        self.path, self.name, self._given = path, f"text:{path}", (tokenizer, length)
        self.tokens, self.segments = _packed(path, str(tokenizer), length)

    def __reduce__(self):  # noqa: D105
        # A worker process reads the file itself.
        return Texts, (self.path, "train", *self._given)

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.tokens)

    def read(self, i: int, size: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The tokens and segments of a row."""
        return self.tokens[i], self.segments[i]

    def place(self, i: int) -> str:
        """Where a row is, for people."""
        return f"{self.path} row {i}"

    def identity(self, i: int) -> str:
        """What names a row: its number, so long as the text stays the same before it."""
        return str(i)


@functools.lru_cache(maxsize=2)
def _packed(path: str, file: str, length: int) -> tuple[np.ndarray, np.ndarray]:
    tokenizer = load_tokenizer(file)
    end, pad = tokenizer.token_to_id("[EOS]"), tokenizer.token_to_id("[PAD]")
    after = [] if end is None else [end]
    encoded = tokenizer.encode_batch(read_documents(path), add_special_tokens=False)
    return pack([np.array(e.ids + after, np.int32) for e in encoded], length, pad or 0)


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
