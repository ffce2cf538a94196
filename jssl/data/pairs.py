"""Images with a caption each: the reader behind `pairs:PATH`."""

import functools
import json
import re
import unicodedata
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Shaped

from jssl.data.bad import DataError, Undecodable
from jssl.data.decode import decode
from jssl.data.folder import EXTENSIONS, natural
from jssl.data.labels import held_out
from jssl.data.tokenizer import load_tokenizer

CAPTIONS = ("captions.json", "captions.jsonl")
# Of the pairs, by a hash of the image's name, where no row says what is test.
TEST_SHARE = 0.2
_WITH_KEYS = re.compile(r"(.*?)(?:@([^@]+?))?(?:@([^@]+?))?")


class Captions(NamedTuple):
    """The rows of a captions file, all splits.

    images: the path of each row's image within the folder or zip.
    texts: the captions as NFC, without space around them.
    labels: None where there is none.
    test: [n] bool, which rows are test.
    """

    images: tuple[str, ...]
    texts: tuple[str, ...]
    labels: tuple[str | None, ...]
    test: np.ndarray


class Files(NamedTuple):
    """What lies in a folder or zip: paths in it, and how to read one."""

    names: tuple[str, ...]
    read: Callable[[str], bytes]


class Pairs:
    """Images with captions, a record each row of the captions file.

    The caption is given as a row of tokens with [EOS] at its end, which stays where a caption is
    too long for the row. Arguments as of `read_captions`.
    """

    content = "image"

    def __init__(self, path: str, split: str, tokenizer: str | None, length: int):
        """Reads the captions, no image; raises `DataError`."""
        self.name, self._given = f"pairs:{path}", (path, split, tokenizer, length)
        if tokenizer is None:
            raise DataError(f"{self.name}: needs a tokenizer; pretraining trains one")
        if split not in ("train", "test"):
            raise DataError(f"{self.name}: has no {split} split, only train and test")
        captions = read_captions(path)
        rows = np.flatnonzero(captions.test == (split == "test"))
        self.path, self._files = _parts(path)[0], _files(_parts(path)[0])
        self.names: tuple[str, ...] = tuple(captions.images[i] for i in rows)
        self.captions: tuple[str, ...] = tuple(captions.texts[i] for i in rows)
        classes = sorted(set(captions.labels) - {None}, key=natural)
        self.class_names, self.num_classes = tuple(classes) or None, len(classes)
        number = {name: k for k, name in enumerate(classes)}
        self.labels = np.array([number.get(captions.labels[i], -1) for i in rows], np.int32)
        self._tokens = encode(tokenizer, self.captions, length)

    def __reduce__(self):  # noqa: D105
        # A worker process opens the files itself.
        return Pairs, self._given

    def __len__(self) -> int:
        """The number of pairs."""
        return len(self.names)

    def place(self, i: int) -> str:
        """The path of image ``i``, behind that of the zip it is in."""
        return str(Path(self.path) / self.names[i])

    def identity(self, i: int) -> str:
        """The path of image ``i``, so that all captions of an image stay together."""
        return self.names[i]

    def read(self, i: int, size: int | None = None) -> tuple[Shaped[np.ndarray, "h w c"], int]:
        """Decodes image ``i``; ``size`` as in `jssl.data.decode.decode`."""
        place = self.place(i)
        try:
            data = self._files.read(self.names[i])
        except (OSError, zipfile.BadZipFile) as error:
            raise Undecodable(place, f"{type(error).__name__}: {error}") from error
        return decode(data, place, size), int(self.labels[i])

    def beside(self, i: int) -> dict[str, np.ndarray]:
        """The ``tokens`` [t] and ``segments`` [t] (1, or 0 for padding) of caption ``i``."""
        return {name: rows[i] for name, rows in self._tokens.items()}


def encode(
    tokenizer: str | Path, texts: tuple[str, ...] | list[str], length: int
) -> dict[str, np.ndarray]:
    """Texts as ``tokens`` [n length] with [EOS] at their ends, and ``segments`` [n length].

    Raises:
        DataError: if the tokenizer has no [EOS], or there is no room for it and a token.
    """
    made = load_tokenizer(tokenizer)
    end, pad = made.token_to_id("[EOS]"), made.token_to_id("[PAD]") or 0
    if end is None or length < 2:
        raise DataError(f"captions need a tokenizer with [EOS] and length >= 2, got {length}")
    texts = [unicodedata.normalize("NFC", text).strip() for text in texts]
    tokens = np.full((len(texts), length), pad, np.int32)
    segments = np.zeros_like(tokens)
    for i, encoded in enumerate(made.encode_batch(texts, add_special_tokens=False)):
        ids = [*encoded.ids[: length - 1], end]
        tokens[i, : len(ids)], segments[i, : len(ids)] = ids, 1
    return {"tokens": tokens, "segments": segments}


@functools.lru_cache(maxsize=4)
def read_captions(path: str) -> Captions:
    """Reads the captions file of a folder, a zip or beside the images.

    Args:
        path: ``PATH[@CAPTION[@LABEL]]``. PATH is a folder or zip with `CAPTIONS`, or a .jsonl file
          with images beside it. Rows are objects with ``image``, a path from the captions file or
          from ``images/`` beside it; the caption under the key CAPTION (``caption`` if not given;
          ``KEY+KEY`` joins several with a comma, and so it does a list of words), a label under
          LABEL, and perhaps ``split``, train or test: without it a fifth of the images is test.

    Raises:
        DataError: one line, for a file that is missing, not UTF-8 or not JSON, a row without image
          or caption, an image that is not there, or, but beside a .jsonl, has no row.
    """
    place, keys, label = _parts(path)
    files, name = _files(place), f"pairs:{place}"
    found = sorted((n for n in files.names if _is_captions(n, place)), key=lambda n: n.count("/"))
    if not found:
        raise DataError(f"{name}: has no {' or '.join(CAPTIONS)}")
    root, there = PurePosixPath(found[0]).parent, set(files.names)
    images, texts, labels, splits = [], [], [], []
    for where, row in _rows(f"{name} {found[0]}", found[0], files.read(found[0])):
        image = row.get("image")
        candidates = [str(root / folder / str(image)) for folder in ("", "images")]
        at = next((c for c in candidates if isinstance(image, str) and c in there), None)
        if at is None:
            raise DataError(f"{where}: a caption for image {image!r}, which is not there")
        images.append(at)
        texts.append(", ".join(_words(where, row, key) for key in keys.split("+")))
        if label is not None and row.get(label) is None:
            raise DataError(f"{where}: image {image} has no {label!r}; there are: {', '.join(row)}")
        labels.append(None if label is None else str(row[label]))
        splits.append(row.get("split"))
    if not images:
        raise DataError(f"{name}: no captions in {found[0]}")
    if not place.endswith(".jsonl"):
        bare = sorted({n for n in there if n.lower().endswith(EXTENSIONS)} - set(images))
        if bare:
            more = f" and {len(bare) - 1} more" if len(bare) > 1 else ""
            raise DataError(f"{name}: {bare[0]}{more} has no caption in {found[0]}")
    return Captions(tuple(images), tuple(texts), tuple(labels), _test(name, images, splits))


def _parts(path: str) -> tuple[str, str, str | None]:
    if Path(path).exists():  # a path may have an @ of its own
        return path, "caption", None
    place, caption, label = _WITH_KEYS.fullmatch(path).groups()
    return place, caption or "caption", label


def _files(place: str) -> Files:
    """Hidden files left out; of a .jsonl those beside it."""
    path, archive = Path(place), None
    if path.suffix == ".jsonl" and path.is_file():
        path = path.parent
    if path.is_dir():
        names = [p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file()]
    elif path.is_file():
        try:
            archive = zipfile.ZipFile(path)
        except zipfile.BadZipFile as error:
            raise DataError(f"pairs:{place}: neither a folder nor a zip nor .jsonl") from error
        names = [info.filename for info in archive.infolist() if not info.is_dir()]
    else:
        raise DataError(f"pairs:{place}: no such folder, zip or .jsonl")
    hidden = (".", "__MACOSX")
    names = [n for n in names if not any(part.startswith(hidden) for part in n.split("/"))]
    read = archive.read if archive else (lambda name: (path / name).read_bytes())
    return Files(tuple(names), read)


def _is_captions(name: str, place: str) -> bool:
    if place.endswith(".jsonl"):
        return name == Path(place).name
    return name.split("/")[-1] in CAPTIONS


def _rows(where: str, file: str, data: bytes) -> list[tuple[str, dict[str, Any]]]:
    """Each row with where it is, for people."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: not UTF-8: {error.reason} at byte {error.start}") from error
    try:
        if file.endswith(".jsonl"):
            lines = enumerate(text.split("\n"), 1)
            rows = [(f"line {i}", json.loads(line)) for i, line in lines if line.strip()]
        else:
            rows = json.loads(text)
            rows = [(f"row {i}", row) for i, row in enumerate(rows, 1)]
    except (json.JSONDecodeError, TypeError) as error:
        raise DataError(f"{where}: is no JSON of rows: {error}") from error
    for i, row in rows:
        if not isinstance(row, dict):
            raise DataError(f"{where}: {i} must be an object with 'image', got {row!r:.80}")
    return [(f"{where}: {i}", row) for i, row in rows]


def _words(where: str, row: dict[str, Any], key: str) -> str:
    value = row.get(key)
    words = value if isinstance(value, list) else [value]
    text = ", ".join(w for w in words if isinstance(w, str))
    text = unicodedata.normalize("NFC", text).strip()
    if not text or not all(isinstance(w, str) for w in words):
        there = ", ".join(map(str, row))
        raise DataError(f"{where}: image {row['image']} has no caption {key!r}; there are: {there}")
    return text


def _test(name: str, images: list[str], splits: list[Any]) -> np.ndarray:
    if not any(splits):
        # Not the draw by which a run holds out a part of its training data.
        return held_out([f"pairs {image}" for image in images], TEST_SHARE, 0)
    for image, split in zip(images, splits, strict=True):
        if split not in ("train", "test"):
            raise DataError(f"{name}: split of {image} must be train or test, got {split!r}")
    return np.array([split == "test" for split in splits], bool)
