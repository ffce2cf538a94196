"""Has the embedding collapsed? Cheap measures on the device, usable during training."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

HIGHEST = jax.lax.Precision.HIGHEST
LEAST_RANK = 2.0  # an effective rank below this is a line
LEAST_DEVIATION = 0.01  # as a share of the ideal; a healthy MAE has some 0.05
LEAST_SPREAD = 0.1  # of the projections; healthy ones have 0.5 and more, forced collapses 0.03


@jax.jit
def effective_rank(z: Float[Array, "n d"]) -> Float[Array, ""]:
    """RankMe: ``exp`` of the entropy of the singular values of ``z``, from 1 to ``min(n, d)``.

    Equation 1 of arXiv 2210.02885, on embeddings that are not centred. The singular values are
    roots of the eigenvalues of the smaller Gram matrix. Its rounding would drown those below 0.2 %
    of the largest (in float32), which many together weigh something; so what lies off the leading
    axes gets a Gram matrix of its own, and only what is below about 0.005 % counts as zero. A ``z``
    of zeros has rank 1.
    """
    z = _wide(z)
    z = z / jnp.maximum(jnp.max(jnp.abs(z)), jnp.finfo(z.dtype).tiny)
    if z.shape[0] < z.shape[1]:
        z = z.T
    eps = jnp.finfo(z.dtype).eps
    large, axes = jnp.linalg.eigh(jnp.dot(z.T, z, precision=HIGHEST))
    leading = large > eps**0.5 * large[-1]
    rest = jnp.where(leading[None, :], 0, jnp.dot(z, axes, precision=HIGHEST))
    small = jnp.linalg.eigvalsh(jnp.dot(rest.T, rest, precision=HIGHEST))
    small = jnp.where(small > 50 * eps * jnp.maximum(small[-1], eps * large[-1]), small, 0)
    singular = jnp.sqrt(jnp.concatenate([jnp.where(leading, large, 0), small]))
    total = jnp.sum(singular)
    share = singular / jnp.where(total > 0, total, 1)
    return jnp.exp(jnp.sum(jax.scipy.special.entr(share)))


def collapsed(
    effective_rank: float,
    deviation: float,
    dimensions: int,
    projection_spread: float | None = None,
) -> str | None:
    """Why an embedding counts as collapsed, in a sentence; None where it does not.

    It does if a value is not finite, if the effective rank is below 2 (all examples lie about one
    line: dimensional collapse), if the deviation is below a hundredth of the ideal
    ``1 / sqrt(dimensions)`` (all lie about one point: complete collapse), or if the projections,
    where a method has some, lie about one point, which shows long before the embedding follows:
    their spread (`jssl.losses.spread`) is below a tenth.
    """
    ideal = dimensions**-0.5
    if not (effective_rank < jnp.inf and deviation < jnp.inf):
        return "The embedding is not finite."
    if deviation < LEAST_DEVIATION * ideal:
        return (
            f"All examples fall close to one point: deviation {deviation:.4f}, where an even spread"
            f" over {dimensions} dimensions has {ideal:.4f}."
        )
    if effective_rank < LEAST_RANK:
        return (
            f"All examples fall close to one line: effective rank {effective_rank:.1f} of"
            f" {dimensions}."
        )
    if projection_spread is not None and not projection_spread >= LEAST_SPREAD:
        return (
            f"All projections fall close to one point: {projection_spread:.1%} of an even spread;"
            " the embedding will follow."
        )
    return None


def _wide(z: Array) -> Array:
    return z.astype(np.promote_types(z.dtype, np.float32))
