"""A folder of image files, by class or flat, with or without splits."""

import os
import re
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from jssl.data.bad import DataError, Undecodable
from jssl.data.decode import decode

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff")

# What a split is called on disk; the first that is there is read.
SPLIT_FOLDERS = {
    "train": ("train", "training"),
    "test": ("test", "val", "valid", "validation"),
    "val": ("val", "valid", "validation"),
}
_SPLIT_NAMES = frozenset(name for names in SPLIT_FOLDERS.values() for name in names)


def natural(name: str) -> tuple[list[str | int], str]:
    """A sorting key in which numbers count as numbers: 2.png, 10.png."""
    # Split by digits, text stands at even and numbers at odd places: like meets like.
    parts = re.split(r"([0-9]+)", name)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], name


class Folder:
    """The image files below a folder, in natural order of their relative paths.

    Where every subfolder has a split's name (train, val, test ...) the split's subfolder is read.
    Each subfolder of the first level is a class, however deep its files lie; files beside such
    subfolders, and all files of a flat folder, are unlabelled (-1). Class numbers are the same in
    all splits. Hidden files and folders, and files of other extensions, are not read.
    """

    def __init__(self, path: str, split: str):
        """Lists the files; raises `DataError` where there is no such folder or split, or none."""
        self.path, self.split = path, split
        self.name = f"folder:{path}"
        root = Path(path)
        if not root.is_dir():
            raise DataError(f"folder:{path}: no such folder")
        splits = split_folders(root)
        self._root = pick_split(root, splits, split)
        names = _images(self._root)
        if not names:
            raise DataError(f"{self._root}: no images ({' '.join(EXTENSIONS)}) in it")
        self.names: tuple[str, ...] = tuple(sorted(names, key=natural))
        # Over all splits, so that a split without some class numbers the others alike.
        classes = {
            name.split("/")[0]
            for other in splits or (self._root,)
            for name in (names if other == self._root else _images(other))
            if "/" in name
        }
        self.class_names = tuple(sorted(classes, key=natural)) or None
        self.num_classes = len(classes)
        number = {name: k for k, name in enumerate(self.class_names or ())}
        self.labels = np.array([number.get(n.split("/")[0], -1) for n in self.names], np.int32)

    def __len__(self) -> int:
        """The number of files."""
        return len(self.names)

    def place(self, i: int) -> str:
        """The path of file ``i``."""
        return str(self._root / self.names[i])

    def identity(self, i: int) -> str:
        """The path of file ``i`` within its split."""
        return self.names[i]

    def read(self, i: int, size: int | None = None) -> tuple[Shaped[np.ndarray, "h w c"], int]:
        """Decodes file ``i``; ``size`` as in `jssl.data.decode.decode`."""
        place = self.place(i)
        try:
            data = Path(place).read_bytes()
        except OSError as error:
            raise Undecodable(place, f"{type(error).__name__}: {error.strerror}") from error
        return decode(data, place, size), int(self.labels[i])


def split_folders(root: Path) -> tuple[Path, ...]:
    """The subfolders of a folder if they are its splits, else none."""
    folders = [p for p in sorted(root.iterdir()) if p.is_dir() and not p.name.startswith(".")]
    # One folder of another name makes them classes: a set of vehicles may have a class "train".
    found = folders and all(p.name.lower() in _SPLIT_NAMES for p in folders)
    return tuple(folders) if found else ()


def pick_split(root: Path, splits: tuple[Path, ...], split: str) -> Path:
    """The folder of a split; `DataError` where there is none."""
    if split not in SPLIT_FOLDERS:
        raise DataError(f"split must be one of {', '.join(SPLIT_FOLDERS)}, got {split!r}")
    by_name = {p.name.lower(): p for p in splits}
    for name in SPLIT_FOLDERS[split]:
        if name in by_name:
            return by_name[name]
    if not splits and split == "train":
        return root
    there = f"only {', '.join(sorted(by_name))}" if splits else "all is 'train'"
    raise DataError(f"folder:{root}: no {'/ or '.join(SPLIT_FOLDERS[split])}/ subfolder; {there}")


def _images(root: Path) -> list[str]:
    names, above = [], {os.path.realpath(root)}
    for folder, subfolders, files in os.walk(root, followlinks=True):
        # A link back up would be walked for ever: each real folder is entered once.
        entered = []
        for name in sorted(subfolders):
            real = os.path.realpath(os.path.join(folder, name))
            if not name.startswith(".") and real not in above:
                above.add(real)
                entered.append(name)
        subfolders[:] = entered
        relative = Path(folder).relative_to(root)
        names += [
            (relative / name).as_posix()
            for name in files
            if name.lower().endswith(EXTENSIONS) and not name.startswith(".")
        ]
    return names
