"""Autoencoders, plain and denoising: extracting and composing robust features.

Vincent, Larochelle, Bengio & Manzagol 2008, ICML; Vincent, Larochelle, Lajoie, Bengio & Manzagol
2010, "Stacked denoising autoencoders", JMLR 11.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jssl import require
from jssl.augment.noise import NOISES
from jssl.losses import reconstruction
from jssl.method import Array, Batch, Method, Out, Vars
from jssl.nn.decoder import ConvDecoder, EncoderDecoder
from jssl.nn.forward import forward, start
from jssl.nn.norm import BatchNorm


class Bottleneck(nn.Module):
    """Pooled features to a code of a few numbers, and that to a map [n a b d], 4x4 or smaller."""

    code: int
    width: int
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, features, size, train):
        """``size`` is that of the image, which the map halves as often as is needed."""
        dtypes = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        while max(size) > 4:
            size = tuple(-(-side // 2) for side in size)
        code = nn.Dense(self.code, name="code", **dtypes)(features.pooled)
        x = nn.Dense(size[0] * size[1] * self.width, use_bias=False, name="map", **dtypes)(code)
        x = x.reshape(-1, *size, self.width)
        return nn.relu(BatchNorm(name="norm", **dtypes)(x, train))


def autoencoder(
    encoder: nn.Module,
    view: Callable[[Array, Batch], Array],
    prepare: Callable[[Batch], Array],
    restore: Callable[[Array], Array],
    *,
    code: int = 64,
    width: int = 32,
) -> Method:
    """An image through a narrow code and back.

    Args:
      encoder: a module that returns `Features`; the code is a linear layer on ``pooled``.
      view: ``(key, batch) -> [n h w c]``, one random view.
      prepare: ``batch -> [n h w c]``, the unaugmented images, normalised as the view is.
      restore: normalised images back to [0, 1], for pictures.
      code: numbers in the bottleneck. It has to be far narrower than the image: one as wide can
        be copied through and asks nothing of the encoder.
      width: channels of the decoder's last stage.

    The papers stack dense layers, trained one after another with tied weights; here a whole
    convolutional network is trained at once. ``embed`` gives the encoder's features, not the code.

    Raises:
      ValueError: if a width is not at least 1.
    """

    def views(key, batch):
        image = view(key, batch)
        return {"image": image, "given": image}

    def error(pred, views):
        return reconstruction.emphasized_mse(pred, views["image"])

    return _method(encoder, views, prepare, restore, error, code, width)


def denoising_autoencoder(
    encoder: nn.Module,
    view: Callable[[Array, Batch], Array],
    prepare: Callable[[Batch], Array],
    restore: Callable[[Array], Array],
    unrestore: Callable[[Array], Array],
    *,
    noise: str = "masking",
    level: float = 0.25,
    alpha: float = 1.0,
    beta: float = 1.0,
    code: int = 64,
    width: int = 32,
) -> Method:
    """An image as it was, from what noise left of it.

    Args:
      encoder, view, prepare, restore, code, width: as in `autoencoder`.
      unrestore: images in [0, 1] to what the view is.
      noise: "masking", "salt_and_pepper" or "gaussian" (`jssl.augment.noise`), in the images'
        range of [0, 1].
      level: share of corrupted values, or of Gaussian noise the deviation.
      alpha: weight of the error where a value was corrupted; with Gaussian noise all are.
      beta: elsewhere; 0 beside an alpha of 1 is the 2010 paper's full emphasis.

    Raises:
      ValueError: for an unknown noise, or an option out of range.
    """
    if noise not in NOISES:
        raise ValueError(f"noise must be one of {', '.join(NOISES)}, got {noise!r}")
    require.positive(alpha=alpha)
    require.at_least(0, beta=beta)

    def views(key, batch):
        k_view, k_noise = jax.random.split(key)
        image = view(k_view, batch)
        noisy, corrupted = NOISES[noise](k_noise, restore(image), level)
        return {"image": image, "given": unrestore(noisy), "corrupted": corrupted}

    def error(pred, views):
        return reconstruction.emphasized_mse(pred, views["image"], views["corrupted"], alpha, beta)

    return _method(encoder, views, prepare, restore, error, code, width, given="noisy")


def _method(encoder, views, prepare, restore, error, code, width, given=None) -> Method:
    require.at_least(1, code=code, width=width)
    dtypes = {"dtype": encoder.dtype, "param_dtype": encoder.param_dtype}

    def net(images):
        decoder = ConvDecoder(images.shape[-1], width, **dtypes)
        return EncoderDecoder(encoder, decoder, Bottleneck(code, 4 * width, **dtypes))

    def init(key, batch):
        images = prepare(batch)
        return Vars(*start(net(images), key, images))

    def loss(params, state, views, key, step):
        image = views["image"]
        pred, state = forward(net(image), params, state, views["given"], key)
        value = error(pred, views)
        return value, Out(state, {"loss": value})

    def after(params, state, step):
        return state

    def embed(params, state, batch):
        images = prepare(batch)
        return net(images).apply({"params": params, **state}, images, method="encode")

    def reconstruct(params, state, views, key):
        image = views["image"]
        pred = net(image).apply({"params": params, **state}, views["given"], train=False)
        seen = {} if given is None else {given: restore(views["given"])}
        return {"original": restore(image), **seen, "reconstruction": restore(pred)}

    return Method(init, views, loss, after, embed, reconstruct)
