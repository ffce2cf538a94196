"""PatchTST's masked self-supervision: a time series is worth 64 words.

Nie, Nguyen, Sinthong & Kalagnanam 2022, arXiv 2211.14730, section 3.2.
"""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp

from jssl.augment.masks import random_mask
from jssl.method import Array, Batch, Method, Out, Vars
from jssl.nn.forward import forward, start
from jssl.nn.series import PatchTransformer, instance_patches


class Filling(nn.Module):
    """The encoder and a linear head that gives the values of each patch: [n c p l]."""

    encoder: PatchTransformer
    head_dropout: float

    @nn.compact
    def __call__(self, x, train=False, mask=None):
        """See `PatchTransformer`."""
        tokens = self.encoder(x, train, mask).tokens
        n, p, _ = tokens.shape
        y = tokens.reshape(n, p, -1, self.encoder.dim).swapaxes(1, 2)
        y = nn.Dropout(self.head_dropout, deterministic=not train)(y)
        wide = {"dtype": y.dtype, "param_dtype": self.encoder.param_dtype}
        return nn.Dense(self.encoder.patch, name="head", **wide)(y)


def patchtst(
    encoder: nn.Module,
    prepare: Callable[[Batch], dict[str, Array]],
    *,
    mask_ratio: float = 0.4,
    head_dropout: float = 0.2,
) -> Method:
    """Masked prediction: the values of hidden patches from the patches of the same channel.

    Args:
      encoder: a `jssl.nn.series.PatchTransformer`.
      prepare: ``batch -> {"series": [n t c], "observed": [n t c]}``, scaled.
      mask_ratio: share of the patches of each channel that are hidden, each channel's by itself;
        in (0, 1).
      head_dropout: of the features before the linear head.

    What is predicted are values scaled within their window, whose mean and deviation, as in the
    released code, are also of the hidden ones. Values that are missing are not asked for.

    Raises:
      ValueError: if the encoder is no PatchTransformer, for an option out of its range, or windows
        that the patches do not divide.
    """
    if not isinstance(encoder, PatchTransformer):
        raise ValueError(f"patchtst needs a PatchTransformer, got a {type(encoder).__name__}")
    if not 0 < mask_ratio < 1:
        raise ValueError(f"mask_ratio must be in (0, 1), got {mask_ratio}")
    if not 0 <= head_dropout < 1:
        raise ValueError(f"head_dropout must be in [0, 1), got {head_dropout}")
    net = Filling(encoder, head_dropout)

    def init(key, batch):
        return Vars(*start(net, key, prepare(batch)))

    def views(key, batch):
        x = prepare(batch)
        n, t, c = x["series"].shape
        p = t // encoder.patch
        _, mask = random_mask(key, n * c, p, mask_ratio)
        return {**x, "mask": mask.reshape(n, c, p)}

    def loss(params, state, views, key, step):
        x = {name: views[name] for name in ("series", "observed")}
        filled, _ = forward(net, params, {}, x, key, mask=views["mask"])
        target, known = instance_patches(x, encoder.patch)
        asked = (known & views["mask"][:, :, :, None]).astype(filled.dtype)
        value = jnp.sum(asked * (filled - target) ** 2) / jnp.maximum(jnp.sum(asked), 1)
        return value, Out(state, {"loss": value})

    def after(params, state, step):
        return state

    def embed(params, state, batch):
        return encoder.apply({"params": params["encoder"]}, prepare(batch), train=False)

    return Method(init, views, loss, after, embed)
