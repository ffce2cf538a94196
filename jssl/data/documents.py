"""The documents of a file or folder, as Unicode NFC, with a label each where there are some."""

import csv
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jssl.data.bad import DataError
from jssl.data.folder import natural, pick_split, split_folders

_WITH_COLUMNS = re.compile(r"(.+\.(?:jsonl|csv|tsv))@([^@]+)(?:@([^@]+))?")


class Documents(NamedTuple):
    """What was read, in the order in which it stands there; empty documents are left out.

    texts: as NFC, without space around them.
    labels: [n] int32, -1 where there is none.
    class_names: in the order of the labels, None without labels.
    """

    texts: list[str]
    labels: np.ndarray
    class_names: tuple[str, ...] | None


def read_documents(path: str, split: str = "train") -> Documents:
    """Reads a file, or a folder with a class a file or a class a folder.

    Args:
        path: FILE.txt, UTF-8: paragraphs where there are empty lines between some, else lines;
          FILE.jsonl: one object a line; FILE.csv or FILE.tsv (in which quotes are letters).
          ``FILE@TEXT@LABEL`` names the key or column of the text (else it is ``text``) and that of
          the label (else there is none); columns that are numbers count from 0 in a file without
          a header. Or a folder: ``pos.txt``, a document a line, and ``neg.txt``, or ``pos/`` and
          ``neg/`` with a .txt file a document; all of that in ``train`` and ``test`` where the
          folder has splits (as `jssl.data.folder.Folder`).
        split: of a folder that has some. A file is the same in all of them.

    Raises:
        DataError: for a file that is not there, not of these kinds, not UTF-8, without such a
          column, or without text.
    """
    found = _WITH_COLUMNS.fullmatch(path)
    path, text, label = found.groups() if found else (path, "text", None)
    file = Path(path)
    try:
        pairs = _folder(file, split) if file.is_dir() else _file(file, text, label)
        pairs = [(unicodedata.normalize("NFC", text).strip(), label) for text, label in pairs]
    except UnicodeDecodeError as error:
        raise DataError(f"text:{path}: not UTF-8: {error.reason} at {error.start}") from error
    pairs = [(text, label) for text, label in pairs if text]
    if not pairs:
        raise DataError(f"text:{path}: no text in it")
    names = _classes(file) if file.is_dir() else {name for _, name in pairs if name is not None}
    names = tuple(sorted(names, key=natural))
    number = {name: k for k, name in enumerate(names)}
    labels = np.array([number.get(label, -1) for _, label in pairs], np.int32)
    return Documents([text for text, _ in pairs], labels, names or None)


def _folder(root: Path, split: str) -> Iterator[tuple[str, str]]:
    root = pick_split(root, split_folders(root), split)
    for name, part in sorted(_parts(root).items(), key=lambda item: natural(item[0])):
        if part.is_dir():
            for file in sorted(part.rglob("*.txt"), key=lambda p: natural(p.as_posix())):
                yield file.read_text("utf-8"), name
        else:
            for line in part.read_text("utf-8").split("\n"):
                yield line, name


def _parts(root: Path) -> dict[str, Path]:
    there = (p for p in root.iterdir() if not p.name.startswith("."))
    return {p.stem: p for p in there if p.is_dir() or p.suffix == ".txt"}


def _classes(root: Path) -> set[str]:
    # Over all splits, so that a split without some class numbers the others alike.
    return {name for part in split_folders(root) or (root,) for name in _parts(part)}


def _file(file: Path, text: str, label: str | None) -> Iterable[tuple[str, str | None]]:
    if not file.is_file():
        raise DataError(f"text:{file}: no such file")
    reader = {".txt": _paragraphs, ".jsonl": _jsonl, ".csv": _csv, ".tsv": _csv}.get(file.suffix)
    if reader is None:
        raise DataError(f"text:{file}: must end in .txt, .jsonl, .csv or .tsv")
    return reader(file, text, label)


def _paragraphs(file: Path, text: str, label: None) -> list[tuple[str, None]]:
    lines = file.read_text("utf-8").strip().split("\n")
    if all(line.strip() for line in lines):
        return [(line, None) for line in lines]
    paragraphs = [[]]
    for line in lines:
        if line.strip():
            paragraphs[-1].append(line)
        elif paragraphs[-1]:
            paragraphs.append([])
    return [("\n".join(paragraph), None) for paragraph in paragraphs]


def _jsonl(file: Path, text: str, label: str | None) -> Iterator[tuple[str, str | None]]:
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    row = json.loads(line)
                except json.JSONDecodeError as error:
                    raise DataError(f"text:{file}: line {number} is no JSON: {error}") from error
                keys = row if isinstance(row, dict) else ()
                yield _pair(file, f"line {number}", row, keys, text, label)


def _csv(file: Path, text: str, label: str | None) -> Iterator[tuple[str, str | None]]:
    form = {"delimiter": ","}
    if file.suffix == ".tsv":
        form = {"delimiter": "\t", "quoting": csv.QUOTE_NONE}
    with file.open(encoding="utf-8", newline="") as lines:
        if text.isdigit():
            rows = (
                dict(zip(map(str, range(len(r))), r, strict=True))
                for r in csv.reader(lines, **form)
            )
        else:
            rows = csv.DictReader(lines, **form)
        for number, row in enumerate(rows, 1):
            yield _pair(file, f"row {number}", row, row, text, label)


def _pair(
    file: Path, where: str, row: Any, keys: Iterable[Any], text: str, label: str | None
) -> tuple[str, str | None]:
    for column in (text, label):
        if column is not None and column not in keys:
            there = ", ".join(map(str, keys)) or "none"
            raise DataError(f"text:{file}: {where} has no column {column!r}; there are: {there}")
    if not isinstance(row[text], str):
        raise DataError(f"text:{file}: {where}: {text} must be text, got {row[text]!r}")
    return row[text], None if label is None else str(row[label])
