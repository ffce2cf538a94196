"""An image encoder and a text encoder that end in one space."""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jssl import require
from jssl.method import Features, PyTree
from jssl.nn.dtypes import at_least_float32


class TwoTowers(nn.Module):
    """Image and text encoder, a linear layer without bias on each, and what scales their cosines.

    Parameters stand under ``encoder``, ``text_encoder``, ``image_head``, ``text_head`` and, where
    they are learned, ``log_scale`` and ``bias``, which begin with the values given.

    dim: of the space.
    scale: of the cosines at first, > 0, the inverse temperature; its logarithm is learned.
    bias: of the logits at first; None for none.
    locked: the image encoder is taken as it is: in inference, without gradient and without head;
      ``dim`` must be its width.

    Source: Radford et al. 2021, arXiv 2103.00020, figure 3 and the initialisation of its released
    code; locked: Zhai et al. 2021, arXiv 2111.07991.
    """

    encoder: nn.Module
    text_encoder: nn.Module
    dim: int
    scale: float
    bias: float | None = None
    locked: bool = False
    dtype: Any = None
    param_dtype: Any = jnp.float32

    def __post_init__(self) -> None:
        """Refuse what no space can be."""
        require.at_least(1, dim=self.dim)
        require.positive(scale=self.scale)
        super().__post_init__()

    def setup(self) -> None:
        """The heads and the scale."""
        # Deviation 1 / sqrt(width of the encoder).
        init = nn.initializers.variance_scaling(1.0, "fan_in", "normal")
        dtypes = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        if not self.locked:
            self.image_head = nn.Dense(self.dim, use_bias=False, kernel_init=init, **dtypes)
        self.text_head = nn.Dense(self.dim, use_bias=False, kernel_init=init, **dtypes)
        constant = nn.initializers.constant
        self.log_scale = self.param(
            "log_scale", constant(math.log(self.scale)), (), self.param_dtype
        )
        if self.bias is not None:
            self.offset = self.param("bias", constant(self.bias), (), self.param_dtype)

    def __call__(self, x: dict[str, Any], train: bool = False) -> tuple:
        """``image`` [n h w c] and ``caption``, its rows of tokens -> a [n d], b [n d], scale, bias.

        Any scale; the bias is None where there is none.
        """
        a, b = self.see(x["image"], train), self.read(x["caption"], train)
        if a.shape != b.shape:
            raise ValueError(
                f"out must be {a.shape[-1]}, the width of the locked image encoder, got {self.dim}"
            )
        bias = None if self.bias is None else self.offset
        return a, b, jnp.exp(self.log_scale), bias

    def encode(self, images: Float[Array, "n h w c"], train: bool = False) -> Features:
        """What the image encoder says, before the head."""
        return self.encoder(images, train=train)

    def see(self, images: Float[Array, "n h w c"], train: bool = False) -> Float[Array, "n d"]:
        """Images in the common space."""
        if self.locked:
            return jax.lax.stop_gradient(self.encode(images).pooled)
        return at_least_float32(self.image_head(self.encode(images, train).pooled))

    def read(self, captions: PyTree, train: bool = False) -> Float[Array, "n d"]:
        """Texts in the common space."""
        return at_least_float32(self.text_head(self.text_encoder(captions, train=train).pooled))
