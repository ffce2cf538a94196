"""Residual networks (He et al. 2016, arXiv 1512.03385)."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jssl import require
from jssl.method import Features
from jssl.nn.conv import Conv
from jssl.nn.dtypes import at_least_float32
from jssl.nn.norm import BatchNorm

STEMS = ("imagenet", "cifar", "2x2")


class ResidualBlock(nn.Module):
    """relu(shortcut(x) + convolutions(x)), two 3x3 or, as a bottleneck, 1x1, 3x3, 1x1 (x4 wide).

    The stride is in the 3x3 of a bottleneck (version 1.5). The last norm's scale starts at zero,
    so that a block starts as its shortcut (Goyal et al. 2017, arXiv 1706.02677, section 5.1).
    """

    width: int
    stride: int = 1
    bottleneck: bool = False
    conv: str = "auto"
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], train: bool = False) -> Float[Array, "n a b d"]:
        """Apply the block."""
        dtypes = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        out = self.width * (4 if self.bottleneck else 1)
        if self.bottleneck:
            layers = [(self.width, 1, 1), (self.width, 3, self.stride), (out, 1, 1)]
        else:
            layers = [(out, 3, self.stride), (out, 3, 1)]
        y = x
        for i, (width, kernel, stride) in enumerate(layers, 1):
            last = i == len(layers)
            y = Conv(width, kernel, stride, self.conv, name=f"conv{i}", **dtypes)(y)
            init = nn.initializers.zeros if last else nn.initializers.ones
            y = BatchNorm(scale_init=init, name=f"norm{i}", **dtypes)(y, train)
            y = y if last else nn.relu(y)
        if self.stride > 1 or x.shape[-1] != out:
            x = Conv(out, 1, self.stride, self.conv, name="shortcut", **dtypes)(x)
            x = BatchNorm(name="shortcut_norm", **dtypes)(x, train)
        return nn.relu(x.astype(y.dtype) + y)


class ResNet(nn.Module):
    """ResNet encoder: [n h w c] normalised images, any size and channels -> `Features`.

    ``tokens`` is the last feature map [n h w d]; ``pooled`` its mean [n d]; d is
    width * 2**(stages - 1), times 4 with bottlenecks.

    blocks: number of blocks in each stage; the map halves and the width doubles between stages.
    stem: "imagenet" (7x7 stride 2, then 3x3 max-pool stride 2), "cifar" (3x3) or "2x2" (2x2
      stride 2; an odd side gets a row of zeros behind).
    conv: how convolutions are computed, "auto", "xla" or "matmul"; see `jssl.nn.conv.Conv`.
    dtype: of the computation; None promotes input and parameters. Statistics stay in float32.
    """

    blocks: Sequence[int]
    bottleneck: bool = False
    width: int = 64
    stem: str = "imagenet"
    conv: str = "auto"
    dtype: Any = None
    param_dtype: Any = jnp.float32

    def __post_init__(self) -> None:
        """Refuse what no network can be built from."""
        if self.stem not in STEMS:
            raise ValueError(f"stem must be one of {', '.join(STEMS)}, got {self.stem!r}")
        require.at_least(1, width=self.width)
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], train: bool = False) -> Features:
        """Encode; with ``train`` norms use the batch and update ``batch_stats``."""
        dtypes = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        kernel, stride = {"imagenet": (7, 2), "cifar": (3, 1), "2x2": (2, 2)}[self.stem]
        x = Conv(self.width, kernel, stride, self.conv, name="stem", **dtypes)(x)
        x = nn.relu(BatchNorm(name="stem_norm", **dtypes)(x, train))
        if self.stem == "imagenet":
            x = nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
        for stage, count in enumerate(self.blocks):
            for i in range(count):
                x = ResidualBlock(
                    self.width * 2**stage,
                    stride=2 if stage and not i else 1,
                    bottleneck=self.bottleneck,
                    conv=self.conv,
                    name=f"stage{stage + 1}_block{i + 1}",
                    **dtypes,
                )(x, train)
        tokens = at_least_float32(x)
        return Features(tokens.mean((1, 2)), tokens)
