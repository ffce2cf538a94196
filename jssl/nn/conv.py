"""Convolution without bias, with a choice of how it is computed."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jssl.nn.dtypes import compute_dtype

CONVS = ("auto", "xla", "matmul")


def _geometry(size: int, kernel: int, stride: int) -> tuple[int, tuple[int, int]]:
    """Output size and padding of one side: (k - 1) // 2 before, and what ceil(n / s) asks after.

    With an odd kernel these are the outputs of the symmetric padding k // 2 of the papers; padding
    behind that no window reaches is left out.
    """
    out = -(-size // stride)
    before = (kernel - 1) // 2
    return out, (before, max(0, (out - 1) * stride + kernel - size - before))


def conv_xla(
    x: Float[Array, "n h w c"], kernel: Float[Array, "k k c o"], stride: int = 1
) -> Float[Array, "n a b o"]:
    """The convolution as the compiler does it."""
    padding = [_geometry(size, kernel.shape[0], stride)[1] for size in x.shape[1:3]]
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def conv_matmul(
    x: Float[Array, "n h w c"], kernel: Float[Array, "k k c o"], stride: int = 1
) -> Float[Array, "n a b o"]:
    """The convolution as one matrix product where that is faster on a CPU, else the compiler's.

    A map so small that every window covers it (2x2 under 3x3) is a dense layer. Strided, 1x1 and
    4x4-or-smaller convolutions multiply the concatenated shifts of the input by the kernel
    (im2col). On larger maps XLA is as fast and needs no room for the shifts.
    """
    _, height, width, _ = x.shape
    k = kernel.shape[0]
    if stride == 1 and k > 1 and k % 2 and max(height, width) <= k // 2 + 1:
        return _dense(x, kernel)
    if k <= 3 and (stride > 1 or k == 1 or max(height, width) <= 4):
        return _im2col(x, kernel, stride)
    return conv_xla(x, kernel, stride)


def _im2col(x: Array, kernel: Array, stride: int) -> Array:
    n, height, width, c = x.shape
    k = kernel.shape[0]
    rows, pad_rows = _geometry(height, k, stride)
    columns, pad_columns = _geometry(width, k, stride)
    x = jnp.pad(x, ((0, 0), pad_rows, pad_columns, (0, 0)))

    def shift(i: int, j: int) -> Array:
        last = (n, i + (rows - 1) * stride + 1, j + (columns - 1) * stride + 1, c)
        return lax.slice(x, (0, i, j, 0), last, (1, stride, stride, 1))

    patches = jnp.concatenate([shift(i, j) for i in range(k) for j in range(k)], axis=-1)
    y = patches.reshape(n * rows * columns, k * k * c) @ kernel.reshape(k * k * c, -1)
    return y.reshape(n, rows, columns, -1)


def _dense(x: Array, kernel: Array) -> Array:
    n, height, width, c = x.shape
    middle = kernel.shape[0] // 2
    # Output (p, q) meets input (a, b) at the tap (a - p + middle, b - q + middle).
    taps = [
        kernel[middle - p : middle - p + height, middle - q : middle - q + width]
        for p in range(height)
        for q in range(width)
    ]
    weights = jnp.stack(taps, axis=3).reshape(height * width * c, -1)
    return (x.reshape(n, -1) @ weights).reshape(n, height, width, -1)


class Conv(nn.Module):
    """A square convolution without bias: [n h w c] -> [n ceil(h/stride) ceil(w/stride) features].

    Padding is zeros, (kernel - 1) // 2 before and as many behind as the last window needs. Weights
    are He normal by fan-out (He et al. 2015, arXiv 1502.01852).

    ``conv`` says how it is computed, never what: "xla", the compiler's convolution; "matmul", see
    `conv_matmul`; "auto", matmul in a program lowered for a CPU, xla in one for anything else, so
    that a program compiled on a CPU host for a TPU gets the TPU's. Parameters are the same.
    Measured: value and gradient of a ResNet-18 (width 16, 2x2 stem, batch 512, float32, 2 threads
    of a busy x86 host, jax 0.10.2) took 1.3 s with xla and 0.6 s with matmul on 28x28x1 images,
    1.5 s and 0.8 s on 32x32x3.
    """

    features: int
    kernel: int = 3
    stride: int = 1
    conv: str = "auto"
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n a b o"]:
        """Convolve, in ``dtype``, or in what input and parameters promote to."""
        if self.conv not in CONVS:
            raise ValueError(f"conv must be one of {', '.join(CONVS)}, got {self.conv!r}")
        shape = (self.kernel, self.kernel, x.shape[-1], self.features)
        init = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
        kernel = self.param("kernel", init, shape, self.param_dtype)
        dtype = compute_dtype(self.dtype, x, self.param_dtype)
        x, kernel = x.astype(dtype), kernel.astype(dtype)
        if self.conv == "xla":
            return conv_xla(x, kernel, self.stride)
        if self.conv == "matmul":
            return conv_matmul(x, kernel, self.stride)
        return lax.platform_dependent(
            x,
            kernel,
            cpu=lambda x, kernel: conv_matmul(x, kernel, self.stride),
            default=lambda x, kernel: conv_xla(x, kernel, self.stride),
        )
