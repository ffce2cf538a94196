"""Which dtype a layer computes in; jnp's own promotion refuses mixtures when it is strict."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def at_least_float32(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The same values in float32, or in float64 if they are."""
    return x.astype(np.promote_types(x.dtype, np.float32))


def compute_dtype(dtype: Any, x: Array, param_dtype: Any) -> Any:
    """``dtype``, or where it is None what the input and the parameters promote to."""
    return np.promote_types(x.dtype, param_dtype) if dtype is None else jnp.dtype(dtype)
