"""Embeddings of any model, from a file."""

from pathlib import Path
from typing import Any

import numpy as np

NAMES = ("train_x", "train_y", "test_x", "test_y")
MORE = ("views", "train_targets", "test_targets")


def load(path: Path) -> tuple[tuple[np.ndarray, ...], dict[str, Any]]:
    """train_x, train_y, test_x, test_y; and ``views`` and ``targets`` where the file has them.

    The latter as `jssl.evals.table.evaluate` takes them, from ``views`` [n q d] and from
    ``train_targets`` and ``test_targets``, [n] or [n t]. A ``ValueError`` of one line for anything
    else.
    """
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            data = tuple(file[name] for name in NAMES)
            views, train_t, test_t = (file.get(name) for name in MORE)
    except Exception as error:  # zipfile and numpy answer damaged bytes with nearly any exception
        wanted, reason = ", ".join(NAMES), f"{type(error).__name__}: {error}".split("\n")[0]
        raise ValueError(f"{path} must be an .npz of {wanted}: {reason[:200]}") from None
    # What is a file of another kind in the archive comes as its bytes.
    for name, x in zip(NAMES + MORE, (*data, views, train_t, test_t), strict=True):
        if x is not None and not isinstance(x, np.ndarray):
            raise ValueError(f"{path} must be an .npz of arrays, {name} is none")
    for name, x in zip(NAMES, data, strict=True):
        kinds, ndim = ("f", 2) if name.endswith("_x") else ("iu", 1)
        if x.dtype.kind not in kinds or x.ndim != ndim or not len(x):
            raise ValueError(
                f"{name} must be [n d] floats or [n] integers, got {x.dtype} {x.shape}"
            )
    (n, d), (m, e) = data[0].shape, data[2].shape
    if d != e or (n, m) != (len(data[1]), len(data[3])):
        raise ValueError(
            f"train_x and test_x must be [n d] and [m d], with n and m labels, got "
            f"{[list(x.shape) for x in data]}"
        )
    data = data[0], *_numbered(data[1], data[3], data[2])
    more = {}
    if views is not None:
        n, q = views.shape[:2] if views.ndim == 3 else (0, 0)
        if views.dtype.kind != "f" or n < 2 or q < 2 or not np.isfinite(views).all():
            raise ValueError(
                f"views must be [n q d] finite floats, n and q >= 2, got {views.dtype}"
                f" {views.shape}"
            )
        more["views"] = views
    if train_t is not None or test_t is not None:
        targets = [np.empty(()) if t is None else t for t in (train_t, test_t)]
        shapes = [t.reshape(len(t), -1).shape if t.ndim else () for t in targets]
        if shapes != [(len(y), *shapes[0][1:]) for y in (data[1], data[3])]:
            raise ValueError(
                "train_targets and test_targets must be [n] or [n t], as many as train_x and"
                f" test_x, got {targets[0].shape} and {targets[1].shape}"
            )
        more["targets"] = tuple(
            t.astype(np.float64).reshape(shape) for t, shape in zip(targets, shapes, strict=True)
        )
    return data, more


def _numbered(train_y, test_y, test_x):
    """The labels as numbers from 0 on without a gap, whatever they were, around ``test_x``."""
    if min(train_y.min(), test_y.min()) < 0:
        raise ValueError(f"labels must be >= 0, got {min(train_y.min(), test_y.min())}")
    both = np.concatenate([train_y.astype(np.uint64), test_y.astype(np.uint64)])
    numbers = np.unique(both, return_inverse=True)[1].astype(np.int32)
    return numbers[: len(train_y)], test_x, numbers[len(train_y) :]
