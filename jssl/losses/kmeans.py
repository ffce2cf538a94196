"""k-means on the device, and what DeepCluster does to features before it.

Matrices of scores [n k] are made by parts of at most `SCORES` entries. Everything is a function of
its inputs, to the bit: sums are matrix products, not scatters.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from jssl import require
from jssl.losses.geometry import at_least_float32, l2_normalize

HIGHEST = jax.lax.Precision.HIGHEST
SCORES = 2**23
UNKNOWN = -1


def spherical_kmeans(
    key: Key[Array, ""],
    x: Float[Array, "n d"],
    k: int,
    iterations: int = 10,
    mask: Bool[Array, " n"] | None = None,
) -> tuple[Float[Array, "k d"], Int[Array, " n"]]:
    """k-means by cosine similarity, as in the released code of DeepCluster-v2.

    Centroids begin as k different rows (rows stand more than once where fewer than k take part);
    each iteration assigns every row to the nearest one and makes of each cluster its mean, scaled
    to length one. An empty cluster keeps its centroid.

    Args:
      key: for the choice of the first centroids.
      x: rows of length one.
      k: how many clusters, in [1, n].
      iterations: >= 1.
      mask: True for the rows that take part; by default all.

    Returns:
      Centroids of length one, at least float32, and of each row the nearest of them, int32; -1
      for rows that take no part.

    Raises:
      ValueError: if k or iterations is out of range.

    Source: Caron et al. 2020, arXiv 2006.09882; facebookresearch/swav, main_deepclusterv2.py,
    ``cluster_memory``.
    """

    def update(key, centroids, sums, counts):
        return jnp.where(counts[:, None] > 0, l2_normalize(sums), centroids)

    return _lloyd(key, x, k, iterations, mask, jnp.zeros_like, update)


def kmeans(
    key: Key[Array, ""],
    x: Float[Array, "n d"],
    k: int,
    iterations: int = 20,
    mask: Bool[Array, " n"] | None = None,
    perturbation: float = 1 / 1024,
) -> tuple[Float[Array, "k d"], Int[Array, " n"]]:
    """k-means by Euclidean distance, as DeepCluster does it.

    An empty cluster gets the centroid of another, drawn in proportion to its size less one, each
    of whose coordinates is scaled by 1 plus or minus ``perturbation``, so that the next iteration
    splits that one. Arguments, returns and errors as in `spherical_kmeans`; rows of any length.

    Source: Caron et al. 2018, arXiv 1807.05520, section 3.3 ("Empty clusters"); size of the
    perturbation, draw and iterations from faiss, which the released code calls. Faiss moves both
    centroids, by alternating signs; here, as the paper says, the new one, by random signs.
    """

    def update(key, centroids, sums, counts):
        k_donor, k_sign = jax.random.split(key)
        size = counts[:, None]
        means = jnp.where(size > 0, sums / jnp.maximum(size, 1), centroids)
        donor = jax.random.categorical(k_donor, jnp.log(jnp.maximum(counts - 1, 0)), shape=(k,))
        sign = jax.random.rademacher(k_sign, means.shape, means.dtype)
        return jnp.where(size > 0, means, means[donor] * (1 + perturbation * sign))

    def offset(norms):
        return norms / 2

    return _lloyd(key, x, k, iterations, mask, offset, update)


def _lloyd(
    key: Array,
    x: Array,
    k: int,
    iterations: int,
    mask: Array | None,
    offset: Callable[[Array], Array],
    update: Callable[[Array, Array, Array, Array], Array],
) -> tuple[Array, Array]:
    """Assign and update in turn; a score is the dot product less ``offset`` of the squared norm."""
    n, d = x.shape
    if not 1 <= k <= n:
        raise ValueError(f"k must be between 1 and the {n} rows, got {k}")
    require.at_least(1, iterations=iterations)
    x = at_least_float32(x)
    mask = jnp.ones(n, bool) if mask is None else mask
    # A row outside may hold anything, and 0 * nan is nan.
    x = jnp.where(mask[:, None], x, 0)
    k_first, k_update = jax.random.split(key)

    order = jnp.argsort(jnp.where(mask, jax.random.uniform(k_first, (n,), x.dtype), jnp.inf))
    taking_part = jnp.maximum(jnp.sum(mask, dtype=jnp.int32), 1)
    centroids = x[order[jnp.arange(k, dtype=jnp.int32) % taking_part]]

    rows = max(1, min(n, SCORES // k))
    parts = -(-n // rows)

    def by_part(array):
        padding = [(0, parts * rows - n)] + [(0, 0)] * (array.ndim - 1)
        return jnp.pad(array, padding).reshape(parts, rows, *array.shape[1:])

    x_parts, mask_parts = by_part(x), by_part(mask)

    def nearest(centroids, x):
        norms = jnp.sum(centroids * centroids, axis=1)
        scores = jnp.dot(x, centroids.T, precision=HIGHEST) - offset(norms)[None]
        return jax.lax.argmax(scores, 1, jnp.int32)

    def iteration(centroids, key):
        def part(total, inputs):
            x, mask = inputs
            mine = nearest(centroids, x)[:, None] == jnp.arange(k, dtype=jnp.int32)[None]
            mine = (mine & mask[:, None]).astype(x.dtype)
            sums, counts = total
            sums = sums + jnp.dot(mine.T, x, precision=HIGHEST)
            return (sums, counts + jnp.sum(mine, axis=0)), None

        zeros = jnp.zeros((k, d), x.dtype), jnp.zeros(k, x.dtype)
        (sums, counts), _ = jax.lax.scan(part, zeros, (x_parts, mask_parts))
        return update(key, centroids, sums, counts), None

    keys = jax.random.split(k_update, iterations)
    centroids, _ = jax.lax.scan(iteration, centroids, keys)
    labels = jax.lax.map(lambda x: nearest(centroids, x), x_parts).reshape(-1)[:n]
    return centroids, jnp.where(mask, labels, UNKNOWN)


def pca_whiten(
    x: Float[Array, "n d"], dimensions: int, mask: Bool[Array, " n"] | None = None
) -> Float[Array, "n p"]:
    """Rows in their first principal components, each scaled to variance one, then length one.

    Args:
      x: features.
      dimensions: p, how many components; all d where there are no more.
      mask: True for the rows that the components are made of; by default all. The others are
        transformed too.

    A component that holds less than 1e-6 of the first one's variance is rounding, and left at 0.
    The covariance divides by the number of rows.

    Raises:
      ValueError: if ``dimensions`` is not positive.

    Source: Caron et al. 2018, arXiv 1807.05520, "Implementation details";
    facebookresearch/deepcluster, clustering.py, ``preprocess_features``.
    """
    require.at_least(1, dimensions=dimensions)
    x = at_least_float32(x)
    mask = jnp.ones(len(x), bool) if mask is None else mask
    inside = mask[:, None]
    count = jnp.maximum(jnp.sum(mask, dtype=x.dtype), 1)
    x = x - (jnp.sum(jnp.where(inside, x, 0), axis=0) / count)[None]
    centred = jnp.where(inside, x, 0)
    covariance = jnp.dot(centred.T, centred, precision=HIGHEST) / count
    variance, components = jnp.linalg.eigh(covariance)
    first = slice(-1, -min(dimensions, x.shape[1]) - 1, -1)
    variance, components = variance[first], components[:, first]
    real = variance > 1e-6 * variance[0]
    scale = jnp.where(real, jax.lax.rsqrt(jnp.where(real, variance, 1)), 0)
    return l2_normalize(jnp.dot(x, components, precision=HIGHEST) * scale[None])
