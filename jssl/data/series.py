"""Time series in windows of one length: the reader behind `series:PATH`."""

import csv
import datetime
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32

from jssl.data.bad import DataError

Windows = list[tuple[int, int, int]]


class Series:
    """The windows of a file's series; what has no value is told by a mask, never filled.

    - ``FILE.csv``: one long series, a row a time step, a column with a heading a channel. A first
      column of dates (ISO 8601) is no channel: it sets the steps, of its most frequent interval,
      and steps that it leaves out have no value. Its first ``training`` is the train split, the
      rest the test split.
    - ``FILE.npz``: ``series`` [t c], one long series as in a csv; or ``x_train`` [n t c] and so
      ``x_test``, ``y_train`` and ``y_test`` [n], labels from 0, where there are some.
    - ``NAME_TRAIN.ts``: UCR and UEA, of equal or of various lengths; ``NAME_TEST.ts`` beside it is
      the test split.

    A record is ``length`` steps from every ``stride``-th on. The last window of each series is
    padded with steps that have no value, as a series shorter than one is.

    training: a share in (0, 1], or so many steps where it is greater.
    missing: whether steps may have no value, that is be empty, NaN or ``?``.
    """

    content, names = "series", None

    def __init__(
        self,
        path: str,
        split: str,
        length: int = 128,
        stride: int | None = None,
        training: float = 0.8,
        missing: bool = False,
    ):
        """Reads the file; raises `DataError`, one line, for anything wrong with it."""
        self.path, self.name = path, f"series:{path}"
        stride = length if stride is None else stride
        for name, value in (("length", length), ("stride", stride)):
            if value < 1:
                raise DataError(f"{self.name}: {name} must be at least 1, got {value}")
        if not training > 0:
            raise DataError(f"{self.name}: training must be > 0, got {training}")
        if split not in ("train", "test"):
            raise DataError(f"{self.name}: has no {split} split, only train and test")
        file = Path(path)
        if not file.is_file():
            raise DataError(f"{self.name}: no such file")
        if file.suffix not in READERS:
            raise DataError(f"{self.name}: takes a file of {', '.join(READERS)}")
        self.columns, parts, labels, names = READERS[file.suffix](self.name, file, split)
        self._first = [0] * len(parts)
        if labels is None:
            parts, self._first = self._cut(parts[0], split, training)
        self._parts = [self._checked(x, i, missing) for i, x in enumerate(parts)]
        self.length = length
        self._windows: Windows = []
        for i, x in enumerate(parts):
            last = max(0, -(-(len(x) - length) // stride)) * stride
            self._windows += [(i, start, start + length) for start in range(0, last + 1, stride)]
        given = [-1] * len(parts) if labels is None else labels
        self.labels = np.array([given[i] for i, _, _ in self._windows], np.int32)
        self.class_names = names
        known = len(names) if names else int(self.labels.max()) + 1
        self.num_classes = max(known, 0)

    def describe(self) -> dict:
        """Channels by name, with mean and deviation of the values that there are, as JSON.

        Of the split that was read, which is the training part when a run begins.
        """
        x = np.concatenate(self._parts).astype(np.float64)
        if not np.isfinite(x).any(axis=0).all():
            channel = self.columns[int(np.argmin(np.isfinite(x).any(axis=0)))]
            raise DataError(f"{self.name}: {channel} has no value in the training part")
        std = np.nanstd(x, axis=0)
        # A channel that never changes is only centred.
        std = np.where(std > 0, std, 1.0)
        mean = np.nanmean(x, axis=0)
        return {"columns": list(self.columns), "mean": mean.tolist(), "std": std.tolist()}

    def __len__(self) -> int:
        """The number of windows."""
        return len(self._windows)

    def place(self, i: int) -> str:
        """The file, which of its series and the steps of window ``i``, counted from 0."""
        part, start, end = self._windows[i]
        first = self._first[part]
        return f"{self.path}, series {part}, steps {first + start} to {first + end - 1}"

    def identity(self, i: int) -> str:
        """Series and first step of window ``i``."""
        part, start, _ = self._windows[i]
        return f"{part}:{self._first[part] + start}"

    def read(
        self, i: int, size: int | None = None
    ) -> tuple[Float32[np.ndarray, "t c"], Bool[np.ndarray, "t c"], int]:
        """Window ``i`` [t c], 0 where there is no value; where there is one; its label."""
        part, start, end = self._windows[i]
        x = self._parts[part][start:end]
        x = np.pad(x, ((0, self.length - len(x)), (0, 0)), constant_values=np.nan)
        observed = np.isfinite(x)
        return np.where(observed, x, np.float32(0)), observed, int(self.labels[i])

    def _cut(self, x, split, training):
        end = round(training * len(x)) if training <= 1 else int(training)
        if not 0 < end <= len(x) or (split == "test" and end == len(x)):
            raise DataError(f"{self.name}: training={training} of {len(x)} steps leaves no {split}")
        return ([x[:end]], [0]) if split == "train" else ([x[end:]], [end])

    def _checked(self, x, i, missing):
        where = np.argwhere(np.isinf(x) if missing else ~np.isfinite(x))
        if len(where):
            step, channel = where[0]
            bad = x[step, channel]
            mend = "" if np.isinf(bad) else "; data.missing=True carries that as a mask"
            raise DataError(
                f"{self.name}: {self.columns[channel]} is {'inf' if np.isinf(bad) else 'missing'} "
                f"at step {self._first[i] + step} of series {i}{mend}"
            )
        return x.astype(np.float32)


def _read_csv(name, file, split):
    with file.open(newline="", encoding="utf-8-sig") as lines:
        rows = [row for row in csv.reader(lines) if row]
    if len(rows) < 2:
        raise DataError(f"{name}: empty, there must be a heading and a row")
    columns, rows = rows[0], rows[1:]
    for i, row in enumerate(rows, 1):
        if len(row) != len(columns):
            raise DataError(f"{name}: row {i} has {len(row)} columns, the heading {len(columns)}")
    dates = None
    if not _is_number(rows[0][0]):
        try:
            dates = [datetime.datetime.fromisoformat(row[0]) for row in rows]
        except ValueError as error:
            raise DataError(f"{name}: column {columns[0]}: {error}") from None
        columns, rows = columns[1:], [row[1:] for row in rows]
    if not columns:
        raise DataError(f"{name}: no channels, only the column of dates")
    x = np.array([[_number(name, v, i, c) for v, c in zip(row, columns, strict=True)]
                  for i, row in enumerate(rows, 1)])  # fmt: skip
    return tuple(columns), [x if dates is None else _on_a_grid(name, x, dates)], None, None


def _on_a_grid(name, x, dates):
    """The rows at their places among equidistant steps; steps without a row are NaN."""
    seconds = np.array([(date - dates[0]).total_seconds() for date in dates])
    gaps = np.diff(seconds)
    if len(gaps) == 0:
        return x
    if gaps.min() <= 0:
        raise DataError(f"{name}: dates must grow, row {int(np.argmin(gaps)) + 2} does not")
    values, counts = np.unique(gaps, return_counts=True)
    steps = seconds / values[np.argmax(counts)]
    at = np.round(steps).astype(int)
    if np.abs(steps - at).max() > 1e-3 or len(np.unique(at)) < len(at):
        raise DataError(
            f"{name}: row {int(np.argmax(np.abs(steps - at))) + 1} is no whole number of steps of "
            f"{values[np.argmax(counts)]:g} s after the first: resample it"
        )
    grid = np.full((at[-1] + 1, x.shape[1]), np.nan)
    grid[at] = x
    return grid


def _read_npz(name, file, split):
    try:
        with np.load(file, allow_pickle=False) as found:
            arrays = {key: found[key] for key in found.files}
    except (OSError, ValueError) as error:
        raise DataError(f"{name}: cannot be read: {error}") from None
    key = "series" if "series" in arrays else f"x_{split}"
    if key not in arrays:
        raise DataError(f"{name}: no array series or {key}, there are: {', '.join(arrays)}")
    x, wanted = arrays[key], 2 if key == "series" else 3
    if x.ndim != wanted or not np.issubdtype(x.dtype, np.number) or 0 in x.shape:
        axes = "[t c]" if wanted == 2 else "[n t c]"
        raise DataError(f"{name}: {key} must be numbers {axes}, got {x.dtype} {list(x.shape)}")
    columns = tuple(f"channel {i}" for i in range(x.shape[-1]))
    if wanted == 2:
        return columns, [x], None, None
    labels = arrays.get(f"y_{split}", np.full(len(x), -1))
    if labels.shape != (len(x),) or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"{name}: y_{split} must be {len(x)} whole numbers")
    return columns, list(x), labels.tolist(), None


def _read_ts(name, file, split):
    if split == "test":
        file = file.with_name(file.name.replace("_TRAIN.ts", "_TEST.ts"))
        if not file.name.endswith("_TEST.ts") or not file.is_file():
            raise DataError(f"{name}: has no test split: there is no NAME_TEST.ts beside it")
    names, series, labels, begun = (), [], [], False
    for line in file.read_text(encoding="utf-8").splitlines():
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        if not begun:
            key, *rest = line.split()
            if key.lower() == "@classlabel" and rest and rest[0].lower() == "true":
                names = tuple(rest[1:])
            begun = key.lower() == "@data"
            continue
        if "(" in line:
            raise DataError(f"{name}: holds time stamps, which are not read")
        *channels, label = line.split(":") if names else [*line.split(":"), None]
        if names and label not in names:
            raise DataError(f"{name}: {label!r} is no class of {', '.join(names)}")
        row = len(series) + 1
        values = [[_number(name, v, row, f"channel {i}") for v in c.split(",")]
                  for i, c in enumerate(channels)]  # fmt: skip
        width = series[0].shape[1] if series else len(values)
        if len({len(v) for v in values}) != 1 or len(values) != width:
            raise DataError(f"{name}: series {row} has channels of other number or length")
        series.append(np.array(values).T)
        labels.append(names.index(label) if names else -1)
    if not series:
        raise DataError(f"{name}: empty, no series after @data")
    columns = tuple(f"channel {i}" for i in range(series[0].shape[1]))
    return columns, series, labels, names or None


def _is_number(text):
    try:
        float(text or "nan")
    except ValueError:
        return text == "?"
    return True


def _number(name, text, row, column):
    if not _is_number(text.strip()):
        raise DataError(f"{name}: row {row}, column {column}: {text!r} is no number")
    return float("nan") if text.strip() in ("", "?") else float(text)


READERS = {".csv": _read_csv, ".npz": _read_npz, ".ts": _read_ts}
