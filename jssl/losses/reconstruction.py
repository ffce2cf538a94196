"""Losses of self-prediction: the hidden part of the input is the target."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jssl.losses.geometry import at_least_float32


def patch_statistics(
    patches: Float[Array, "n t d"], epsilon: float = 1e-6
) -> tuple[Float[Array, "n t 1"], Float[Array, "n t 1"]]:
    """Mean and deviation of each patch, in float32 or wider.

    The variance divides by d - 1 and epsilon is added to it before the root, as in MAE's released
    code.
    """
    patches = at_least_float32(patches)
    variance = jnp.var(patches, axis=-1, keepdims=True, ddof=1)
    return jnp.mean(patches, axis=-1, keepdims=True), jnp.sqrt(variance + epsilon)


def normalize_patches(patches: Float[Array, "n t d"]) -> Float[Array, "n t d"]:
    """Each patch minus its mean, over its deviation (`patch_statistics`): MAE's better target.

    Source: He et al. 2021, arXiv 2111.06377, section 3 ("Reconstruction target").
    """
    mean, std = patch_statistics(patches)
    return (at_least_float32(patches) - mean) / std


def masked_mse(
    pred: Float[Array, "n t d"],
    target: Float[Array, "n t d"],
    mask: Bool[Array, "n t"],
    *,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """Mean squared error over the hidden patches of the whole batch.

    Args:
      pred: predicted patches.
      target: true patches.
      mask: True where a patch was hidden and counts. At least one must be.
      axis_name: inside ``shard_map`` or ``pmap``: the axis over which the batch is split.

    Source: He et al. 2021, arXiv 2111.06377, section 3.
    """
    error = jnp.mean((at_least_float32(pred) - at_least_float32(target)) ** 2, axis=-1)
    total, count = jnp.sum(jnp.where(mask, error, 0)), jnp.sum(mask.astype(error.dtype))
    if axis_name is not None:
        total, count = jax.lax.psum((total, count), axis_name)
    return total / count
