"""Has the embedding collapsed? Cheap measures on the device, usable during training."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

HIGHEST = jax.lax.Precision.HIGHEST
LEAST_RANK = 2.0  # an effective rank below this is a line
LEAST_DEVIATION = 0.01  # as a share of the ideal; a healthy MAE has some 0.05


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


@jax.jit
def deviation(z: Float[Array, "n d"]) -> Float[Array, ""]:
    """Mean over dimensions of the standard deviation of the l2-normalised embedding.

    From 0, where all examples fall on one point, to ``1 / sqrt(d)``, where they are spread evenly
    over the sphere (arXiv 2011.10566, section 4.1).
    """
    return jnp.mean(jnp.std(_unit(z), axis=0))


@partial(jax.jit, static_argnames="alpha")
def alignment(
    z1: Float[Array, "n d"], z2: Float[Array, "n d"], alpha: float = 2.0
) -> Float[Array, ""]:
    """Mean of ``||z1 - z2|| ** alpha`` over positive pairs on the unit sphere; 0 is perfect.

    Section 4.1 of arXiv 2005.10242. The embeddings are normalised here.
    """
    return jnp.mean(jnp.sum(jnp.square(_unit(z1) - _unit(z2)), axis=1) ** (alpha / 2))


@partial(jax.jit, static_argnames="t")
def uniformity(z: Float[Array, "n d"], t: float = 2.0) -> Float[Array, ""]:
    """``log`` of the mean of ``exp(-t * ||a - b||^2)`` over distinct pairs; lower is more uniform.

    Section 4.1 of arXiv 2005.10242, from 0 for one point down to about ``-2 t``. The embedding is
    normalised here. Holds an [n n] matrix; give it some thousand examples.
    """
    z = _unit(z)
    n = len(z)
    if n < 2:
        raise ValueError(f"uniformity needs at least 2 examples, got {n}")
    distance = 2 - 2 * jnp.dot(z, z.T, precision=HIGHEST)
    itself = jnp.eye(n, dtype=bool)
    logs = jnp.where(itself, -jnp.inf, -t * jnp.maximum(distance, 0))
    return jax.scipy.special.logsumexp(logs) - jnp.log(jnp.asarray(n * (n - 1), z.dtype))


def collapsed(effective_rank: float, deviation: float, dimensions: int) -> str | None:
    """Why an embedding counts as collapsed, in a sentence; None where it does not.

    It does if a value is not finite, if the effective rank is below 2 (all examples lie about one
    line: dimensional collapse), or if the deviation is below a hundredth of the ideal
    ``1 / sqrt(dimensions)`` (all lie about one point: complete collapse).
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
    return None


def _wide(z: Array) -> Array:
    return z.astype(np.promote_types(z.dtype, np.float32))


def _unit(z: Array) -> Array:
    z = _wide(z)
    length = jnp.linalg.norm(z, axis=-1, keepdims=True)
    return z / jnp.maximum(length, jnp.finfo(z.dtype).tiny)
