"""The linear probe: how much of the classes can a linear map read off frozen features?"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jssl.evals import logistic, split

L2_CANDIDATES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)


class LinearProbe(NamedTuple):
    """A classifier ``(x - mean) / scale @ weights + bias`` and how it came about.

    accuracy: on the test part, in [0, 1].
    l2: the regulariser chosen.
    validation_accuracies: [c], of each candidate in the order given.
    weights, bias, mean, scale: [d k], [k], [d], [d].
    iterations: of the last fit.
    converged: whether that fit came within the tolerance.
    """

    accuracy: float
    l2: float
    validation_accuracies: np.ndarray
    weights: np.ndarray
    bias: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    iterations: int
    converged: bool


def linear_probe(
    train_x: Float[Array | np.ndarray, "n d"],
    train_y: Int[Array | np.ndarray, " n"],
    test_x: Float[Array | np.ndarray, "m d"],
    test_y: Int[Array | np.ndarray, " m"],
    *,
    num_classes: int,
    l2_candidates: Sequence[float] = L2_CANDIDATES,
    holdout: float = 0.2,
    seed: int = 0,
    tolerance: float = 1e-3,
    max_iterations: int = 200,
) -> LinearProbe:
    """Multinomial logistic regression on standardised features, fitted by full-batch L-BFGS.

    Minimises ``mean cross-entropy + l2 / 2 * ||W||^2``, the bias unpenalised. Every candidate is
    fitted, in one vmapped solve, to the training part less a stratified ``holdout`` share of it
    (by ``seed``); the one that classifies that share best (of several the largest) is fitted again
    to the whole training part. Test labels enter the accuracy and nothing else. Features are
    standardised by the statistics of the part that is fitted. See `logistic.fit` for ``tolerance``.
    """
    split.check(train_x, train_y, test_x, test_y, num_classes)
    candidates = check_candidates(l2_candidates)
    x, y = jnp.asarray(train_x), jnp.asarray(train_y, jnp.int32)
    options = {
        "num_classes": num_classes,
        "tolerance": tolerance,
        "max_iterations": max_iterations,
    }
    inner, outer = split.stratified(np.asarray(train_y), holdout, seed)
    trial = logistic.fit(x[inner], y[inner], jnp.asarray(candidates), **options)
    right = logistic.predict(trial, x[outer]) == y[outer][None, :]
    accuracies = np.asarray(right).mean(axis=1)
    l2 = float(max(candidates[accuracies == accuracies.max()]))
    fit = logistic.fit(x, y, jnp.asarray([l2]), **options)
    predicted = np.asarray(logistic.predict(fit, jnp.asarray(test_x)))[0]
    return LinearProbe(
        accuracy=float((predicted == np.asarray(test_y)).mean()),
        l2=l2,
        validation_accuracies=accuracies,
        weights=np.asarray(fit.weights[0]),
        bias=np.asarray(fit.bias[0]),
        mean=np.asarray(fit.mean),
        scale=np.asarray(fit.scale),
        iterations=int(fit.iterations[0]),
        converged=bool(fit.gradient_norm[0] <= tolerance),
    )


def probabilities(fit: LinearProbe, x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n k"]:
    """What a probe says of each class, rows summing to 1."""
    logits = (x - fit.mean) / fit.scale @ fit.weights + fit.bias
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def check_candidates(l2_candidates: Sequence[float]) -> np.ndarray:
    """The candidates as an array; a ``ValueError`` unless there is one and all are > 0."""
    candidates = np.asarray(l2_candidates, float)
    if candidates.ndim != 1 or not len(candidates) or not (candidates > 0).all():
        raise ValueError(f"l2_candidates must be numbers > 0, got {list(l2_candidates)}")
    return candidates
