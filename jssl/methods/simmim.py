"""SimMIM: a simple framework for masked image modeling.

Xie, Zhang, Cao, Lin, Bao, Yao, Dai & Hu 2021, arXiv 2111.09886.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from jssl.augment.masks import aligned_mask
from jssl.losses import reconstruction
from jssl.method import Array, Batch, Method, Out, Vars
from jssl.nn.forward import forward, start
from jssl.nn.positions import grid_of, patchify, unpatchify
from jssl.nn.vit import ViT


def simmim(
    encoder: nn.Module,
    view: Callable[[Array, Batch], Array],
    prepare: Callable[[Batch], Array],
    restore: Callable[[Array], Array],
    *,
    mask_ratio: float = 0.6,
    mask_patch: int = 32,
    norm_window: int | None = None,
) -> Method:
    """Masked prediction: mask tokens go through the encoder, a linear layer predicts pixels.

    Args:
      encoder: a `jssl.nn.vit.ViT`, where a learned token stands for each hidden patch; or a network
        whose ``tokens`` are a feature map [n h w d], such as `jssl.nn.ResNet`, where a learned
        colour stands for each hidden pixel.
      view: ``(key, batch) -> [n h w c]``, one random view; a crop and a flip in the paper.
      prepare: ``batch -> [n h w c]``, the unaugmented images, normalised as the view is.
      restore: normalised images back to [0, 1], for pictures.
      mask_ratio: share of hidden squares, in (0, 1).
      mask_patch: their side in pixels, a multiple of a ViT's patch. The paper's 32 of 192 pixels
        leave a pixel nothing near to be copied from; small images want about as large a share.
      norm_window: predict each pixel normalised by the square of this odd side around it, as the
        released code can (47 for Swin V2): no score for the mere colour of what is near.

    The paper has a Swin transformer beside a ViT, with relative positions; here positions are the
    encoder's own.

    Raises:
      ValueError: if the squares do not fit the patches or, when it is traced, the image, or if the
        cells of a feature map are not squares of pixels.
    """
    is_vit = isinstance(encoder, ViT)
    unit = encoder.patch if is_vit else mask_patch  # what the mask has an entry for
    if mask_patch < 1 or mask_patch % unit:
        raise ValueError(
            f"mask_patch must be a multiple of the encoder's patch of {unit}, got {mask_patch}"
        )

    if norm_window is not None and (norm_window < 3 or norm_window % 2 == 0):
        raise ValueError(f"norm_window must be odd and at least 3, or None, got {norm_window}")

    def views(key, batch):
        k_view, k_mask = jax.random.split(key)
        images = view(k_view, batch)
        grid_of(images.shape[1:3], mask_patch)
        grid = grid_of(images.shape[1:3], unit)
        mask = aligned_mask(k_mask, len(images), grid, mask_ratio, mask_patch // unit)
        return {"image": images, "mask": mask}

    def hidden(views):
        """[n h w 1], True at hidden pixels."""
        images, mask = views["image"], views["mask"]
        patches = jnp.broadcast_to(mask[:, :, None], (*mask.shape, unit * unit))
        return unpatchify(patches, unit, images.shape[1:3])

    def masked(params, views):
        """The encoder's input and options: section 3.1 ("Masking strategy")."""
        images = views["image"]
        if is_vit:
            return images, {"mask": views["mask"]}
        token = params["mask_token"].astype(images.dtype)[None, None, None]
        return jnp.where(hidden(views), token, images), {}

    def head(tokens, size, channels):
        """The one-layer head, 1x1 convolution and pixel shuffle, and its cells: section 3.2."""
        cell = encoder.patch if is_vit else size[0] // tokens.shape[1]
        if not is_vit and tuple(cell * side for side in tokens.shape[1:3]) != tuple(size):
            raise ValueError(
                f"cells of a {tokens.shape[1]}x{tokens.shape[2]} feature map must be whole squares "
                f"of a {size[0]}x{size[1]} image: resize it, or choose another stem"
            )
        dtypes = {"dtype": encoder.dtype, "param_dtype": encoder.param_dtype}
        return nn.Dense(cell * cell * channels, **dtypes), cell

    def init(key, batch):
        k_encoder, k_head, k_views = jax.random.split(key, 3)
        first = views(k_views, batch)
        channels = first["image"].shape[-1]
        params = {} if is_vit else {"mask_token": jnp.zeros(channels, encoder.param_dtype)}
        images, options = masked(params, first)
        params["encoder"], stats = start(encoder, k_encoder, images, **options)
        variables = {"params": params["encoder"], **stats}
        tokens = encoder.apply(variables, images, train=False, **options).tokens
        layer, _ = head(tokens, images.shape[1:3], channels)
        params["head"] = layer.init(k_head, tokens)["params"]
        return Vars(params, stats)

    def predict(params, features, images):
        """Features to images [n h w c]."""
        tokens, size = features.tokens, images.shape[1:3]
        layer, cell = head(tokens, size, images.shape[-1])
        pixels = layer.apply({"params": params["head"]}, tokens)
        return unpatchify(pixels.reshape(len(pixels), -1, pixels.shape[-1]), cell, size)

    def loss(params, state, views, key, step):
        images, options = masked(params, views)
        features, state = forward(encoder, params["encoder"], state, images, key, **options)
        target = views["image"]
        pred = predict(params, features, target)
        if norm_window:
            mean, std = reconstruction.local_statistics(target, norm_window)
            target = (target - mean) / std
        # Equation 1.
        value = reconstruction.masked_l1(
            patchify(pred, unit), patchify(target, unit), views["mask"]
        )
        return value, Out(state, {"loss": value})

    def after(params, state, step):
        return state

    def embed(params, state, batch):
        variables = {"params": params["encoder"], **state}
        return encoder.apply(variables, prepare(batch), train=False)

    def reconstruct(params, state, views, key):
        images, options = masked(params, views)
        variables = {"params": params["encoder"], **state}
        features = encoder.apply(variables, images, train=False, **options)
        image, where = views["image"], hidden(views)
        pred, name = predict(params, features, image), "reconstruction"
        if norm_window:
            mean, std = reconstruction.local_statistics(image, norm_window)
            pred, name = pred * std + mean, "reconstruction (true local statistics)"
        return {
            "original": restore(image),
            "masked": restore(jnp.where(where, jnp.zeros_like(image), image)),
            name: restore(jnp.where(where, pred.astype(image.dtype), image)),
        }

    return Method(init, views, loss, after, embed, reconstruct)
