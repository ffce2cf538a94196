"""wav2vec 2.0's network, which HuBERT shares: convolutions over a signal, then a transformer."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array

from jssl.method import Features
from jssl.nn.dtypes import at_least_float32, compute_dtype
from jssl.nn.norm import LayerNorm
from jssl.nn.vit import Transformer


class Wav2Vec2Encoder(nn.Module):
    """Frames of a signal, and what surrounds each -> `Features`.

    ``tokens`` is [n t dim] of all frames; ``pooled`` the mean over those that are not padding, one
    at least. No frame sees another that is padding.

    dim, depth, heads, dropout: of the transformer, which has post-norm.
    conv_dim, kernels, strides: of the convolutions, each before a layer norm and GELU; none is
      padded.
    positions, groups: kernel and groups of the convolution that tells frames their neighbours,
      instead of positions.
    dtype: of the computation; None promotes input and parameters.

    Source: Baevski et al. 2020, arXiv 2006.11477, sections 2 and 4.2 (base). Layer norm in each
    convolution is what section 2 says and the released large model has; the released base model
    has one group norm over time, to which padding is no stranger. There is no LayerDrop and no
    weight normalisation of the convolution for positions.
    """

    dim: int = 768
    depth: int = 12
    heads: int = 12
    conv_dim: int = 512
    kernels: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    strides: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    positions: int = 128
    groups: int = 16
    dropout: float = 0.1
    dtype: Any = None
    param_dtype: Any = jnp.float32

    def __post_init__(self) -> None:
        """Refuse what no network can be built from."""
        if len(self.kernels) != len(self.strides):
            raise ValueError(
                f"kernels must be one for each stride, got {self.kernels} and {self.strides}"
            )
        if self.dim % self.groups:
            raise ValueError(f"groups must divide dim, got {self.groups} and {self.dim}")
        super().__post_init__()

    def real(self, x: dict[str, Array]) -> Array:
        """Which frames [n t] of signals, as `__call__` takes them, are not padding.

        Raises:
          ValueError: if the signals are shorter than a frame.
        """
        t, samples = x["signal"].shape[1], x["samples"]
        for kernel, stride in zip(self.kernels, self.strides, strict=True):
            t, samples = ((length - kernel) // stride + 1 for length in (t, samples))
        if t < 1:
            raise ValueError(f"signals of {x['signal'].shape[1]} samples are shorter than a frame")
        return jnp.arange(t, dtype=jnp.int32)[None] < jnp.maximum(samples, 1)[:, None]

    @nn.compact
    def __call__(
        self,
        x: dict[str, Array],
        train: bool = False,
        mask: Array | None = None,
        latents: bool = False,
        scale: float = 1.0,
        blocks: bool = False,
    ) -> Any:
        """Encode.

        Args:
          x: ``signal`` [n t]; ``samples`` [n] int32, how many of them are not padding.
          train: whether there is dropout.
          mask: [n t] of frames, True where a learned vector stands for the frame. ``init`` makes
            the parameter ``mask_token`` only if it is given one.
          latents: gives ``(Features, z, penalty)`` instead: the frames z [n t conv_dim] before
            the transformer and the mask, and the mean square of the convolutions' activations.
          scale: of the gradient of the convolutions.
          blocks: gives ``(Features, outputs [l n t dim])`` of each block instead.
        """
        dtype = compute_dtype(self.dtype, x["signal"], self.param_dtype)
        dtypes = {"dtype": dtype, "param_dtype": self.param_dtype}
        y = x["signal"].astype(dtype)[:, :, None]
        init = nn.initializers.he_normal()
        for i, (kernel, stride) in enumerate(zip(self.kernels, self.strides, strict=True)):
            conv = nn.Conv(
                self.conv_dim,
                (kernel,),
                (stride,),
                padding="VALID",
                use_bias=False,
                kernel_init=init,
                name=f"conv{i}",
                **dtypes,
            )
            y = nn.gelu(LayerNorm(name=f"conv_norm{i}", **dtypes)(conv(y)), approximate=False)
        y = scale * y + jax.lax.stop_gradient((1 - scale) * y) if scale != 1 else y
        real = self.real(x)
        penalty = jnp.where(real, jnp.mean(jnp.square(at_least_float32(y)), axis=2), 0)
        penalty = jnp.sum(penalty) / jnp.sum(real, dtype=penalty.dtype)
        z = LayerNorm(name="norm", **dtypes)(y)
        normal = nn.initializers.truncated_normal(0.02)
        h = nn.Dense(self.dim, kernel_init=normal, name="embed", **dtypes)(z)
        if mask is not None:
            draw = nn.initializers.uniform(1.0)
            token = self.param("mask_token", draw, (self.dim,), self.param_dtype)
            h = jnp.where(mask[:, :, None], token.astype(dtype)[None, None], h)
        h = jnp.where(real[:, :, None], h, 0)
        half = self.positions // 2
        near = nn.Conv(
            self.dim,
            (self.positions,),
            padding=((half, self.positions - 1 - half),),
            feature_group_count=self.groups,
            kernel_init=nn.initializers.normal((4 / (self.positions * self.dim)) ** 0.5),
            name="positions",
            **dtypes,
        )(h)
        h = LayerNorm(name="start", **dtypes)(h + nn.gelu(near, approximate=False))
        if self.dropout:
            h = nn.Dropout(self.dropout, deterministic=not train)(h)
        sees = jnp.broadcast_to(real[:, None], (len(h), h.shape[1], h.shape[1]))
        transformer = Transformer(
            self.depth,
            self.heads,
            post_norm=True,
            dropout=self.dropout,
            deviation=0.02,
            name="transformer",
            **dtypes,
        )
        h = transformer(h, train, blocks, mask=sees)
        h, outputs = h if blocks else (h, None)
        h = at_least_float32(h)
        total = jnp.sum(jnp.where(real[:, :, None], h, 0), axis=1)
        features = Features(total / jnp.sum(real, axis=1, dtype=h.dtype)[:, None], h)
        if blocks:
            return features, at_least_float32(outputs)
        return (features, at_least_float32(z), penalty) if latents else features


class GumbelQuantizer(nn.Module):
    """Frames [n t d] -> discrete ones [n t dim]: one vector of each group, drawn and joined.

    groups, entries: how many codebooks, and vectors in each.
    """

    dim: int
    groups: int = 2
    entries: int = 320
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, z: Array, temperature: Array, key: Array) -> tuple[Array, Array, Array]:
        """Quantise.

        Returns:
          The vectors, with the gradient of the softmax under the same noise; the codes [n t groups]
          int32; and the probabilities [n t groups entries] without noise or temperature.

        Source: Baevski et al. 2020, arXiv 2006.11477, section 2 and equation 1; draws as in the
        released code: weights normal, the codebook uniform in [0, 1).
        """
        n, t, _ = z.shape
        dense = nn.Dense(
            self.groups * self.entries,
            kernel_init=nn.initializers.normal(1.0),
            param_dtype=self.param_dtype,
            name="logits",
        )
        logits = dense(z).reshape(n, t, self.groups, self.entries)
        noise = jax.random.gumbel(key, logits.shape, jnp.float32).astype(logits.dtype)
        soft = jax.nn.softmax((logits + noise) / temperature.astype(logits.dtype), axis=3)
        codes = jnp.argmax(soft, axis=3).astype(jnp.int32)
        hard = jax.nn.one_hot(codes, self.entries, dtype=soft.dtype)
        chosen = hard + soft - jax.lax.stop_gradient(soft)
        shape = (self.groups, self.entries, self.dim // self.groups)
        book = self.param("codebook", nn.initializers.uniform(1.0), shape, self.param_dtype)
        q = jnp.einsum("ntgv,gvd->ntgd", chosen, book).reshape(n, t, self.dim)
        return q, codes, jax.nn.softmax(logits, axis=3)
