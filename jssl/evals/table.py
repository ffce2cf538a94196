"""The table of results: one row an embedding, one column a way to read it."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from jssl.evals import split
from jssl.evals.few_labels import FewLabels
from jssl.evals.protocols import PROTOCOLS, Labelled

# Of accuracies, with their titles; other protocols give several metrics.
COLUMNS = {
    "knn": "kNN",
    "linear": "linear",
    "linear_1_per_class": "1 label a class",
    "linear_5_per_class": "5 labels a class",
    "linear_10_per_class": "linear, 10 labels a class",
    "linear_1_percent": "1 % of the labels",
    "linear_10_percent": "10 % of the labels",
}
DEFAULT = ("knn", "linear", "linear_10_per_class")
# Not of an embedding: the encoder itself trains on, or the run has learned a classifier.
OF_RUNS = {
    "fine_tuned_10_percent": "fine-tuned, 10 % of the labels",
    "classifier": "its own classifier",
}
# Of the images of a run, several metrics each.
OF_IMAGES = ("corruptions",)
LARGEST_SIDE = 32  # of the pictures whose pixels are a baseline


def evaluate(
    train_x: Float[Array | np.ndarray, "n d"],
    train_y: Int[Array | np.ndarray, " n"],
    test_x: Float[Array | np.ndarray, "m d"],
    test_y: Int[Array | np.ndarray, " m"],
    *,
    num_classes: int,
    protocols: Collection[str] = DEFAULT,
    k: int = 20,
    temperature: float = 0.07,
    draws: int = 5,
    seed: int = 0,
    views: Float[Array | np.ndarray, "v q d"] | None = None,
    targets: tuple[Float[np.ndarray, "n t"], Float[np.ndarray, "m t"]] | None = None,
) -> dict[str, Any]:
    """One row of the table: what each of `protocols.PROTOCOLS` that is named says, in that order.

    An accuracy in [0, 1], or an object of metrics; None where there are too few labels or no
    targets for it. With few labels the mean over ``draws`` of them, and as ``NAME_interval`` its
    95 % interval. See `knn.knn`, `linear.linear_probe` and `few_labels.few_labels`.
    """
    for name in protocols:
        if name not in PROTOCOLS:
            raise ValueError(f"protocol must be one of {', '.join(PROTOCOLS)}, got {name!r}")
    split.check(train_x, train_y, test_x, test_y, num_classes)
    given = Labelled(
        *(train_x, train_y, test_x, test_y, num_classes),
        *(k, temperature, draws, seed, views, targets),
    )
    row = {}
    for name in protocols:
        found = row[name] = PROTOCOLS[name](given)
        if isinstance(found, FewLabels):
            row[name] = found.mean
            row[f"{name}_interval"] = found.interval and list(found.interval)
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
    """The table as lines of text: accuracies in percent, rows by name, a dash where there is none.

    Below it what has several metrics, a line each, and a column for each row of the table.
    """
    names = [name.replace("_", " ") for name in rows]
    measured = [key for key in next(iter(rows.values()), ()) if not key.endswith("_interval")]
    titles = COLUMNS | OF_RUNS
    columns = [key for key in measured if key in titles]
    blocks = []
    if columns or not measured:
        cells = [[_percent(row.get(key)) for key in columns] for row in rows.values()]
        blocks.append(_grid(names, [titles[key] for key in columns], cells))
    lines = [
        (f"{key.replace('_', ' ')}: {metric}", [_number(row, key, metric) for row in rows.values()])
        for key in measured
        if key not in titles
        for metric in _metrics(rows, key)
    ]
    if lines:
        first, cells = zip(*lines, strict=True)
        blocks.append(_grid(first, names, cells))
    return "\n\n".join(blocks)


def _metrics(rows: Mapping[str, Mapping[str, Any]], key: str) -> Sequence[str]:
    """Those that any row has, in the order in which they come."""
    return list(dict.fromkeys(m for row in rows.values() for m in row[key] or ())) or [""]


def _grid(names: Sequence[str], titles: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    first = max(map(len, names), default=0)
    widths = [max(9, len(title)) for title in titles]
    lines = zip(["", *names], [titles, *cells], strict=True)
    return "\n".join(
        name.ljust(first) + "".join(f"  {x:>{w}}" for x, w in zip(line, widths, strict=True))
        for name, line in lines
    )


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def _number(row: Mapping[str, Any], key: str, metric: str) -> str:
    value = (row[key] or {}).get(metric)
    return "–" if value is None else f"{value:.4g}"
