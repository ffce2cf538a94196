"""I-JEPA: self-supervised learning from images with a joint-embedding predictive architecture.

Assran, Duval, Misra, Bojanowski, Vincent, Rabbat, LeCun & Ballas 2023, arXiv 2301.08243.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jssl import require
from jssl.augment.masks import multi_block
from jssl.losses import reconstruction, spread
from jssl.losses.reconstruction import layer_norm
from jssl.method import Array, Batch, Method, Out, Vars
from jssl.nn import teacher
from jssl.nn.forward import start
from jssl.nn.positions import grid_of, sincos2d
from jssl.nn.vit import Transformer, ViT


class Predictor(nn.Module):
    """A narrow transformer: context tokens and, for each place asked for, a mask token there."""

    out: int
    dim: int
    depth: int
    heads: int
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, seen, context, places, grid, *, train):
        """Tokens [n k d] at ``context`` [n k]: what m blocks of ``places`` [n m s] hold, [n m s d].

        Each block is predicted on its own.
        """
        dtypes = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        (n, k), (_, m, s) = context.shape, places.shape
        x = nn.Dense(self.dim, name="embed", **dtypes)(seen)
        positions = sincos2d(*grid, self.dim).astype(x.dtype)
        init = nn.initializers.normal(0.02)
        token = self.param("mask_token", init, (self.dim,), self.param_dtype).astype(x.dtype)
        x = jnp.broadcast_to((x + positions[context])[:, None], (n, m, k, self.dim))
        x = jnp.concatenate([x, token[None, None, None] + positions[places]], axis=2)
        blocks = Transformer(self.depth, self.heads, name="blocks", **dtypes)
        x = blocks(x.reshape(n * m, k + s, self.dim), train)[:, k:]
        return nn.Dense(self.out, name="out", **dtypes)(x).reshape(n, m, s, self.out)


def ijepa(
    encoder: nn.Module,
    view: Callable[[Array, Batch], Array],
    prepare: Callable[[Batch], Array],
    *,
    total_steps: int,
    context: float = 0.3,
    targets: int = 4,
    target_scale: tuple[float, float] = (0.15, 0.2),
    momentum: float = 0.996,
    final_momentum: float = 1.0,
    dim: int = 384,
    depth: int = 6,
    heads: int = 12,
) -> Method:
    """Predict a teacher's features of some blocks of an image from features of another.

    Args:
      encoder: a `jssl.nn.vit.ViT`, without class token in the paper. Of a class token the predictor
        sees nothing.
      view: ``(key, batch) -> [n h w c]``, one random view; a crop alone in the paper.
      prepare: ``batch -> [n h w c]``, the unaugmented images, normalised as the view is.
      total_steps: length of training, over which the momentum rises.
      context: patches that the context encoder sees, as a share of all; see
        `jssl.augment.masks.multi_block` for this and for what differs from the released masks.
      targets: number of target blocks.
      target_scale: least and greatest area of one, as a share of the image.
      momentum: share of the teacher kept at the first step.
      final_momentum: the same at the last one.
      dim: width of the predictor.
      depth: its blocks.
      heads: its attention heads.

    The loss is the smooth L1 error of the released code, to targets layer-normalised as there; the
    paper writes a squared distance (section 3).

    Raises:
      ValueError: if the encoder is not a ViT, or an option is out of range.
    """
    if not isinstance(encoder, ViT):
        raise ValueError(f"ijepa needs a ViT encoder, got a {type(encoder).__name__}")
    require.fraction(momentum=momentum, final_momentum=final_momentum)
    require.at_least(1, total_steps=total_steps, dim=dim, depth=depth, heads=heads)
    dtypes = {"dtype": encoder.dtype, "param_dtype": encoder.param_dtype}
    predictor = Predictor(encoder.dim, dim, depth, heads, **dtypes)

    def grid(images):
        return grid_of(images.shape[1:3], encoder.patch)

    def views(key, batch):
        k_view, k_mask = jax.random.split(key)
        images = view(k_view, batch)
        options = {"context": context, "targets": targets, "target_scale": target_scale}
        return {"image": images} | multi_block(
            k_mask, len(images), grid(images), **options
        )._asdict()

    def init(key, batch):
        k_encoder, k_predictor, k_views = jax.random.split(key, 3)
        first = views(k_views, batch)
        images, keep = first["image"], first["context"]
        params, _ = start(encoder, k_encoder, images, keep=keep)
        seen = jnp.zeros((*keep.shape, encoder.dim), encoder.param_dtype)
        asked = (seen, keep, first["targets"], grid(images))
        predictor_params = predictor.init(k_predictor, *asked, train=False)["params"]
        params = {"encoder": params, "predictor": predictor_params}
        return Vars(params, teacher.begin(params, {}, without="predictor"))

    def loss(params, state, views, key, step):
        images, keep, places = views["image"], views["context"], views["targets"]
        n, m, s = places.shape
        rngs = {"dropout": key}
        # "Targets": blocks are cut out of what the teacher makes of the whole image.
        whole = {"params": state["teacher"]["encoder"]}
        h = layer_norm(encoder.apply(whole, images, train=False).tokens)
        target = jnp.take_along_axis(h, places.reshape(n, m * s)[:, :, None], axis=1)
        # "Context" and "Prediction".
        seen = encoder.apply(
            {"params": params["encoder"]}, images, train=True, keep=keep, rngs=rngs
        ).tokens
        pred = predictor.apply(
            {"params": params["predictor"]}, seen, keep, places, grid(images), train=True, rngs=rngs
        ).reshape(n, m * s, -1)
        value = reconstruction.masked_smooth_l1(pred, target, views["valid"].reshape(n, m * s))
        return value, Out(state, {"loss": value} | spread.token_spread(h))

    def after(params, state, step):
        rate = teacher.linear(momentum, final_momentum, step, total_steps)
        return state | {"teacher": teacher.follow(state["teacher"], params, rate)}

    def embed(params, state, batch):
        # The target encoder is what the paper evaluates (section 5).
        return encoder.apply({"params": state["teacher"]["encoder"]}, prepare(batch), train=False)

    return Method(init, views, loss, after, embed)
