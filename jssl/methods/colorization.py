"""Colorful image colorization.

Zhang, Isola & Efros 2016, arXiv 1603.08511.
"""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from jssl import require
from jssl.augment import image as augment
from jssl.augment import lab as colors
from jssl.losses import reconstruction
from jssl.method import Array, Batch, Method, Out, Vars
from jssl.nn.decoder import ConvDecoder, EncoderDecoder
from jssl.nn.forward import forward, start

Q = len(colors.AB_BINS)


def colorization(
    encoder: nn.Module,
    view: Callable[[Array, Batch], Array],
    prepare: Callable[[Batch], Array],
    restore: Callable[[Array], Array],
    unrestore: Callable[[Array], Array],
    *,
    stride: int = 4,
    width: int = 64,
    uniform: float = 0.5,
    momentum: float = 0.99,
    temperature: float = 0.38,
    least_color: float = 5.0,
) -> Method:
    """Tell the colours of an image by its lightness: a class of 313 at every place.

    Args:
      encoder: a module that returns `Features` with tokens, a feature map or a ViT's. It sees
        images without colour.
      view: ``(key, batch) -> [n h w 3]``, one random view, its colours unchanged.
      prepare: ``batch -> [n h w 3]``, the unaugmented images, normalised as the view is.
      restore: normalised images back to [0, 1].
      unrestore: images in [0, 1] to what the view is.
      stride: pixels of the image along a side of one that is told the colour of.
      width: channels of the decoder's last stage.
      uniform: lambda of the class rebalancing, in [0, 1]: 1 for none.
      momentum: share kept at each step of the running mean of how often each class is, from a
        uniform beginning. The paper counts them beforehand, over ImageNet.
      temperature: of the annealed mean that makes a colour of the classes, for pictures.
      least_color: an image all of whose |a| and |b| are at most this is grey, and does not count;
        as in the released code, as is its 5.

    The paper gives the network L; here it sees the grey picture of that L in as many channels as
    the coloured one has, which is the same information, so that the encoder can also be fine-tuned
    on coloured images. ``embed`` takes off their colours too.

    Raises:
      ValueError: if an option is out of range or, when it is traced, the images are not RGB.
    """
    require.at_least(1, stride=stride, width=width)
    require.fraction(uniform=uniform, momentum=momentum)
    require.positive(temperature=temperature)
    require.at_least(0, least_color=least_color)
    dtypes = {"dtype": encoder.dtype, "param_dtype": encoder.param_dtype}
    net = EncoderDecoder(encoder, ConvDecoder(Q, width, **dtypes))

    def to_lab(images):
        if images.shape[-1] != 3:
            raise ValueError(f"colorization needs RGB images, got {images.shape[-1]} channels")
        return colors.rgb_to_lab(restore(images))

    def gray(lab):
        """The picture in [0, 1] that has the lightness of Lab images and no colour."""
        return jnp.broadcast_to(colors.lightness_to_gray(lab[..., :1]), lab.shape)

    def colorless(images):
        return unrestore(gray(to_lab(images)).astype(images.dtype))

    def coarse(images):
        return {"size": tuple(-(-side // stride) for side in images.shape[1:3])}

    def views(key, batch):
        images = view(key, batch)
        return {"image": colorless(images), "lab": to_lab(images)}

    def init(key, batch):
        images = colorless(prepare(batch))
        params, stats = start(net, key, images, **coarse(images))
        prior = jnp.full(Q, 1 / Q, np.promote_types(encoder.param_dtype, np.float32))
        return Vars(params, {"stats": stats, "prior": prior})

    def loss(params, state, views, key, step):
        image, ab, prior = views["image"], views["lab"][..., 1:], state["prior"]
        logits, stats = forward(net, params, state["stats"], image, key, **coarse(image))
        colored = jnp.any(jnp.abs(ab) > least_color, axis=(1, 2, 3))
        targets = colors.encode_ab(augment.resize(ab, coarse(image)["size"]))
        targets, logits = (x.reshape(len(image), -1, Q) for x in (targets, logits))
        mask = jnp.broadcast_to(colored[:, None], targets.shape[:2])
        # Equations 3 and 4: each place weighs as the rarity of its likeliest class.
        weights = reconstruction.rarity_weights(prior, uniform)[jnp.argmax(targets, axis=-1)]
        # Equation 2.
        value, accuracy = reconstruction.soft_cross_entropy(logits, targets, weights, mask)
        count = jnp.sum(mask, dtype=prior.dtype)
        seen = jnp.sum(jnp.where(mask[..., None], targets.astype(prior.dtype), 0), axis=(0, 1))
        seen = jnp.where(count > 0, seen / jnp.maximum(count, 1), prior)
        prior = momentum * prior + (1 - momentum) * seen
        metrics = {
            "loss": value,
            "proxy_accuracy": accuracy,
            "colored": jnp.mean(colored, dtype=value.dtype),
        }
        return value, Out({"stats": stats, "prior": prior}, metrics)

    def after(params, state, step):
        return state

    def embed(params, state, batch):
        variables = {"params": params, **state["stats"]}
        return net.apply(variables, colorless(prepare(batch)), method="encode")

    def reconstruct(params, state, views, key):
        image, lab = views["image"], views["lab"]
        variables = {"params": params, **state["stats"]}
        logits = net.apply(variables, image, train=False, **coarse(image))
        # Equation 5; the lightness is the true one, in full.
        ab = augment.resize(colors.decode_ab(logits, temperature), image.shape[1:3])
        return {
            "original": colors.lab_to_rgb(lab),
            "gray": gray(lab),
            "reconstruction": colors.lab_to_rgb(jnp.concatenate([lab[..., :1], ab], axis=-1)),
        }

    return Method(init, views, loss, after, embed, reconstruct)
