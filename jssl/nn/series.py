"""Networks over time series: dilated convolutions."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from jssl.method import Features
from jssl.nn.dtypes import at_least_float32, compute_dtype


class DilatedConv(nn.Module):
    """One convolution [n t c] -> [n t width], padded with zeros to the same length.

    Taps that reach beyond the series wherever they stand only ever meet zeros, so they are not
    computed: with dilations up to 2^10 and windows of 200 that is half of the work.
    """

    width: int
    kernel: int
    dilation: int
    kernel_init: Any
    param_dtype: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Convolve; computed in the dtype of ``x``."""
        shape = (self.kernel, x.shape[2], self.width)
        kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype)
        bias = self.param("bias", nn.initializers.zeros, (self.width,), self.param_dtype)
        middle = self.kernel // 2
        reach = min(middle, (x.shape[1] - 1) // self.dilation)
        y = jax.lax.conv_general_dilated(
            x,
            kernel[middle - reach : middle + reach + 1].astype(x.dtype),
            window_strides=(1,),
            padding=((reach * self.dilation,) * 2,),
            rhs_dilation=(self.dilation,),
            dimension_numbers=("NWC", "WIO", "NWC"),
        )
        return y + bias.astype(x.dtype)[None, None]


class DilatedConvs(nn.Module):
    """Residual blocks of dilated convolutions over a time series -> `Features`.

    ``tokens`` is [n t dim], a vector a time step; ``pooled`` their maximum over time. Block i has
    two convolutions of dilation 2^i, each behind a GELU, and there are depth + 1 of them, the last
    from ``width`` to ``dim``. A step of which a channel has no value enters as a zero vector.

    Weights are uniform in +-1 / sqrt(fan-in), as in the released code; biases are zero.

    dim: of the features.
    width: of the blocks.
    depth: hidden blocks.
    kernel: odd.
    dropout: of the features, in training.
    dtype: to compute in; None that of input and parameters.

    Raises:
      ValueError: for an even kernel.

    Source: TS2Vec, Yue et al. 2022, arXiv 2106.10466, section 2.3 and appendix.
    """

    dim: int = 320
    width: int = 64
    depth: int = 10
    kernel: int = 3
    dropout: float = 0.1
    dtype: Any = None
    param_dtype: Any = jnp.float32

    def __post_init__(self) -> None:
        """Refuse what no network can be built from."""
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, got {self.kernel}")
        super().__post_init__()

    @nn.compact
    def __call__(
        self,
        x: dict[str, Array],
        train: bool = False,
        inside: Bool[Array, "n t"] | None = None,
        keep: Bool[Array, "n t"] | None = None,
    ) -> Features:
        """Encode.

        Args:
          x: ``series`` [n t c]; ``observed`` [n t c], where it has a value.
          train: whether features are dropped; wants an rng called "dropout" then.
          inside: the segment that the series is cut to: the features there are those of that
            segment alone, which the convolutions pad with zeros; None for all of it.
          keep: where the first layer's latents are kept and not set to zero; None for everywhere.
        """
        dtype = compute_dtype(self.dtype, x["series"], self.param_dtype)
        init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
        dense = {"kernel_init": init, "dtype": dtype, "param_dtype": self.param_dtype}

        def cut(y):
            return y if inside is None else jnp.where(inside[:, :, None], y, 0)

        def conv(y, width, dilation, name):
            y = cut(nn.gelu(y, approximate=False))
            return DilatedConv(width, self.kernel, dilation, init, self.param_dtype, name=name)(y)

        seen = jnp.all(x["observed"], axis=-1)
        seen = seen if keep is None else seen & keep
        y = nn.Dense(self.width, name="embed", **dense)(x["series"].astype(dtype))
        y = jnp.where(seen[:, :, None], y, 0)
        for i in range(self.depth + 1):
            last = i == self.depth
            width = self.dim if last else self.width
            skip = nn.Dense(width, name="project", **dense)(y) if last else y
            y = conv(y, width, 2**i, f"block{i}_conv0")
            y = skip + conv(y, width, 2**i, f"block{i}_conv1")
        y = nn.Dropout(self.dropout, deterministic=not train)(at_least_float32(y))
        return Features(jnp.max(y, axis=1), y)
