"""The order of the examples: a function of (seed, epoch) alone."""

import functools

import numpy as np
from jaxtyping import Int64

from jssl import require


@functools.lru_cache(maxsize=2)
def epoch_order(seed: int, epoch: int, n: int) -> Int64[np.ndarray, " n"]:
    """The permutation of ``n`` examples in which an epoch visits them, read-only.

    A stable sort of Philox's raw 64-bit words keyed by (seed, epoch): numpy keeps the raw words of
    its bit generators the same from version to version, which it does not promise of `permutation`.

    Raises:
        ValueError: if the seed or the epoch is negative.
    """
    require.at_least(0, seed=seed, epoch=epoch)
    words = np.random.Philox(key=np.array([seed, epoch], np.uint64)).random_raw(n)
    order = np.argsort(words, kind="stable").astype(np.int64, copy=False)
    order.setflags(write=False)
    return order


def step_rows(seed: int, step: int, n: int, batch_size: int) -> Int64[np.ndarray, " batch"]:
    """The examples of the global batch at a step.

    An epoch has ``n // batch_size`` steps; the examples left over are dropped, and differ from one
    epoch to the next.
    """
    epoch, within = divmod(step, n // batch_size)
    start = within * batch_size
    return epoch_order(seed, epoch, n)[start : start + batch_size]
