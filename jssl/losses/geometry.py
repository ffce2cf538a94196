"""Precision and geometry that the losses share."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def at_least_float32(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """bfloat16 and float16 as float32; float32 and float64 as they are."""
    return x.astype(np.promote_types(x.dtype, np.float32))


def l2_normalize(x: Float[Array, "... d"]) -> Float[Array, "... d"]:
    """Scales vectors to length one, in float32 or wider.

    The squared length is bounded below by 1e-12, as in the released SimCLR and BYOL code.
    """
    x = at_least_float32(x)
    return x * jax.lax.rsqrt(jnp.maximum(jnp.sum(x * x, axis=-1, keepdims=True), 1e-12))
