"""Anomaly scores by what is known of normal examples alone; higher is stranger."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jssl.evals import cosine, ranking

HIGHEST = jax.lax.Precision.HIGHEST


def one_class(
    train_x: Float[Array | np.ndarray, "n d"],
    train_y: Int[np.ndarray, " n"],
    test_x: Float[Array | np.ndarray, "m d"],
    test_y: Int[np.ndarray, " m"],
    *,
    k: int = 5,
) -> dict[str, float]:
    """Each class in turn is the normal one: means over classes of AUROC, AUPR and FPR@95.

    An anomaly is the positive. Keys ``knn_auroc`` ... ``reconstruction_fpr95``. Only training
    examples of the normal class are fitted; test labels enter the metrics alone. Classes of one
    training example, and those that no or every test example has, are left out.
    """
    train_x, train_y, test_y = map(np.asarray, (train_x, train_y, test_y))
    classes, sizes = np.unique(train_y, return_counts=True)
    x = jnp.asarray(test_x)
    metrics = {
        "auroc": ranking.roc_auc,
        "aupr": ranking.average_precision,
        "fpr95": ranking.false_positive_rate,
    }
    found: dict[str, list[float]] = {}
    for normal, size in zip(classes, sizes, strict=True):
        odd = test_y != normal
        if size < 2 or odd.all() or not odd.any():
            continue
        # All classes padded to one size: one program for all.
        known = np.zeros((sizes.max(), train_x.shape[1]), train_x.dtype)
        known[:size] = train_x[train_y == normal]
        known, size = jnp.asarray(known), int(size)
        scores = {"knn": knn_distance(known, x, min(k, size), size), **spectral(known, x, size)}
        for name, score in scores.items():
            for metric, of in metrics.items():
                found.setdefault(f"{name}_{metric}", []).append(of(odd, np.asarray(score)))
    return {name: float(np.mean(values)) for name, values in found.items()}


def knn_distance(
    normal: Float[Array, "n d"],
    x: Float[Array, "m d"],
    k: int = 5,
    count: int | Int[Array, ""] | None = None,
) -> Float[Array, " m"]:
    """Euclidean distance on the unit sphere to the k-th nearest of the first ``count`` normal ones.

    Section 3 of arXiv 2204.06507.
    """
    similarity, _ = cosine.nearest(normal, x, k, count)
    return jnp.sqrt(jnp.maximum(2 - 2 * similarity[:, -1], 0))


@jax.jit
def spectral(
    normal: Float[Array, "n d"],
    x: Float[Array, "m d"],
    count: int | Int[Array, ""] | None = None,
    shrinkage: float = 0.01,
    kept: float = 0.9,
) -> dict[str, Float[Array, " m"]]:
    """Two scores from the principal axes of the first ``count`` normal examples.

    ``mahalanobis``: the squared distance from their mean (arXiv 1807.03888, equation 2), with the
    covariance ``(1 - shrinkage) * S + shrinkage * trace(S) / d * I``, which can be inverted where
    there are fewer examples than dimensions. ``reconstruction``: the squared error of ``x`` rebuilt
    from its projection on the leading axes, the fewest that hold ``kept`` of the variance.
    """
    dtype = np.promote_types(normal.dtype, np.float32)
    normal, x = normal.astype(dtype), x.astype(dtype)
    count = len(normal) if count is None else count
    real = (jnp.arange(len(normal)) < count)[:, None]
    size = jnp.asarray(count, dtype)
    mean = jnp.sum(jnp.where(real, normal, 0), axis=0, keepdims=True) / size
    centred = jnp.where(real, normal - mean, 0)
    covariance = jnp.dot(centred.T, centred, precision=HIGHEST) / size
    variance, axes = jnp.linalg.eigh(covariance)
    variance = jnp.maximum(variance, 0)
    square = jnp.square(jnp.dot(x - mean, axes, precision=HIGHEST))
    level = jnp.maximum(jnp.mean(variance), jnp.finfo(dtype).tiny)
    shrunk = (1 - shrinkage) * variance + shrinkage * level
    # Variances rise: an axis is left out if all up to it hold no more than may be lost.
    left_out = jnp.cumsum(variance) <= (1 - kept) * jnp.sum(variance)
    return {
        "mahalanobis": jnp.sum(square / shrunk[None, :], axis=1),
        "reconstruction": jnp.sum(jnp.where(left_out[None, :], square, 0), axis=1),
    }
