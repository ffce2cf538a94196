"""Batch and layer normalisation with statistics in at least float32."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from jssl.nn.dtypes import at_least_float32, compute_dtype


class BatchNorm(nn.Module):
    """Batch normalisation over every axis but the last (Ioffe & Szegedy 2015, arXiv 1502.03167).

    Under ``jit`` with a sharded batch the statistics are those of the whole batch. The running
    ``mean`` and ``var`` (biased, over n) stand in the collection ``batch_stats`` and move by
    1 - momentum per training step. Variance is E[x^2] - E[x]^2, clipped at 0: one pass over x.
    Flax's own layer does not run under strict dtype promotion, nor in pure float64.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    use_scale: bool = True
    use_bias: bool = True
    scale_init: Callable[..., Any] = nn.initializers.ones
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*n d"], train: bool = False) -> Float[Array, "*n d"]:
        """Normalise by the batch (``train``) or by the running statistics."""
        dtype = compute_dtype(self.dtype, x, self.param_dtype)
        d = x.shape[-1:]
        stored = np.promote_types(self.param_dtype, np.float32)
        mean_var = self.variable("batch_stats", "mean", jnp.zeros, d, stored)
        var_var = self.variable("batch_stats", "var", jnp.ones, d, stored)
        x = at_least_float32(x)
        if train:
            axes = tuple(range(x.ndim - 1))
            mean = x.mean(axes)
            var = jnp.maximum(lax.square(x).mean(axes) - lax.square(mean), 0.0)
            if not self.is_initializing():
                keep = self.momentum
                for running, new in ((mean_var, mean), (var_var, var)):
                    running.value = keep * running.value + (1 - keep) * new.astype(stored)
        else:
            mean, var = mean_var.value.astype(x.dtype), var_var.value.astype(x.dtype)
        gain = lax.rsqrt(var + self.epsilon)
        if self.use_scale:
            gain *= self.param("scale", self.scale_init, d, self.param_dtype).astype(x.dtype)
        shift = -mean * gain
        if self.use_bias:
            shift += self.param("bias", nn.initializers.zeros, d, self.param_dtype).astype(x.dtype)
        # One product and one sum: the backward pass then keeps x and nothing else of its size.
        return (x * _row(gain, x) + _row(shift, x)).astype(dtype)


class LayerNorm(nn.Module):
    """Layer normalisation over the last axis (Ba et al. 2016, arXiv 1607.06450)."""

    epsilon: float = 1e-6
    use_scale: bool = True
    use_bias: bool = True
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*n d"]) -> Float[Array, "*n d"]:
        """Normalise each vector."""
        dtype = compute_dtype(self.dtype, x, self.param_dtype)
        d = x.shape[-1:]
        x = at_least_float32(x)
        x = x - x.mean(-1, keepdims=True)
        y = x * lax.rsqrt(lax.square(x).mean(-1, keepdims=True) + self.epsilon)
        if self.use_scale:
            scale = self.param("scale", nn.initializers.ones, d, self.param_dtype)
            y *= _row(scale.astype(x.dtype), x)
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, d, self.param_dtype)
            y += _row(bias.astype(x.dtype), x)
        return y.astype(dtype)


def _row(values: Array, x: Array) -> Array:
    """[d] as [1 ... 1 d], so that the broadcast against x is in sight."""
    return values.reshape((1,) * (x.ndim - 1) + (-1,))
