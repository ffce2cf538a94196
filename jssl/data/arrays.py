"""Arrays in an .npz file, as samples or as JPEG bytes; the bundled images are such a file.

Three layouts are read, never with pickle:

- ``image`` [n h w] or [n h w c], with optional ``label`` [n], ``is_test`` [n] bool and ``classes``
  (names);
- ``x_train``, ``y_train``, ``x_test``, ``y_test``, the same by split (labels optional);
- ``jpeg`` (the bytes of all files joined, uint8), ``offsets`` [n + 1] (file i is
  ``jpeg[offsets[i]:offsets[i + 1]]``), with ``label``, ``is_test`` and ``classes`` as above.

The first and the last may have ``target`` [n k], numbers to be told of each image, such as many
labels that are 0 or 1; NaN is what is not known.

Where ``is_test`` is given, ``train`` is what is not test, in file order; without it all is
``train``. A label of -1 means unlabelled.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from jssl.data.bad import DataError
from jssl.data.decode import canonical, decode

BUNDLED = Path(__file__).parent / "bundled" / "fashion_mnist.npz"

_KEYS = "image or jpeg + offsets (with label, is_test, classes), or x_train (y_train, ...)"


class _Rows:
    """The rows of one split of an .npz file; what the two kinds of row share."""

    names = None

    def __init__(self, path: str, split: str, rows: np.ndarray, columns: Mapping[str, np.ndarray]):
        self.path, self.split = path, split
        self.name = f"arrays:{path}"
        self._rows, self._columns = rows, columns
        labels, classes = columns.get("label"), columns.get("classes")
        self.labels = None if labels is None else labels[rows].astype(np.int32)
        targets = columns.get("target")
        self.targets = None if targets is None else targets[rows].astype(np.float32)
        self.class_names = None if classes is None else tuple(str(name) for name in classes)
        # Over all rows, so that a split which lacks a class counts the same classes.
        known = 0 if labels is None else int(labels.max(initial=-1)) + 1
        known = max(known, int(columns.get("known", 0)))
        self.num_classes = known if classes is None else len(classes)
        if known > self.num_classes:
            raise DataError(f"{path}: label {known - 1} has no name in 'classes' {classes}")

    def __reduce__(self):
        # A worker process opens the file itself: arrays do not travel through pickle.
        return open_arrays, (self.path, self.split)

    def __len__(self) -> int:
        return len(self._rows)

    def place(self, i: int) -> str:
        return f"{self.path} {self.split} row {self._rows[i]}"

    def identity(self, i: int) -> str:
        return str(self._rows[i])

    def _label(self, i: int) -> int:
        return -1 if self.labels is None else int(self.labels[i])


class Samples(_Rows):
    """Images stored as samples, [n h w] or [n h w c]."""

    @staticmethod
    def check(path: str, columns: Mapping[str, np.ndarray]) -> int:
        """The number of images, after a look at their layout."""
        images = columns["image"]
        shape = list(images.shape)
        if images.ndim not in (3, 4) or 0 in shape[1:]:
            raise DataError(f"{path}: images must be [n h w] or [n h w c], got {shape}")
        if images.dtype.kind not in "buif":
            raise DataError(f"{path}: images must be numbers, got {images.dtype}")
        if images.ndim == 4 and shape[1] == 3 and shape[2] == shape[3] > 4:
            raise DataError(f"{path}: images {shape} have channels first; transpose to [n h w c]")
        return len(images)

    def read(self, i: int, size: int | None = None) -> tuple[Shaped[np.ndarray, "h w c"], int]:
        """The image and label of a row; ``size`` is a hint for decoders and not used here."""
        return canonical(self._columns["image"][self._rows[i]]), self._label(i)


class Jpegs(_Rows):
    """Images stored as the bytes of encoded files."""

    @staticmethod
    def check(path: str, columns: Mapping[str, np.ndarray]) -> int:
        """The number of images, after a look at their layout."""
        data, offsets = columns["jpeg"], columns["offsets"]
        if data.ndim != 1 or data.dtype != np.uint8:
            raise DataError(f"{path}: 'jpeg' must be [bytes] uint8, got {data.shape} {data.dtype}")
        if offsets.ndim != 1 or len(offsets) < 2 or offsets.dtype.kind not in "iu":
            raise DataError(f"{path}: 'offsets' must be [n + 1] integers, got {offsets.shape}")
        rises = bool((offsets[1:] >= offsets[:-1]).all())
        if offsets[0] != 0 or offsets[-1] != len(data) or not rises:
            raise DataError(
                f"{path}: 'offsets' must rise from 0 to {len(data)}, the length of 'jpeg'"
            )
        return len(offsets) - 1

    def read(self, i: int, size: int | None = None) -> tuple[Shaped[np.ndarray, "h w c"], int]:
        """Decodes a row; ``size`` as in `jssl.data.decode.decode`."""
        start, stop = self._columns["offsets"][self._rows[i] :][:2]
        data = self._columns["jpeg"][start:stop].tobytes()
        return decode(data, self.place(i), size), self._label(i)


def open_arrays(path: str, split: str) -> Samples | Jpegs:
    """Opens one split of an .npz file.

    Raises:
        DataError: for a missing file, key or split, pickled objects, wrong dims or lengths.
    """
    columns = _load(path, split)
    stored = Jpegs if "jpeg" in columns else Samples
    n = stored.check(path, columns)
    for key in ("label", "is_test"):
        if key in columns and columns[key].shape != (n,):
            raise DataError(
                f"{path}: {key!r} has shape {columns[key].shape}, {n} images need [{n}]"
            )
    classes = columns.get("classes")
    if classes is not None and (classes.ndim != 1 or classes.dtype.kind not in "USiu"):
        raise DataError(
            f"{path}: 'classes' must be names [k], got {classes.dtype}{list(classes.shape)}"
        )
    if "target" in columns:
        found = columns["target"]
        if found.ndim != 2 or len(found) != n or found.dtype.kind not in "buif":
            raise DataError(
                f"{path}: 'target' must be numbers [{n} k], got {found.dtype}{list(found.shape)}"
            )
    chosen = np.ones(n, bool)
    if "is_test" in columns:
        chosen = columns["is_test"].astype(bool) == (split == "test")
    rows = np.flatnonzero(chosen)
    if len(rows) == 0:
        raise DataError(f"{path}: split {split!r} has no images")
    return stored(path, split, rows, columns)


def _load(path: str, split: str) -> dict[str, np.ndarray]:
    """The columns of the layout found; of x_train, ... those of the split, as image and label."""
    if split not in ("train", "test"):
        raise DataError(f"{path}: split must be 'train' or 'test', got {split!r}")
    if not Path(path).is_file():
        raise DataError(f"arrays:{path}: no such file")
    try:
        with open(path, "rb") as raw:  # np.load leaves a damaged file open
            file = np.load(raw, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise DataError(f"{path}: not an .npz archive of named arrays")
            with file:
                columns = _columns(path, split, file)
            for key, column in columns.items():
                if not isinstance(column, np.ndarray):  # a file of another kind in the archive
                    raise DataError(f"{path}: {key!r} is no array")
            return columns
    except DataError:
        raise
    except Exception as error:  # zipfile and numpy answer damaged bytes with nearly any exception
        if "allow_pickle" in str(error):
            raise DataError(f"{path}: holds pickled objects, which are never loaded") from error
        reason = f"{type(error).__name__}: {error}".split("\n")[0][:200]
        raise DataError(f"{path}: cannot be read as .npz: {reason}") from error


def _columns(path: str, split: str, file: np.lib.npyio.NpzFile) -> dict[str, np.ndarray]:
    if "image" in file or "jpeg" in file:
        wanted = ("label", "target", "is_test", "classes")
        wanted += ("image",) if "image" in file else ("jpeg", "offsets")
        columns = {key: file[key] for key in wanted if key in file}
        if "label" in columns:
            columns["label"] = _integers(path, columns["label"])
        if "jpeg" in columns and "offsets" not in columns:
            raise DataError(f"{path}: has 'jpeg' but no 'offsets' [n + 1]")
        if split == "test" and "is_test" not in columns:
            raise DataError(f"{path}: has no test split, since it has no 'is_test'")
        return columns
    if f"x_{split}" not in file:
        found = ", ".join(sorted(file)) or "none"
        needs = f"x_{split}" if any(key.startswith("x_") for key in file) else _KEYS
        raise DataError(f"{path}: keys found: {found}; needs {needs}")
    columns = {"image": file[f"x_{split}"]}
    if f"y_{split}" in file:
        columns["label"] = _integers(path, file[f"y_{split}"])
    if "classes" in file:
        columns["classes"] = file["classes"]
    # The two splits must agree on the number of classes.
    both = [_integers(path, file[key]) for key in ("y_train", "y_test") if key in file]
    columns["known"] = np.array(max((int(y.max(initial=-1)) + 1 for y in both), default=0))
    return columns


def _integers(path: str, labels: np.ndarray) -> np.ndarray:
    """Labels as int64 [n]; [n 1], as some sets store them, is [n]."""
    if labels.dtype.kind not in "iu":
        raise DataError(f"{path}: labels must be integers, got {labels.dtype}")
    if labels.size and not -1 <= labels.min() <= labels.max() < 2**31 - 1:
        worst = labels.min() if labels.min() < -1 else labels.max()
        raise DataError(f"{path}: labels must be >= -1 and fit in 31 bits, got {worst}")
    labels = labels.astype(np.int64)
    return labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
