"""Networks over the rows of tables."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jssl.method import Features
from jssl.nn.dtypes import at_least_float32, compute_dtype


class TableMLP(nn.Module):
    """``depth`` dense layers of width ``dim``, a ReLU after each: [n f] -> `Features`.

    dtype: to compute in; None that of input and parameters.

    Source: SCARF's encoder, Bahri et al. 2021, arXiv 2106.15147, section 4.
    """

    dim: int = 256
    depth: int = 4
    dtype: Any = None
    param_dtype: Any = jnp.float32

    def __post_init__(self) -> None:
        """Refuse what no network can be built from."""
        for name, value in (("dim", self.dim), ("depth", self.depth)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "n f"], train: bool = False) -> Features:
        """Encode; ``train`` changes nothing."""
        dtype = compute_dtype(self.dtype, x, self.param_dtype)
        init = nn.initializers.he_normal()
        options = {"kernel_init": init, "dtype": dtype, "param_dtype": self.param_dtype}
        for i in range(self.depth):
            x = nn.relu(nn.Dense(self.dim, name=f"dense{i}", **options)(x))
        return Features(at_least_float32(x), None)
