"""The regression probe: how much of real numbers can a linear map read off frozen features?"""

import numpy as np
from jaxtyping import Float

from jssl.evals.linear import L2_CANDIDATES


def regression_probe(
    train_x: Float[np.ndarray, "n d"],
    train_t: Float[np.ndarray, "n t"],
    test_x: Float[np.ndarray, "m d"],
    test_t: Float[np.ndarray, "m t"],
    *,
    l2_candidates: tuple[float, ...] = L2_CANDIDATES,
    holdout: float = 0.2,
    seed: int = 0,
) -> dict[str, float]:
    """``r2`` of a ridge regression, the mean over targets, at most 1; and the ``l2`` it chose.

    Minimises ``mean squared error / 2 + l2 / 2 * ||W||^2`` over features and targets standardised
    by the part that is fitted. Of ``l2_candidates`` the one is taken that has the least error, as a
    share of the variance, on a ``holdout`` share of the training part, drawn by ``seed``; then all
    of that part is fitted. In float64. Raises ValueError for a target that never changes.
    """
    for name, t in (("train", train_t), ("test", test_t)):
        if not np.isfinite(t).all() or (t == t[:1]).all(axis=0).any():
            raise ValueError(f"{name}_targets must be finite and change from example to example")
    order = np.random.default_rng(seed).permutation(len(train_x))
    out, inner = np.split(order, [max(1, round(holdout * len(order)))])
    trial = _ridge(train_x[inner], train_t[inner], l2_candidates, train_x[out])
    error = [np.mean(np.square(p - train_t[out]) / np.var(train_t, axis=0)) for p in trial]
    l2 = l2_candidates[int(np.argmin(error))]
    (predicted,) = _ridge(train_x, train_t, [l2], test_x)
    return {"r2": r2(test_t, predicted), "l2": l2}


def r2(t: Float[np.ndarray, "n t"], predicted: Float[np.ndarray, "n t"]) -> float:
    """One less the squared error as a share of the variance, the mean over targets."""
    t = np.asarray(t, np.float64)
    return float(np.mean(1 - np.mean(np.square(t - predicted), axis=0) / np.var(t, axis=0)))


def _ridge(x, t, l2s, asked):
    """Predictions [m t] for the rows ``asked``, for each regulariser."""
    x, t, asked = (np.asarray(v, np.float64) for v in (x, t, asked))
    mean, scale, level = x.mean(axis=0), x.std(axis=0), t.mean(axis=0)
    # Below this a deviation is the rounding of the mean.
    scale = np.where(scale > 1e-6 * np.abs(x).max(axis=0), scale, np.inf)
    x, asked, spread = (x - mean) / scale, (asked - mean) / scale, t.std(axis=0)
    spread = np.where(spread > 0, spread, 1)
    variance, axes = np.linalg.eigh(x.T @ x / len(x))
    along = axes.T @ (x.T @ ((t - level) / spread)) / len(x)
    asked = asked @ axes
    return [
        asked @ (along / (np.maximum(variance, 0) + l2)[:, None]) * spread + level for l2 in l2s
    ]
