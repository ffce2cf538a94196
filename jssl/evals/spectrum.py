"""What the spectrum of an embedding says without labels; RankMe is `collapse.effective_rank`."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

HIGHEST = jax.lax.Precision.HIGHEST
RANKS = 4, 100  # of the eigenvalues that alpha-ReQ is fitted to


def alpha_req(z: Float[Array | np.ndarray, "n d"]) -> float | None:
    """The exponent ``alpha`` of ``eigenvalue ~ rank ** -alpha`` of the covariance; near 1 is best.

    Least squares of the logarithms over ranks 4 to 100, each weighted by 1 / rank, as in the
    authors' released code (the paper, Agrawal et al. 2022, "alpha-ReQ", names no ranks). None where
    fewer than two of these eigenvalues are above the rounding of the largest.
    """
    z = np.asarray(z, np.float64)
    z = z - z.mean(axis=0)
    variance = np.linalg.svd(z, compute_uv=False) ** 2
    variance = variance[variance > np.finfo(np.float32).eps ** 2 * variance[:1]]
    rank = np.arange(1, 1 + len(variance))[RANKS[0] - 1 : RANKS[1]]
    if len(rank) < 2:
        return None
    slope, _ = np.polyfit(np.log(rank), np.log(variance[rank - 1]), 1, w=rank**-0.5)
    return float(-slope)


@jax.jit
def lidar(z: Float[Array, "n q d"], delta: float = 1e-4, epsilon: float = 1e-7) -> Float[Array, ""]:
    """LiDAR: the effective rank of the linear discriminant of examples, from their ``q`` views.

    ``exp`` of the entropy of the eigenvalues of ``W^-1/2 B W^-1/2``, with ``B`` the covariance of
    the means of the examples and ``W`` that of views about them plus ``delta`` on the diagonal;
    sections 4.2 and 4.3 of arXiv 2312.04000. From 1 up to ``d``. Needs two examples and two views.
    """
    n, q, d = z.shape
    if n < 2 or q < 2:
        raise ValueError(f"lidar needs 2 examples of 2 views, got {n} of {q}")
    z = z.astype(np.promote_types(z.dtype, np.float32))
    mean = jnp.mean(z, axis=1, keepdims=True)
    within = (z - mean).reshape(n * q, d)
    between = mean[:, 0] - jnp.mean(mean, axis=0)
    spread = jnp.dot(within.T, within, precision=HIGHEST) / (n * (q - 1))
    values, axes = jnp.linalg.eigh(spread)
    # Rounding can make a variance negative.
    root = axes * jax.lax.rsqrt(jnp.maximum(values, 0) + delta)[None, :]
    found = jnp.linalg.svd(jnp.dot(between, root, precision=HIGHEST), compute_uv=False)
    share = jnp.square(found) / jnp.maximum(jnp.sum(jnp.square(found)), jnp.finfo(z.dtype).tiny)
    share = jnp.pad(share, (0, d - len(share))) + epsilon
    return jnp.exp(jnp.sum(jax.scipy.special.entr(share)))
