"""CLIP: learning transferable visual models from natural language supervision.

Radford, Kim, Hallacy et al. 2021, arXiv 2103.00020. With ``locked`` LiT: zero-shot transfer with
locked-image text tuning, Zhai, Wang, Mustafa et al. 2021, arXiv 2111.07991.
"""

import math
from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp

from jssl import require
from jssl.losses import contrastive, ring, spread
from jssl.method import Array, Batch, Method, Out, PyTree, Towers, Vars
from jssl.nn.forward import forward, start
from jssl.nn.towers import TwoTowers


def clip(
    encoder: nn.Module,
    text_encoder: nn.Module,
    view: Callable[[Array, Batch], Array],
    prepare: Callable[[Batch], Array],
    caption: Callable[[Batch], dict[str, Array]],
    *,
    out: int = 512,
    temperature: float = 0.07,
    max_scale: float = 100.0,
    locked: bool = False,
    loss_impl: str = "auto",
) -> Method:
    """Tell which of the batch's captions belongs to an image, and which image to a caption.

    Args:
      encoder: of images, a module that returns `Features`.
      text_encoder: a `jssl.nn.text.TextTransformer`; the paper's is causal, with pool "last", the
        feature at the token that ends a text.
      view: ``(key, batch) -> [n h w c]``, one random view; a square crop in the paper.
      prepare: ``batch -> [n h w c]``, the unaugmented images, normalised as the view is.
      caption: ``batch -> {"tokens": [n t], "segments": [n t]}``, a caption a row.
      out: width of the common space; 512 with a ViT-B.
      temperature: > 0; at first, then learned (section 2.5).
      max_scale: > 0; the cosines are never multiplied by more (section 2.5).
      locked: LiT: the image encoder stays as it is, in inference mode, without a head, and only the
        text learns. To be given with a config's ``init_from`` and ``freeze=all``, which also keeps
        weight decay off it; `out` must be the encoder's width.
      loss_impl: "dense", "ring" without the matrix of logits, or "auto", see `contrastive`.

    ``embed`` gives the image encoder's features before the head, as the paper's linear probes use.

    Raises:
      ValueError: for an option out of its range.
    """
    require.positive(temperature=temperature, max_scale=max_scale)
    require.one_of(ring.IMPLS, loss_impl=loss_impl)
    dtypes = {"dtype": encoder.dtype, "param_dtype": encoder.param_dtype}
    net = TwoTowers(encoder, text_encoder, out, 1 / temperature, locked=locked, **dtypes)

    def objective(a, b, scale, bias):
        return contrastive.clip_accuracy(a, b, scale, loss_impl=loss_impl)

    def adjust(before, params, state, step):
        # As in later releases of the field: the parameter itself, so that it can come back.
        highest = jnp.asarray(math.log(max_scale), params["log_scale"].dtype)
        return params | {"log_scale": jnp.minimum(params["log_scale"], highest)}

    return of_pairs(net, view, prepare, caption, objective)._replace(adjust=adjust)


def of_pairs(
    net: TwoTowers,
    view: Callable[[Array, Batch], Array],
    prepare: Callable[[Batch], Array],
    caption: Callable[[Batch], dict[str, Array]],
    objective: Callable[..., tuple[Array, Array]],
) -> Method:
    """A method of two towers; ``objective``: ``(a, b, scale, bias) -> (loss, accuracy)``."""

    def prepared(batch):
        return {"image": prepare(batch), "caption": caption(batch)}

    def init(key, batch):
        return Vars(*start(net, key, prepared(batch)))

    def views(key, batch):
        return {"image": view(key, batch), "caption": caption(batch)}

    def loss(params, state, views, key, step):
        (a, b, scale, bias), state = forward(net, params, state, views, key)
        value, accuracy = objective(a, b, scale, bias)
        chance = jnp.asarray(1 / len(a), jnp.float32)
        metrics = {"loss": value, "proxy_accuracy": accuracy, "chance": chance, "scale": scale}
        return value, Out(state, metrics | spread.spread(a, b))

    def after(params, state, step):
        return state

    def apply(params: PyTree, state: PyTree, x, method):
        return net.apply({"params": params, **state}, x, method=method)

    def embed(params, state, batch):
        return apply(params, state, prepare(batch), "encode")

    towers = Towers(
        lambda params, state, batch: apply(params, state, prepare(batch), "see"),
        lambda params, state, batch: apply(params, state, caption(batch), "read"),
    )
    return Method(init, views, loss, after, embed, towers=towers)
