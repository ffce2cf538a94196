"""MAE: masked autoencoders are scalable vision learners.

He, Chen, Xie, Li, Dollár & Girshick 2021, arXiv 2111.06377.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from jssl.augment.masks import random_mask
from jssl.losses import reconstruction
from jssl.method import Array, Batch, Method, Out, Vars
from jssl.nn.vit import Transformer, ViT, patchify, sincos2d, unpatchify


class Decoder(nn.Module):
    """The light decoder: mask tokens where patches are hidden, positions, blocks, pixels."""

    patch_dim: int
    dim: int
    depth: int
    heads: int
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, visible, keep, grid, *, train):
        """[n k d] visible tokens and their places [n k] to [n t patch_dim] predicted patches."""
        n, t = len(visible), grid[0] * grid[1]
        x = nn.Dense(self.dim, dtype=self.dtype, kernel_init=nn.initializers.xavier_uniform())(visible)
        mask_token = self.param("mask_token", nn.initializers.normal(0.02), (self.dim,))
        tokens = jnp.broadcast_to(mask_token.astype(x.dtype), (n, t, self.dim))
        tokens = jax.vmap(lambda all, places, seen: all.at[places].set(seen))(tokens, keep, x)
        tokens = tokens + sincos2d(*grid, self.dim).astype(tokens.dtype)[None]
        tokens = Transformer(self.depth, self.heads, dtype=self.dtype)(tokens, train=train)
        return nn.Dense(
            self.patch_dim, dtype=self.dtype, kernel_init=nn.initializers.xavier_uniform()
        )(tokens)
