"""Losses that reduce redundancy: no negatives; the features themselves are kept apart."""

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float, Int

from jssl import require
from jssl.losses.geometry import at_least_float32, l2_normalize

HIGHEST = jax.lax.Precision.HIGHEST


def barlow_twins(
    z1: Float[Array, "n d"],
    z2: Float[Array, "n d"],
    weight: float = 0.0051,
    *,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """Pulls the cross-correlation of two views' features towards the identity.

    Args:
      z1: projections of the first views.
      z2: projections of the second views, row by row the partners of ``z1``.
      weight: of what stands off the diagonal, >= 0; lambda of the paper.
      axis_name: inside ``shard_map`` or ``pmap``: the axis over which the batch is split.

    Features are standardised over the batch by the biased variance plus 1e-5, as in a batch norm,
    and correlations divide by n. A sum over all d * d entries, as in the released code.

    Raises:
      ValueError: if the weight is negative.

    Source: Zbontar et al. 2021, arXiv 2103.03230, equations 1 and 2.
    """
    require.at_least(0, weight=weight)
    n = _count(z1, axis_name)

    def standardized(z):
        z = _centred(z, axis_name)
        return z * jax.lax.rsqrt(_sum(jnp.sum(z * z, axis=0), axis_name) / n + 1e-5)[None]

    c = _product(standardized(z1), standardized(z2), axis_name) / n
    return jnp.sum(jnp.square(jnp.diagonal(c) - 1)) + weight * _off_diagonal(c)


def vicreg(
    z1: Float[Array, "n d"],
    z2: Float[Array, "n d"],
    invariance: float = 25.0,
    variance: float = 25.0,
    covariance: float = 1.0,
    *,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """Variance, invariance, covariance: the weighted sum of `vicreg_terms`.

    Args:
      z1: projections of the first views.
      z2: projections of the second views, row by row the partners of ``z1``.
      invariance: weight of the distance between partners, >= 0.
      variance: weight of the hinge on deviations, >= 0.
      covariance: weight of the squared covariances, >= 0.
      axis_name: inside ``shard_map`` or ``pmap``: the axis over which the batch is split.

    Raises:
      ValueError: if a weight is negative or there are fewer than 2 examples.

    Source: Bardes et al. 2021, arXiv 2105.04906, equation 6.
    """
    weights = {"invariance": invariance, "variance": variance, "covariance": covariance}
    require.at_least(0, **weights)
    terms = vicreg_terms(z1, z2, axis_name=axis_name)
    return sum(weight * terms[name] for name, weight in weights.items())


def vicreg_terms(
    z1: Float[Array, "n d"], z2: Float[Array, "n d"], *, axis_name: str | None = None
) -> dict[str, Float[Array, ""]]:
    """The three terms of `vicreg`, not weighted.

    ``invariance`` is the squared distance of partners, a mean over examples and dimensions.
    ``variance`` is how far deviations stay below 1, a mean over dimensions and the two views.
    ``covariance`` is the sum of the squares off the diagonal over d, added up for the two views.
    Covariances divide by n - 1, deviations are the root of variance plus 1e-4. All as in the
    released code; the paper (equations 1 to 6) sums the first over dimensions and the second over
    views.
    """
    n, d = _count(z1, axis_name), z1.shape[1]
    if n < 2:
        raise ValueError(f"vicreg needs at least 2 examples, got {n}")
    distance = jnp.sum(jnp.square(at_least_float32(z1) - at_least_float32(z2)))
    terms = {"invariance": _sum(distance, axis_name) / (n * d), "variance": 0, "covariance": 0}
    for z in (z1, z2):
        z = _centred(z, axis_name)
        cov = _product(z, z, axis_name) / (n - 1)
        deviation = jnp.sqrt(jnp.diagonal(cov) + 1e-4)
        terms["variance"] += jnp.mean(jax.nn.relu(1 - deviation)) / 2
        terms["covariance"] += _off_diagonal(cov) / d
    return terms


def whiten(z: Float[Array, "n d"], epsilon: float = 0.0) -> Float[Array, "n d"]:
    """Centred, uncorrelated features of variance 1: by the inverse Cholesky factor.

    Args:
      z: more examples than dimensions, or the covariance is singular and the result NaN.
      epsilon: share of the identity in the covariance that is factored, in [0, 1].

    The covariance divides by n - 1, as in the released code of W-MSE.

    Raises:
      ValueError: if epsilon is outside [0, 1].

    Source: Siarohin et al. 2018, arXiv 1806.00420; Ermolov et al. 2021, arXiv 2007.06346.
    """
    require.fraction(epsilon=epsilon)
    n, d = z.shape
    z = _centred(z, None)
    cov = (1 - epsilon) * _product(z, z, None) / (n - 1) + epsilon * jnp.eye(d, dtype=z.dtype)
    return solve_triangular(jnp.linalg.cholesky(cov), z.T, lower=True).T


def wmse(
    z1: Float[Array, "n d"],
    z2: Float[Array, "n d"],
    order: Int[Array, "i m"],
    sub_batch: int = 128,
    epsilon: float = 0.0,
    *,
    normalize: bool = True,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """Squared distance of two views' features, each view whitened in parts of the batch.

    Args:
      z1: projections of the first views.
      z2: projections of the second views, row by row the partners of ``z1``.
      order: random permutations of the whole batch of m. For each of them the batch is cut into
        parts anew, and the loss is the mean over them.
      sub_batch: size of those parts, more than d; it divides n.
      epsilon: of `whiten`.
      normalize: whitened features are scaled to length one, so that the loss is 2 less twice the
        cosine; without it, the mean over examples and dimensions, as in the released code.
      axis_name: inside ``shard_map`` or ``pmap``: the axis over which the batch is split. Every
        device then whitens the whole batch.

    Raises:
      ValueError: if sub_batch does not divide the batch or is no larger than d.

    Source: Ermolov et al. 2021, arXiv 2007.06346, section 3.
    """
    if axis_name is not None:
        z1, z2 = jax.lax.all_gather((z1, z2), axis_name, tiled=True)
    n, d = z1.shape
    if sub_batch <= d:
        raise ValueError(f"sub_batch must be more than the {d} dimensions, got {sub_batch}")
    if n % sub_batch:
        raise ValueError(f"sub_batch must divide the batch of {n}, got {sub_batch}")
    z = jnp.stack([at_least_float32(z1), at_least_float32(z2)])
    parts = z[:, order].reshape(-1, sub_batch, d)
    # A loop and no vmap: batched LAPACK calls that wait for each other can block a small machine.
    white = jax.lax.map(lambda part: whiten(part, epsilon), parts).reshape(2, -1, d)
    if normalize:
        white = l2_normalize(white)
    loss = jnp.mean(jnp.square(white[0] - white[1]))
    loss = d * loss if normalize else loss
    return loss if axis_name is None else jax.lax.pmean(loss, axis_name)


def koleo(z: Float[Array, "n d"], *, axis_name: str | None = None) -> Float[Array, ""]:
    """Spreads examples over the sphere: less the mean log distance to the nearest other example.

    Args:
      z: embeddings, any scale; at least 2.
      axis_name: inside ``shard_map`` or ``pmap``: the axis over which the batch is split.
        Neighbours are sought in the whole of it (the released code: on the same device).

    The gradient flows into an example and into its neighbour. 1e-8 is added to each difference of
    coordinates and to the distance, as in the released code of DINOv2.

    Raises:
      ValueError: if there are fewer than 2 examples.

    Source: Sablayrolles et al. 2018, arXiv 1806.03198.
    """
    n = _count(z, axis_name)
    if n < 2:
        raise ValueError(f"koleo needs at least 2 examples, got {n}")
    z = l2_normalize(z)
    others, own = z, jnp.arange(len(z), dtype=jnp.int32)
    if axis_name is not None:
        others = jax.lax.all_gather(z, axis_name, tiled=True)
        own = own + jax.lax.axis_index(axis_name) * len(z)
    column = jnp.arange(n, dtype=jnp.int32)
    similarity = jnp.dot(z, others.T, precision=HIGHEST)
    similarity = jnp.where(own[:, None] == column[None], -jnp.inf, similarity)
    nearest = jax.lax.argmax(jax.lax.stop_gradient(similarity), 1, jnp.int32)
    distance = jnp.sqrt(jnp.sum(jnp.square(z - others[nearest] + 1e-8), axis=1))
    loss = -jnp.mean(jnp.log(distance + 1e-8))
    return loss if axis_name is None else jax.lax.pmean(loss, axis_name)


def _count(z, axis_name):
    """Examples in the whole batch."""
    return len(z) if axis_name is None else len(z) * jax.lax.axis_size(axis_name)


def _sum(x, axis_name):
    return x if axis_name is None else jax.lax.psum(x, axis_name)


def _centred(z, axis_name):
    z = at_least_float32(z)
    return z - (_sum(jnp.sum(z, axis=0), axis_name) / _count(z, axis_name))[None]


def _product(a, b, axis_name):
    """[d d], the sum over examples of a's features times b's."""
    return _sum(jnp.dot(a.T, b, precision=HIGHEST), axis_name)


def _off_diagonal(c):
    """Sum of the squares off the diagonal."""
    return jnp.sum(jnp.square(jnp.where(jnp.eye(len(c), dtype=bool), 0, c)))
