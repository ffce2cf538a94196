"""From features back to an image, or on to others: convolutional decoders."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jssl.method import Features
from jssl.nn.conv import Conv
from jssl.nn.dtypes import at_least_float32
from jssl.nn.norm import BatchNorm, LayerNorm


class ConvDecoder(nn.Module):
    """A feature map to an image of any size: [n a b d] -> [n h w channels], at least float32.

    The map doubles until it has the size asked for, a stage each time: nearest-neighbour
    upsampling, which leaves no checkerboard, a 3x3 convolution, batch norm, ReLU. Odd sizes are
    met as strided convolutions meet them on their way down: 28 comes of 14, of 7, of 4. A linear
    layer on every pixel comes last.

    channels: of the image.
    width: of the last stage; each one before has twice as many, up to ``widest``.
    """

    channels: int
    width: int = 32
    widest: int = 256
    conv: str = "auto"
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "n a b d"], size: tuple[int, int], train: bool = False
    ) -> Float[Array, "n h w channels"]:
        """Decode to this height and width; with ``train`` norms use the batch."""
        dtypes = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        sizes = [size]
        while any(s > 2 * m for s, m in zip(sizes[0], x.shape[1:3], strict=True)):
            sizes.insert(0, tuple(-(-s // 2) for s in sizes[0]))
        for stage, to in enumerate(sizes, 1):
            width = min(self.width * 2 ** (len(sizes) - stage), self.widest)
            x = Conv(width, 3, conv=self.conv, name=f"conv{stage}", **dtypes)(upsample(x, to))
            x = nn.relu(BatchNorm(name=f"norm{stage}", **dtypes)(x, train))
        return at_least_float32(nn.Dense(self.channels, name="pixels", **dtypes)(x))


class TokenDecoder(nn.Module):
    """A map of tokens to a map of others: [n a b d] -> [n a b out].

    Layers of a 3x3 convolution, layer norm without parameters and GELU, each added to what it is
    given where that is as wide, and a linear layer last: the decoder of data2vec 2.0's released
    code (arXiv 2212.07525). Without layers it is the linear layer alone.

    groups: of the convolutions.
    """

    out: int
    width: int
    depth: int
    groups: int = 1
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "n a b d"]) -> Float[Array, "n a b out"]:
        """Decode."""
        dtypes = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        for i in range(self.depth):
            y = nn.Conv(
                self.width, (3, 3), feature_group_count=self.groups, name=f"conv{i + 1}", **dtypes
            )(x)
            # Not without consequence where noise of little variance is normalised.
            norm = LayerNorm(1e-5, False, False, name=f"norm{i + 1}", **dtypes)
            y = nn.gelu(norm(y), approximate=False)
            x = x + y if x.shape == y.shape else y
        return nn.Dense(self.out, name="out", **dtypes)(x)


class EncoderDecoder(nn.Module):
    """An encoder, a bridge if there is one, and a decoder: [n h w c] -> [n *size channels].

    bridge: ``(features, size, train) -> [n a b d]``, what the decoder starts from; by default the
      encoder's feature map. ``size`` is that of the input.

    Parameters stand under ``encoder``, ``bridge`` and ``decoder``.
    """

    encoder: nn.Module
    decoder: nn.Module
    bridge: nn.Module | None = None

    def __call__(
        self, x: Float[Array, "n h w c"], train: bool = False, size: tuple[int, int] | None = None
    ) -> Float[Array, "n p q channels"]:
        """Encode and decode, to ``size``, by default that of the input."""
        features, own = self.encoder(x, train=train), x.shape[1:3]
        bridge = self.bridge or (lambda features, size, train: feature_map(features, size))
        return self.decoder(bridge(features, own, train), size or own, train)

    def encode(self, x: Float[Array, "n h w c"], train: bool = False) -> Features:
        """Encode alone: ``apply(variables, x, method="encode")``."""
        return self.encoder(x, train=train)


def feature_map(features: Features, size: tuple[int, int]) -> Float[Array, "n a b d"]:
    """The tokens of an image of this size as a map; those of a ViT lie row by row on its grid."""
    tokens = features.tokens
    if tokens.ndim == 4:
        return tokens
    n, t, d = tokens.shape
    patch = round((size[0] * size[1] / t) ** 0.5)
    return tokens.reshape(n, size[0] // patch, size[1] // patch, d)


def upsample(x: Float[Array, "n a b d"], size: tuple[int, int]) -> Float[Array, "n h w d"]:
    """Another size, each pixel that of the nearest old one."""
    for axis, new in enumerate(size, 1):
        old = x.shape[axis]
        if new in (2 * old, 2 * old - 1):
            # Eight times as fast as a gather, on a CPU.
            x = jnp.repeat(x, 2, axis=axis)
            x = x[:, :new] if axis == 1 else x[:, :, :new]
        elif new != old:
            nearest = (np.arange(new) + 0.5) * old // new
            x = jnp.take(x, nearest.astype(np.int32), axis=axis)
    return x
