"""The linear probe with a handful of labels, over several draws of them."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jssl.evals import logistic, split
from jssl.evals.linear import L2_CANDIDATES, check_candidates

ONE_LABEL_L2 = 1.0  # where one label a class leaves nothing to choose it by


class FewLabels(NamedTuple):
    """Accuracies in [0, 1] with few labels.

    mean: over the draws.
    interval: the 95 % confidence interval of that mean over draws of labels, from Student's t;
      None for a single draw. It says nothing of other test sets or encoders.
    accuracies: [draws].
    l2: [draws], the regulariser each draw chose.
    """

    mean: float
    interval: tuple[float, float] | None
    accuracies: np.ndarray
    l2: np.ndarray


def few_labels(
    train_x: Float[Array | np.ndarray, "n d"],
    train_y: Int[Array | np.ndarray, " n"],
    test_x: Float[Array | np.ndarray, "m d"],
    test_y: Int[Array | np.ndarray, " m"],
    *,
    num_classes: int,
    per_class: int = 10,
    draws: int = 5,
    l2_candidates: Sequence[float] = L2_CANDIDATES,
    seed: int = 0,
    tolerance: float = 1e-3,
    max_iterations: int = 200,
) -> FewLabels:
    """Linear probes on ``per_class`` training examples of each class, drawn ``draws`` times.

    A draw sees nothing but its own labels: the regulariser is the one with the best mean accuracy
    in a stratified cross-validation among them (five folds or so, see `split.folds`; of several
    the largest), and features are standardised by them. With one label a class there is nothing
    to validate on and the regulariser is 1. All draws, folds and candidates are one vmapped solve.
    """
    split.check(train_x, train_y, test_x, test_y, num_classes)
    # The largest first, so that of equals the largest is chosen.
    candidates = np.sort(check_candidates(l2_candidates))[::-1]
    labels = np.asarray(train_y)
    drawn = split.balanced(labels, per_class, draws, seed)
    if per_class == 1:
        candidates = np.asarray([ONE_LABEL_L2])
    classes = len(np.unique(labels))
    predicted, chosen = _probe(
        jnp.asarray(train_x)[drawn],
        jnp.asarray(labels[drawn], jnp.int32),
        jnp.asarray(test_x),
        jnp.asarray(candidates),
        jnp.asarray(_parts(classes, per_class, len(candidates))),
        num_classes=num_classes,
        tolerance=tolerance,
        max_iterations=max_iterations,
    )
    accuracies = (np.asarray(predicted) == np.asarray(test_y)[None, :]).mean(axis=1)
    l2 = candidates[np.asarray(chosen)]
    return FewLabels(float(accuracies.mean()), interval(accuracies), accuracies, l2)


def interval(values: Float[np.ndarray, " n"]) -> tuple[float, float] | None:
    """The 95 % confidence interval of the mean, from Student's t; None for a single value."""
    if len(values) < 2:
        return None
    from scipy.special import stdtrit

    half = stdtrit(len(values) - 1, 0.975) * values.std(ddof=1) / len(values) ** 0.5
    return float(values.mean() - half), float(values.mean() + half)


def _parts(classes: int, per_class: int, candidates: int) -> np.ndarray:
    """What each fit of a draw sees [f n]: all but a fold, fold after fold, and last everything."""
    everything = np.ones((1, classes * per_class), bool)
    if candidates == 1:
        return everything
    _, held = split.folds(classes, per_class)
    seen = np.ones((len(held), classes * per_class), bool)
    np.put_along_axis(seen, held, False, axis=1)
    return np.concatenate([seen, everything])


@partial(jax.jit, static_argnames=("num_classes", "tolerance", "max_iterations"))
def _probe(x, y, test_x, candidates, parts, *, num_classes, tolerance, max_iterations):
    """Test predictions and chosen candidate of each draw, from x [draws n d], y [draws n].

    The last part fits all candidates too, of which one is used: a second program, of one
    candidate, would take longer to compile than this one runs.
    """
    fit = partial(
        logistic.fit,
        num_classes=num_classes,
        tolerance=tolerance,
        max_iterations=max_iterations,
    )

    def draw(x, y):
        fits = jax.vmap(lambda part: fit(x, y, candidates, part))(parts)
        predicted = jax.vmap(lambda fit: logistic.predict(fit, x))(fits)
        right = (predicted == y[None, None, :]) & ~parts[:, None, :]
        chosen = jnp.argmax(jnp.sum(right, axis=(0, 2)))
        whole = jax.tree.map(lambda leaf: leaf[-1], fits)
        return logistic.predict(whole, test_x)[chosen], chosen

    return jax.vmap(draw)(x, y)
