"""Do the clusters of an embedding match the classes?"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jssl.evals import cosine
from jssl.losses import kmeans


def cluster(
    x: Float[Array | np.ndarray, "n d"],
    labels: Int[np.ndarray, " n"],
    *,
    num_classes: int,
    iterations: int = 50,
    seed: int = 0,
) -> dict[str, float]:
    """``nmi``, ``ari`` and Hungarian ``accuracy`` of k-means on l2-normalised embeddings.

    As many clusters as classes; the labels enter the metrics alone.
    """
    found = jax.jit(kmeans.spherical_kmeans, static_argnums=(2, 3))
    _, assigned = found(jax.random.key(seed), cosine.unit(jnp.asarray(x)), num_classes, iterations)
    return agreement(np.asarray(labels), np.asarray(assigned))


def agreement(labels: Int[np.ndarray, " n"], clusters: Int[np.ndarray, " n"]) -> dict[str, float]:
    """``nmi`` (arithmetic mean of entropies), ``ari``, ``accuracy`` of the best one-to-one match.

    Sources: Strehl and Ghosh 2002; Hubert and Arabie 1985; Kuhn 1955.
    """
    from scipy.optimize import linear_sum_assignment

    rows, columns = (np.unique(v, return_inverse=True)[1] for v in (labels, clusters))
    table = np.zeros((rows.max() + 1, columns.max() + 1))
    np.add.at(table, (rows, columns), 1)
    n, a, b = table.sum(), table.sum(axis=1), table.sum(axis=0)
    p = table / n
    inside = table > 0
    shared = np.sum(p[inside] * np.log(p[inside] / (np.outer(a, b)[inside] / n**2)))
    mean = -(np.sum(a / n * np.log(a / n)) + np.sum(b / n * np.log(b / n))) / 2
    pairs, of_a, of_b = (np.sum(v * (v - 1) / 2) for v in (table, a, b))
    chance = of_a * of_b / max(n * (n - 1) / 2, 1)
    most = (of_a + of_b) / 2
    matched = table[linear_sum_assignment(-table)].sum()
    return {
        "nmi": float(shared / mean) if mean > 0 else 1.0,
        "ari": float((pairs - chance) / (most - chance)) if most != chance else 1.0,
        "accuracy": float(matched / n),
    }
