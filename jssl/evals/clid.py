"""CLID: is an embedding both rich and easy to learn from? Without labels.

Lu, Liu, Baratin, Laroche, Courville and Sordoni 2022, arXiv 2206.01251. The paper adds the two
numbers, each standardised over the models that are compared; of one model there is only the pair.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jssl.evals import cosine, knn
from jssl.losses import kmeans

KEPT = 0.9  # share of the ratios that the line is fitted to, as in Facco et al.
ROWS = 512  # of the matrix of distances at a time


def cluster_learnability(
    x: Float[Array | np.ndarray, "n d"], *, iterations: int = 50, seed: int = 0
) -> float | None:
    """How well one half of the examples tells the k-means clusters of the other, in [0, 1].

    sqrt(n) clusters by cosine, all examples clustered together; of each example of one half the
    nearest of the other half is asked for its cluster. None below 8 examples.
    """
    n = len(x)
    if n < 8:
        return None
    x, count = cosine.unit(jnp.asarray(x)), math.isqrt(n)
    found = jax.jit(kmeans.spherical_kmeans, static_argnums=(2, 3))
    _, clusters = found(jax.random.key(seed), x, count, iterations)
    order = np.random.default_rng(seed).permutation(n)
    known, asked = order[: n // 2], order[n // 2 :]
    return knn.knn(
        x[known], clusters[known], x[asked], clusters[asked], k=1, num_classes=max(2, count)
    )


def intrinsic_dimension(x: Float[Array | np.ndarray, "n d"]) -> float | None:
    """TwoNN: of how many dimensions the data is, from the distances to two nearest neighbours.

    Their ratio is Pareto distributed with the dimension as its exponent; it is the slope of a line
    through the origin, fitted to minus the logarithm of one less the empirical distribution of all
    ratios but the largest tenth (Facco et al. 2017, arXiv 1803.06992). Copies of an
    example are left out. None where that leaves fewer than ten, or no distances that differ.
    """
    x = np.unique(np.asarray(x, np.float64), axis=0)
    if len(x) < 10:
        return None
    x = x - x.mean(axis=0)
    square, ratios = np.square(x).sum(axis=1), []
    for start in range(0, len(x), ROWS):
        part = slice(start, start + ROWS)
        distances = np.maximum(square[part, None] + square - 2 * x[part] @ x.T, 0)
        # Itself is not its neighbour.
        distances[np.arange(len(distances)), np.arange(start, start + len(distances))] = np.inf
        near = np.partition(distances, 1, axis=1)[:, :2]
        ratios.append(near[near[:, 0] > 0])
    first, second = np.concatenate(ratios).T
    logs = np.sort(0.5 * np.log(second / first))
    kept = int(KEPT * len(logs))
    logs, rank = logs[:kept], np.arange(1, kept + 1) / len(logs)
    below = logs @ logs
    return float(-np.log1p(-rank) @ logs / below) if below > 0 else None
