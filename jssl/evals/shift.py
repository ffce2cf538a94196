"""How far one set of embeddings is from another."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class Shift(NamedTuple):
    """Distances as shares of the spread of the reference, 0 and up.

    distance: of the other set from the reference.
    chance: of one half of the reference from the other half, for samples as large: what chance
      alone makes of no shift.
    samples: how many of each side were compared.
    """

    distance: float
    chance: float
    samples: int


def shift(
    reference: Float[np.ndarray, "n d"],
    other: Float[np.ndarray, "m d"],
    *,
    most: int = 2000,
    seed: int = 0,
) -> Shift:
    """The Fréchet distance of two sets, over the total variance of the reference.

    Args:
      most: samples of a side that are compared at most; as many of both, drawn without
        replacement, since the distance of few is larger.

    Raises:
      ValueError: of fewer than 4 references or 2 others, or where all references are the same.

    Source of the distance: Dowson and Landau 1982; of embeddings, Heusel et al. 2017, arXiv
    1706.08500.
    """
    if len(reference) < 4 or len(other) < 2:
        raise ValueError(
            f"a distance needs 4 references and 2 others, got {len(reference)} and {len(other)}"
        )
    rng = np.random.default_rng(seed)
    n = min(len(reference) // 2, len(other), most)
    drawn = np.asarray(reference, np.float64)[rng.permutation(len(reference))[: 2 * n]]
    one, half = drawn[:n], drawn[n:]
    new = np.asarray(other, np.float64)[rng.permutation(len(other))[:n]]
    spread = float(drawn.var(axis=0).sum())
    if spread == 0:
        raise ValueError("all references are the same: the encoder has collapsed")
    return Shift(frechet(one, new) / spread, frechet(one, half) / spread, n)


def frechet(x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"]) -> float:
    """|mean difference|^2 + tr(A + B - 2 (A B)^(1/2)) of the Gaussians fitted to two sets."""
    a, b = (s - s.mean(axis=0, keepdims=True) for s in (x, y))
    means = ((x.mean(axis=0) - y.mean(axis=0)) ** 2).sum()
    # The trace of (A B)^(1/2) is the sum of the singular values of the product of their roots.
    cross = np.linalg.svd(_root(a) @ _root(b), compute_uv=False).sum()
    return float(max(means + a.var(axis=0).sum() + b.var(axis=0).sum() - 2 * cross, 0.0))


def _root(centred):
    """The symmetric root of a covariance."""
    _, values, vectors = np.linalg.svd(centred / np.sqrt(len(centred)), full_matrices=False)
    return (vectors.T * values) @ vectors
