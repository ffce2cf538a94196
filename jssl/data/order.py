"""The order of the examples: a function of (seed, epoch) alone."""

import functools
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from jssl import require

# Of the order of the labelled examples: another than any that a run of a sane seed has.
_LABELED = 2**62


@functools.lru_cache(maxsize=8)
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


class Draw(NamedTuple):
    """Which examples make up the batches of a stream.

    seed: of the order.
    n: examples of the set.
    batch_size: of the global batch.
    labeled: [l] the examples whose labels are known, where batches are of those alone: permutation
      after permutation of them, without end. None: batches are of all.
    unlabeled: how many of all examples, labelled ones among them, stand beside each of a batch.
    """

    seed: int
    n: int
    batch_size: int
    labeled: np.ndarray | None = None
    unlabeled: int = 0

    @property
    def steps_per_epoch(self) -> int:
        """Steps in which all unlabelled examples are seen, where there are some; else all."""
        if self.unlabeled:
            return self.n // (self.batch_size * self.unlabeled)
        known = self.n if self.labeled is None else len(self.labeled)
        return max(1, known // self.batch_size)

    def rows(self, step: int) -> tuple[np.ndarray, np.ndarray | None]:
        """The examples of a step [batch], and those beside them [batch unlabeled] or None."""
        if self.labeled is None:
            return step_rows(self.seed, step, self.n, self.batch_size), None
        places = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        epochs, within = np.divmod(places, len(self.labeled))
        rows = np.concatenate(
            [
                epoch_order(self.seed + _LABELED, int(epoch), len(self.labeled))[
                    within[epochs == epoch]
                ]
                for epoch in np.unique(epochs)
            ]
        )
        beside = None
        if self.unlabeled:
            shape = self.batch_size, self.unlabeled
            beside = step_rows(self.seed, step, self.n, shape[0] * shape[1]).reshape(shape)
        return self.labeled[rows], beside
