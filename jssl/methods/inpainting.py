"""Context encoders: feature learning by inpainting.

Pathak, Krähenbühl, Donahue, Darrell & Efros 2016, arXiv 1604.07379.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jssl import require
from jssl.augment import masks
from jssl.losses import reconstruction
from jssl.method import Array, Batch, Method, Out, Vars
from jssl.nn.conv import Conv
from jssl.nn.decoder import ConvDecoder, EncoderDecoder, feature_map
from jssl.nn.dtypes import compute_dtype
from jssl.nn.forward import forward, start
from jssl.nn.norm import BatchNorm

REGIONS = ("random", "blocks", "central")


class ChannelwiseDense(nn.Module):
    """Every place of a map to every other, each channel for itself; then a 1x1 convolution.

    Section 3.1 ("Channel-wise fully-connected layer"): d t^2 weights for t places and d channels,
    of which a full layer has d^2 t^2; the convolution carries information across channels.
    """

    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, features, size, train):
        """Features of an image of this size to a map [n a b d]."""
        x = feature_map(features, size)
        dtypes = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        n, a, b, d = x.shape
        init = nn.initializers.lecun_normal(in_axis=1, out_axis=2, batch_axis=0)
        kernel = self.param("kernel", init, (d, a * b, a * b), self.param_dtype)
        dtype = compute_dtype(self.dtype, x, self.param_dtype)
        x = jnp.einsum("ntd,dts->nsd", x.reshape(n, -1, d).astype(dtype), kernel.astype(dtype))
        x = nn.relu(BatchNorm(name="norm1", **dtypes)(x.reshape(n, a, b, d), train))
        x = Conv(d, 1, name="conv", **dtypes)(x)
        return nn.relu(BatchNorm(name="norm2", **dtypes)(x, train))


def inpainting(
    encoder: nn.Module,
    view: Callable[[Array, Batch], Array],
    prepare: Callable[[Batch], Array],
    restore: Callable[[Array], Array],
    *,
    region: str = "random",
    share: float = 0.25,
    width: int = 32,
) -> Method:
    """Fill in a region of an image from its surroundings.

    Args:
      encoder: a module that returns `Features` with tokens, a feature map or a ViT's; it sees the
        region in the images' mean colour.
      view: ``(key, batch) -> [n h w c]``, one random view.
      prepare: ``batch -> [n h w c]``, the unaugmented images, normalised as the view is.
      restore: normalised images back to [0, 1], for pictures.
      region: "random", of any shape; "blocks", several rectangles; or "central", the middle, whose
        features are the worse ones (section 3.3).
      share: of the pixels that is hidden, in (0, 1).
      width: channels of the decoder's last stage.

    The loss is the reconstruction loss, equation 1. The adversarial one (equations 2 and 3) is left
    out: it makes pictures sharper, and its discriminator has an optimizer of its own. The paper's
    features were learned without it, too (section 5). Left out as well is that a central region is
    predicted with a strip around it, whose error weighs ten times as much.

    Raises:
      ValueError: for an unknown region, an option out of range or, when it is traced, a share that
        hides nothing or everything.
    """
    if region not in REGIONS:
        raise ValueError(f"region must be one of {', '.join(REGIONS)}, got {region!r}")
    if not 0 < share < 1:
        raise ValueError(f"share must be in (0, 1), got {share}")
    require.at_least(1, width=width)
    dtypes = {"dtype": encoder.dtype, "param_dtype": encoder.param_dtype}

    def hide(key, n, size):
        """[n h w], True in the region."""
        if region == "central":
            return masks.central_region(n, size, side=share**0.5)
        if region == "random":
            return masks.random_regions(key, n, size, share=share)
        pixels = size[0] * size[1]
        count = round(share * pixels)
        # "A number of smaller possibly overlapping masks": none below an eighth of what is hidden.
        flat = masks.block_mask(key, n, size, count, min_patches=max(count // 8, 1))
        return flat.reshape(n, *size)

    def net(images):
        decoder = ConvDecoder(images.shape[-1], width, **dtypes)
        return EncoderDecoder(encoder, decoder, ChannelwiseDense(**dtypes))

    def views(key, batch):
        k_view, k_mask = jax.random.split(key)
        images = view(k_view, batch)
        return {"image": images, "mask": hide(k_mask, len(images), images.shape[1:3])}

    def seen(views):
        """(1 - M) * x: zero is the mean colour."""
        image = views["image"]
        return jnp.where(views["mask"][..., None], jnp.zeros_like(image), image)

    def init(key, batch):
        images = prepare(batch)
        return Vars(*start(net(images), key, images))

    def loss(params, state, views, key, step):
        image, mask = views["image"], views["mask"]
        pred, state = forward(net(image), params, state, seen(views), key)
        flat = (len(image), -1, image.shape[-1])
        # Equation 1, as a mean over the hidden pixels of the batch.
        value = reconstruction.masked_mse(
            pred.reshape(flat), image.reshape(flat), mask.reshape(len(image), -1)
        )
        return value, Out(state, {"loss": value})

    def after(params, state, step):
        return state

    def embed(params, state, batch):
        images = prepare(batch)
        return net(images).apply({"params": params, **state}, images, method="encode")

    def reconstruct(params, state, views, key):
        image, hidden = views["image"], views["mask"][..., None]
        pred = net(image).apply({"params": params, **state}, seen(views), train=False)
        return {
            "original": restore(image),
            "masked": restore(seen(views)),
            "reconstruction": restore(jnp.where(hidden, pred.astype(image.dtype), image)),
        }

    return Method(init, views, loss, after, embed, reconstruct)
