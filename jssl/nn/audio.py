"""Networks over signals: strided convolutions, and a recurrent context that sees the past alone."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array

from jssl.method import Features
from jssl.nn.dtypes import at_least_float32, compute_dtype


class CausalConvs(nn.Module):
    """Convolutions over time, each before a ReLU: [n t] -> [n t//s dim], s all strides multiplied.

    Silence is put before, kernel - stride samples in each layer: frame i sees no sample from
    (i + 1) s on. The kernels and strides are those of van den Oord et al. 2018, arXiv 1807.03748,
    section 3.1 (10 ms a frame at 16 kHz).
    """

    dim: int = 512
    kernels: tuple[int, ...] = (10, 8, 4, 4, 4)
    strides: tuple[int, ...] = (5, 4, 2, 2, 2)
    dtype: Any = None
    param_dtype: Any = jnp.float32

    def __post_init__(self) -> None:
        """Refuse what no network can be built from."""
        pairs = list(zip(self.kernels, self.strides, strict=False))
        if len(self.kernels) != len(self.strides) or not all(k >= s >= 1 for k, s in pairs):
            raise ValueError(
                f"kernels must be one for each stride and no shorter, got {self.kernels} "
                f"and {self.strides}"
            )
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Convolve."""
        dtype = compute_dtype(self.dtype, x, self.param_dtype)
        y = x.astype(dtype)[:, :, None]
        init = nn.initializers.he_normal()
        for i, (kernel, stride) in enumerate(zip(self.kernels, self.strides, strict=True)):
            y = nn.relu(
                nn.Conv(
                    self.dim,
                    (kernel,),
                    (stride,),
                    padding=((kernel - stride, 0),),
                    kernel_init=init,
                    dtype=dtype,
                    param_dtype=self.param_dtype,
                    name=f"conv{i}",
                )(y)
            )
        return y


class CPCEncoder(nn.Module):
    """Latents of a signal and their context -> `Features`: that of contrastive predictive coding.

    ``tokens`` is the context [n t context] of all frames, of each and those before it; ``pooled``
    the mean over the frames that are not padding, one at least.

    dim, kernels, strides: see `CausalConvs`.
    context: units of the recurrent network, a GRU.
    dtype: of the convolutions; None that of the parameters. The recurrence runs in at least
      float32.

    Source: van den Oord et al. 2018, arXiv 1807.03748, section 3.1: 512 and 256 units.
    """

    dim: int = 512
    context: int = 256
    kernels: tuple[int, ...] = (10, 8, 4, 4, 4)
    strides: tuple[int, ...] = (5, 4, 2, 2, 2)
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: dict[str, Array], train: bool = False, latents: bool = False) -> Any:
        """Encode.

        Args:
          x: ``signal`` [n t]; ``samples`` [n] int32, how many of them are not padding.
          train: changes nothing.
          latents: gives ``(Features, z, real)`` instead: z [n t dim] before the context, and which
            frames hold no padding, [n t].
        """
        dtype = compute_dtype(self.dtype, x["signal"], self.param_dtype)
        dtypes = {"dtype": dtype, "param_dtype": self.param_dtype}
        z = CausalConvs(self.dim, self.kernels, self.strides, name="convs", **dtypes)(x["signal"])
        z = at_least_float32(z)
        # Rounding would add up from frame to frame: the recurrence stays in float32.
        cell = nn.GRUCell(self.context, dtype=z.dtype, param_dtype=self.param_dtype)
        c = nn.RNN(cell, name="context")(z)
        stride = 1
        for s in self.strides:
            stride *= s
        real = (
            jnp.arange(z.shape[1], dtype=jnp.int32)[None]
            < jnp.maximum(x["samples"] // stride, 1)[:, None]
        )
        total = jnp.sum(jnp.where(real[:, :, None], c, 0), axis=1)
        features = Features(total / jnp.sum(real, axis=1, dtype=c.dtype)[:, None], c)
        return (features, z, real) if latents else features
