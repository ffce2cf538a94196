"""Texts and their tokenizers: read, train, keep as ``tokenizer.json``.

Tokenizers are those of the library of that name (``pip install 'jssl[text]'``). Every text is
brought to Unicode NFC before it is cut, within the tokenizer too, so that a letter and its marks
are the same however they were typed. Nothing is lowercased and no mark is dropped.
"""

import csv
import json
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jssl import require
from jssl.data.bad import DataError

KINDS = ("bpe", "wordpiece", "unigram")
# In this order they have the numbers 0 to 5 in every tokenizer trained here.
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[EOS]")


def read_documents(path: str, column: str = "text") -> list[str]:
    """The documents of a file, in its order, as NFC; empty ones are left out.

    Args:
        path: ``.txt``, UTF-8: paragraphs where there are empty lines between some, else lines;
          ``.jsonl``: one object a line; ``.csv`` or ``.tsv`` with a header.
        column: the key or column of the text in the last three.

    Raises:
        DataError: for a file that is not there, not of these kinds, not UTF-8, without such a
          column, or without text.
    """
    file = Path(path)
    if not file.is_file():
        raise DataError(f"text:{path}: no such file")
    reader = {".txt": _paragraphs, ".jsonl": _jsonl, ".csv": _csv, ".tsv": _csv}.get(file.suffix)
    if reader is None:
        raise DataError(f"text:{path}: must end in .txt, .jsonl, .csv or .tsv")
    try:
        found = [unicodedata.normalize("NFC", text).strip() for text in reader(file, column)]
    except UnicodeDecodeError as error:
        raise DataError(f"text:{path}: not UTF-8: {error.reason} at {error.start}") from error
    found = [text for text in found if text]
    if not found:
        raise DataError(f"text:{path}: no text in it")
    return found


def _paragraphs(file: Path, column: str) -> list[str]:
    text = file.read_text("utf-8").strip()
    lines = text.split("\n")
    if all(line.strip() for line in lines):
        return lines
    paragraphs = [[]]
    for line in lines:
        if line.strip():
            paragraphs[-1].append(line)
        elif paragraphs[-1]:
            paragraphs.append([])
    return ["\n".join(paragraph) for paragraph in paragraphs]


def _jsonl(file: Path, column: str) -> list[str]:
    found = []
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    row = json.loads(line)
                except json.JSONDecodeError as error:
                    raise DataError(f"text:{file}: line {number} is no JSON: {error}") from error
                keys = row if isinstance(row, dict) else ()
                found.append(_text(file, f"line {number}", row, keys, column))
    return found


def _csv(file: Path, column: str) -> list[str]:
    with file.open(encoding="utf-8", newline="") as lines:
        reader = csv.DictReader(lines, delimiter="\t" if file.suffix == ".tsv" else ",")
        return [
            _text(file, f"row {number}", row, row, column) for number, row in enumerate(reader, 1)
        ]


def _text(file: Path, where: str, row: Any, keys: Iterable[Any], column: str) -> str:
    if column not in keys:
        there = ", ".join(map(str, keys)) or "none"
        raise DataError(f"text:{file}: {where} has no column {column!r}; there are: {there}")
    if not isinstance(row[column], str):
        raise DataError(f"text:{file}: {where}: {column} must be text, got {row[column]!r}")
    return row[column]


def train_tokenizer(documents: Iterable[str], size: int, kind: str = "bpe") -> Any:
    """A tokenizer of about ``size`` tokens, the six of `SPECIAL` first.

    Args:
        documents: texts.
        size: of the vocabulary; fewer tokens where the texts have no more to give.
        kind: ``bpe``, byte-level (Radford et al. 2019), which any text survives without loss;
          ``wordpiece`` (as BERT's, arXiv 1810.04805: words and punctuation apart, what continues a
          word begins with ##) or ``unigram`` (Kudo 2018, arXiv 1804.10959), which give [UNK] for
          characters never seen, and keep words but not what space there was between them.

    Raises:
        ValueError: for another kind, or a size that leaves no room beside the special tokens, and
          the 256 bytes of ``bpe``.
    """
    require.one_of(KINDS, kind=kind)
    require.at_least(len(SPECIAL) + (256 if kind == "bpe" else 1), size=size)
    tokenizers = _library()
    from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

    special = {"special_tokens": list(SPECIAL), "vocab_size": size, "show_progress": False}
    if kind == "bpe":
        made = tokenizers.Tokenizer(models.BPE())
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(initial_alphabet=alphabet, **special)
    elif kind == "wordpiece":
        made = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
        made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        made.decoder = decoders.WordPiece(cleanup=False)
        trainer = trainers.WordPieceTrainer(**special)
    else:
        made = tokenizers.Tokenizer(models.Unigram())
        made.pre_tokenizer = pre_tokenizers.Metaspace()
        made.decoder = decoders.Metaspace()
        trainer = trainers.UnigramTrainer(unk_token="[UNK]", **special)
    made.normalizer = normalizers.NFC()
    made.train_from_iterator(documents, trainer)
    return made


def load_tokenizer(path: str | Path) -> Any:
    """The tokenizer of a ``tokenizer.json``; `DataError` where there is none in it."""
    tokenizers = _library()
    if not Path(path).is_file():
        raise DataError(f"tokenizer {path}: no such file")
    try:
        return tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises no narrower one
        raise DataError(f"tokenizer {path}: cannot be read: {error}") from error


def _library():
    try:
        import tokenizers
    except ImportError as error:
        raise DataError("text needs tokenizers: pip install 'jssl[text]'") from error
    return tokenizers
