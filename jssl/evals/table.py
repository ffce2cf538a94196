"""The table of results: one row an embedding, one column a way to read it."""

import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from jssl.evals.few_labels import few_labels
from jssl.evals.knn import knn
from jssl.evals.linear import linear_probe

COLUMNS = {"knn": "kNN", "linear": "linear", "linear_10_per_class": "linear, 10 labels a class"}
# Not of an embedding: the encoder itself trains on.
FINE_TUNED = {"fine_tuned_10_percent": "fine-tuned, 10 % of the labels"}
LARGEST_SIDE = 32  # of the pictures whose pixels are a baseline


def evaluate(
    train_x: Float[Array | np.ndarray, "n d"],
    train_y: Int[Array | np.ndarray, " n"],
    test_x: Float[Array | np.ndarray, "m d"],
    test_y: Int[Array | np.ndarray, " m"],
    *,
    num_classes: int,
    protocols: Collection[str] = tuple(COLUMNS),
    k: int = 20,
    temperature: float = 0.07,
    draws: int = 5,
    seed: int = 0,
) -> dict[str, Any]:
    """One row of the table: ``knn``, ``linear`` and ``linear_10_per_class``, accuracies in [0, 1].

    ``protocols`` names the columns to measure; the others are left out.

    With it ``linear_10_per_class_interval``, the 95 % interval over draws of labels. The last two
    are None where a class has fewer than 10 training examples. See `knn.knn`,
    `linear.linear_probe` and `few_labels.few_labels`.
    """
    for name in protocols:
        if name not in COLUMNS:
            raise ValueError(f"protocol must be one of {', '.join(COLUMNS)}, got {name!r}")
    data = (train_x, train_y, test_x, test_y)
    row = {}
    if "knn" in protocols:
        row["knn"] = knn(*data, k=k, temperature=temperature, num_classes=num_classes)
    if "linear" in protocols:
        row["linear"] = linear_probe(*data, num_classes=num_classes, seed=seed).accuracy
    if "linear_10_per_class" in protocols:
        row |= {"linear_10_per_class": None, "linear_10_per_class_interval": None}
        _, sizes = np.unique(np.asarray(train_y), return_counts=True)
        if sizes.min() >= 10:
            few = few_labels(*data, num_classes=num_classes, per_class=10, draws=draws, seed=seed)
            row["linear_10_per_class"] = few.mean
            row["linear_10_per_class_interval"] = few.interval and list(few.interval)
    return row


def raw_pixels(
    train: Shaped[np.ndarray, "n h w c"], test: Shaped[np.ndarray, "m _ _ _"]
) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "m d"]]:
    """The baseline that any encoder has to beat: the pixels themselves as features.

    Unsigned integers are scaled to [0, 1]; images larger than 32 on a side are averaged over
    square blocks down to at most 32; then flattened. The mean training image is taken off, which
    makes cosine similarity a better measure for pixels (a stronger baseline) and is nothing to
    the linear probe.
    """
    if train.shape[1:] != test.shape[1:]:
        raise ValueError(f"images must be alike, got {train.shape[1:]} and {test.shape[1:]}")
    train, test = _pixels(train), _pixels(test)
    mean = train.mean(axis=0, keepdims=True)
    return train - mean, test - mean


def _pixels(images: np.ndarray) -> np.ndarray:
    n, h, w = images.shape[:3]
    block = math.ceil(max(h, w) / LARGEST_SIDE)
    full = np.iinfo(images.dtype).max if images.dtype.kind == "u" else 1
    rows, columns = np.arange(0, h, block), np.arange(0, w, block)
    total = np.add.reduceat(np.add.reduceat(images, rows, 1, np.float32), columns, 2)
    # Blocks at the lower and right edge may be smaller.
    count = np.outer(np.diff(rows, append=h), np.diff(columns, append=w)).astype(np.float32)
    return (total / (count[None, :, :, None] * np.float32(full))).reshape(n, -1)


def format_table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """The table as lines of text, in percent: rows by name, a dash where nothing was measured."""
    names = [name.replace("_", " ") for name in rows]
    first = max(map(len, names), default=0)
    measured = {key for row in rows.values() for key in row}
    columns = {key: title for key, title in (COLUMNS | FINE_TUNED).items() if key in measured}
    lines = [" " * first + "".join(f"  {title:>9}" for title in columns.values())]
    for name, row in zip(names, rows.values(), strict=True):
        cells = (f"  {_percent(row.get(key)):>{max(9, len(columns[key]))}}" for key in columns)
        lines.append(name.ljust(first) + "".join(cells))
    return "\n".join(lines)


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"
