"""Tables of numeric and categorical columns: the reader behind `table:PATH`."""

import csv
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from jssl.data.bad import DataError
from jssl.data.labels import hashed


class Table:
    """The rows of a csv file with a heading.

    A column is of numbers if all its values are, else of categories. The column ``label``, if there
    is one, says the class and is no feature. A hash of a row's number puts the share ``training``
    of the rows into the train split and the rest into the test split.

    missing: whether values may be empty or ``?``. They are the column's mean then, or no category.
    """

    content, names = "row", None

    def __init__(self, path: str, split: str, training: float = 0.8, missing: bool = False):
        """Reads the file; raises `DataError`, one line, for anything wrong with it."""
        self.path, self.name, self._missing = path, f"table:{path}", missing
        if not 0 < training <= 1:
            raise DataError(f"{self.name}: training must be a share in (0, 1], got {training}")
        if split not in ("train", "test") or (split == "test" and training == 1):
            raise DataError(f"{self.name}: has no {split} split with training={training}")
        columns, rows = self._read()
        label = columns.index("label") if "label" in columns else None
        self.columns = tuple(c for i, c in enumerate(columns) if i != label)
        if not self.columns:
            raise DataError(f"{self.name}: no columns but label")
        self._values = [[v for i, v in enumerate(row) if i != label] for row in rows]
        chosen = [(hashed(f"row {i}") < training * 2**64) == (split == "train")
                  for i in range(len(rows))]  # fmt: skip
        self._rows = np.flatnonzero(chosen)
        self.class_names, labels = None, [-1] * len(rows)
        if label is not None:
            given = [row[label] for row in rows]
            self.class_names = tuple(sorted(set(given)))
            labels = [self.class_names.index(name) for name in given]
        self.labels = np.array(labels, np.int32)[self._rows]
        self.num_classes = len(self.class_names or ())
        kinds = []
        for name, column in zip(self.columns, zip(*self._values, strict=True), strict=True):
            known = {v for v in column if not _is_missing(v)}
            numbers = all(_is_number(v) for v in known)
            kinds.append({"name": name} | ({} if numbers else {"categories": sorted(known)}))
        self.read_like({"columns": kinds})

    def read_like(self, described: dict) -> None:
        """Reads the values as another table's `describe` says: its columns, its categories.

        Raises:
          DataError: for other columns, an unknown category or what is no number.
        """
        self._kinds = described["columns"]
        theirs = [column["name"] for column in self._kinds]
        if theirs != list(self.columns):
            raise DataError(f"{self.name}: has columns {', '.join(self.columns)}, "
                            f"those of the run are {', '.join(theirs)}")  # fmt: skip
        self._x = np.array([[self._value(i, *pair) for pair in zip(row, self._kinds, strict=True)]
                            for i, row in enumerate(self._values, 1)], np.float32)  # fmt: skip

    def describe(self) -> dict:
        """Columns by name, with mean and deviation or categories, of the split read, as JSON."""
        found, x = [], self._x[self._rows].astype(np.float64)
        for j, column in enumerate(self._kinds):
            if "categories" in column:
                found.append({k: column[k] for k in ("name", "categories")})
                continue
            known = x[:, j][np.isfinite(x[:, j])]
            if not len(known):
                raise DataError(f"{self.name}: {column['name']} has no value in the training part")
            # A column that never changes is only centred.
            std = float(known.std()) or 1.0
            found.append({"name": column["name"], "mean": float(known.mean()), "std": std})
        return {"columns": found}

    def __len__(self) -> int:
        """The number of rows of the split."""
        return len(self._rows)

    def place(self, i: int) -> str:
        """The file and the row, counted from 1 below the heading."""
        return f"{self.path}, row {self._rows[i] + 1}"

    def identity(self, i: int) -> str:
        """The row's number."""
        return str(self._rows[i])

    def read(self, i: int, size: int | None = None) -> tuple[Float32[np.ndarray, " f"], int]:
        """Row ``i``: numbers, NaN where missing, and numbers of categories, -1; its label."""
        return self._x[self._rows[i]], int(self.labels[i])

    def _read(self):
        file = Path(self.path)
        if not file.is_file():
            raise DataError(f"{self.name}: no such file")
        try:
            with file.open(newline="", encoding="utf-8-sig") as lines:
                rows = [[v.strip() for v in row] for row in csv.reader(lines) if row]
        except (UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"{self.name}: cannot be read: {error}") from None
        if len(rows) < 2:
            raise DataError(f"{self.name}: empty, there must be a heading and a row")
        columns, rows = rows[0], rows[1:]
        if len(set(columns)) < len(columns):
            raise DataError(f"{self.name}: two columns have one heading: {', '.join(columns)}")
        for i, row in enumerate(rows, 1):
            if len(row) != len(columns):
                raise DataError(
                    f"{self.name}: row {i} has {len(row)} columns, the heading {len(columns)}"
                )
        return columns, rows

    def _value(self, row, text, column):
        where = f"{self.name}: row {row}, column {column['name']}"
        categories = column.get("categories")
        if _is_missing(text):
            if not self._missing:
                raise DataError(f"{where}: missing; data.missing=True lets values be missing")
            return np.nan if categories is None else -1
        if categories is not None:
            if text not in categories:
                raise DataError(f"{where}: {text!r} is no category of {', '.join(categories)}")
            return categories.index(text)
        if not _is_number(text) or not np.isfinite(float(text)):
            raise DataError(f"{where}: {text!r} is no number")
        return float(text)


def _is_missing(text):
    return text in ("", "?") or text.lower() == "nan"


def _is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True
