"""MAE: masked autoencoders are scalable vision learners.

He, Chen, Xie, Li, Dollár & Girshick 2021, arXiv 2111.06377.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jssl.augment.masks import random_mask
from jssl.losses import reconstruction
from jssl.method import Array, Batch, Method, Out, Vars
from jssl.nn.positions import patchify, sincos2d, unpatchify
from jssl.nn.vit import Transformer, ViT


class Decoder(nn.Module):
    """The light decoder: mask tokens where patches are hidden, positions, blocks, pixels."""

    pixels: int
    dim: int
    depth: int
    heads: int
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, seen, keep, grid, *, train):
        """Visible tokens [n k d] at places ``keep`` [n k] to predicted patches [n t pixels]."""

        dtypes = {"dtype": self.dtype, "param_dtype": self.param_dtype}

        def dense(width, name):
            xavier = nn.initializers.xavier_uniform()
            return nn.Dense(width, kernel_init=xavier, name=name, **dtypes)

        x = dense(self.dim, "embed")(seen)
        n, t = len(x), grid[0] * grid[1]
        init = nn.initializers.normal(0.02)
        mask_token = self.param("mask_token", init, (self.dim,), self.param_dtype)
        tokens = jnp.broadcast_to(mask_token.astype(x.dtype), (n, t, self.dim))
        tokens = jax.vmap(lambda all, at, visible: all.at[at].set(visible))(tokens, keep, x)
        tokens += sincos2d(*grid, self.dim).astype(x.dtype)[None]
        blocks = Transformer(self.depth, self.heads, name="blocks", **dtypes)
        tokens = blocks(tokens, train=train)
        return dense(self.pixels, "pixels")(tokens)


def mae(
    encoder: nn.Module,
    view: Callable[[Array, Batch], Array],
    prepare: Callable[[Batch], Array],
    restore: Callable[[Array], Array],
    *,
    mask_ratio: float = 0.75,
    norm_pixels: bool = True,
    dim: int = 512,
    depth: int = 8,
    heads: int = 16,
) -> Method:
    """Masked prediction: most patches are hidden, the encoder sees the rest, a decoder fills in.

    Args:
      encoder: a `jssl.nn.vit.ViT`; it never sees hidden patches or mask tokens, so that its cost
        falls with the mask ratio.
      view: ``(key, batch) -> [n h w c]``, one random view; a crop and a flip in the paper.
      prepare: ``batch -> [n h w c]``, the unaugmented images, normalised as the view is.
      restore: normalised images back to [0, 1], for pictures.
      mask_ratio: share of hidden patches, in (0, 1).
      norm_pixels: predict each patch normalised by its own mean and deviation.
      dim: width of the decoder.
      depth: its blocks.
      heads: its attention heads.

    The released code passes the class token through the decoder; here the decoder sees patches
    alone (the paper's appendix A.1 finds the class token of no consequence).

    Raises:
      ValueError: if the encoder is not a ViT.
    """
    if not isinstance(encoder, ViT):
        raise ValueError(f"mae needs a ViT encoder, got a {type(encoder).__name__}")
    patch = encoder.patch

    def decoder(images):
        dtypes = {"dtype": encoder.dtype, "param_dtype": encoder.param_dtype}
        return Decoder(patch * patch * images.shape[-1], dim, depth, heads, **dtypes)

    def grid(images):
        return images.shape[1] // patch, images.shape[2] // patch

    def views(key, batch):
        k_view, k_mask = jax.random.split(key)
        images = view(k_view, batch)
        rows, columns = grid(images)
        keep, mask = random_mask(k_mask, len(images), rows * columns, mask_ratio)
        return {"image": images, "keep": keep, "mask": mask}

    def init(key, batch):
        k_encoder, k_decoder, k_views = jax.random.split(key, 3)
        first = views(k_views, batch)
        images, keep = first["image"], first["keep"]
        encoder_vars = encoder.init(k_encoder, images, train=False, keep=keep)
        seen = encoder.apply(encoder_vars, images, train=False, keep=keep).tokens
        decoder_vars = decoder(images).init(k_decoder, seen, keep, grid(images), train=False)
        params = {"encoder": encoder_vars["params"], "decoder": decoder_vars["params"]}
        return Vars(params, {})

    def predict(params, views, key, *, train):
        images, keep, rngs = views["image"], views["keep"], {"dropout": key}
        seen = encoder.apply(
            {"params": params["encoder"]}, images, train=train, keep=keep, rngs=rngs
        ).tokens
        return decoder(images).apply(
            {"params": params["decoder"]}, seen, keep, grid(images), train=train, rngs=rngs
        )

    def loss(params, state, views, key, step):
        target = patchify(views["image"], patch)
        if norm_pixels:
            target = reconstruction.normalize_patches(target)
        pred = predict(params, views, key, train=True)
        value = reconstruction.masked_mse(pred, target, views["mask"])
        return value, Out(state, {"loss": value})

    def after(params, state, step):
        return state

    def embed(params, state, batch):
        return encoder.apply({"params": params["encoder"]}, prepare(batch), train=False)

    def reconstruct(params, state, views, key):
        patches = patchify(views["image"], patch).astype(jnp.float32)
        pred = predict(params, views, key, train=False).astype(jnp.float32)
        name = "reconstruction"
        if norm_pixels:
            # A normalised prediction has no brightness of its own: it borrows the true patch's.
            mean, std = reconstruction.patch_statistics(patches)
            pred, name = pred * std + mean, "reconstruction (true patch statistics)"
        hidden = views["mask"][:, :, None]

        def picture(patches):
            return restore(unpatchify(patches, patch, views["image"].shape[1:3]))

        return {
            "original": picture(patches),
            "masked": picture(jnp.where(hidden, jnp.zeros_like(patches), patches)),
            name: picture(jnp.where(hidden, pred, patches)),
        }

    return Method(init, views, loss, after, embed, reconstruct)
