"""Jigsaw puzzles: unsupervised learning of visual representations by solving them.

Noroozi & Favaro 2016, arXiv 1603.09246.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from jssl import require
from jssl.augment import patches as cutting
from jssl.augment.image import draws, integers
from jssl.losses import classification
from jssl.method import Array, Batch, Method, Out, Vars
from jssl.nn.forward import forward, start
from jssl.nn.heads import MLP, JointEmbedding


def jigsaw(
    encoder: nn.Module,
    view: Callable[[Array, Batch], Array],
    prepare: Callable[[Batch], Array],
    *,
    tile: int = 64,
    permutations: int = 1000,
    puzzles: int = 1,
    channel_shift: int = 2,
    standardize: bool = True,
    hidden: int = 4096,
) -> Method:
    """Tell in which of many orders the nine tiles of an image are shown.

    Args:
      encoder: of one tile, a module that returns `Features`, the same for all.
      view: ``(key, batch) -> [n h w c]``, one random view, from which the tiles are cut: grey for
        30 % of the images and never mirrored, in the paper.
      prepare: ``batch -> [n h w c]``, the unaugmented images, normalised as the view is.
      tile: side of a tile in pixels, at a random place in its cell of a third of the view.
      permutations: how many orders there are, each far from the others.
      puzzles: how many are cut from each view, apart from each other.
      channel_shift: by how many pixels at most each colour channel of a tile is off its place.
      standardize: each tile by its own mean and deviation; a whole image too, in ``embed``.
      hidden: width of the classifier's hidden layer, on the features of all tiles joined. It has a
        batch norm where the paper's has dropout.

    Raises:
      ValueError: if an option is out of range, or, when views are traced, if they are too small.
    """
    require.at_least(1, tile=tile, puzzles=puzzles, hidden=hidden)
    require.at_least(0, channel_shift=channel_shift)
    orders = cutting.far_permutations(permutations)
    dtypes = {"dtype": encoder.dtype, "param_dtype": encoder.param_dtype}
    net = JointEmbedding(encoder, MLP((hidden, permutations), final_bias=True, **dtypes))

    def look(x):
        """What is done to tiles and, in ``embed``, to images alike."""
        return cutting.standardize(x) if standardize else x

    def views(key, batch):
        k_view, k_tiles, k_order, k_shift = jax.random.split(key, 4)
        # Beside the batch axis, so that a sharded batch stays where it is.
        images = jnp.repeat(view(k_view, batch)[:, None], puzzles, axis=1)
        images = images.reshape(-1, *images.shape[2:])
        corners = cutting.tile_corners(k_tiles, len(images), images.shape[1:3], tile)
        label = integers(draws(k_order, 1, len(images))[0], permutations)
        shown = jnp.asarray(orders, jnp.int32)[label]
        corners = jnp.take_along_axis(corners, shown[:, :, None], axis=1)
        if channel_shift:
            x = cutting.cut_apart(k_shift, images, corners, tile, channel_shift)
        else:
            x = cutting.cut(images, corners, tile)
        return {"patches": look(x), "label": label}

    def init(key, batch):
        return Vars(*start(net, key, views(key, batch)["patches"], method="join"))

    def loss(params, state, views, key, step):
        logits, state = forward(net, params, state, views["patches"], key, method="join")
        value, accuracy = classification.cross_entropy_accuracy(logits, views["label"])
        chance = jnp.float32(1 / permutations)
        return value, Out(state, {"loss": value, "proxy_accuracy": accuracy, "chance": chance})

    def after(params, state, step):
        return state

    def embed(params, state, batch):
        return net.apply({"params": params, **state}, look(prepare(batch)), method="encode")

    return Method(init, views, loss, after, embed)
