"""Relative patch location: unsupervised visual representation learning by context prediction.

Doersch, Gupta & Efros 2015, arXiv 1505.05192.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from jssl import require
from jssl.augment import patches as cutting
from jssl.losses import classification
from jssl.method import Array, Batch, Method, Out, Vars
from jssl.nn.forward import forward, forward_together, start
from jssl.nn.heads import MLP, JointEmbedding

COLORS = ("drop", "project", None)


def patch_location(
    encoder: nn.Module,
    view: Callable[[Array, Batch], Array],
    prepare: Callable[[Batch], Array],
    *,
    patch: int = 96,
    gap: int = 48,
    jitter: int = 7,
    pairs: int = 1,
    colors: str | None = "drop",
    standardize: bool = True,
    hidden: int = 4096,
) -> Method:
    """Tell at which of eight places around a patch of an image another one lies.

    Args:
      encoder: of one patch, a module that returns `Features`, the same for both.
      view: ``(key, batch) -> [n h w c]``, one random view, from which the patches are cut; not
        mirrored in the released code.
      prepare: ``batch -> [n h w c]``, the unaugmented images, normalised as the view is.
      patch: side of a patch, in pixels.
      gap: pixels between neighbours, so that lines do not run on from one to the other.
      jitter: by how many pixels at most a patch is off its place, along each axis.
      pairs: how many are cut from each view, apart from each other. Each is asked both ways.
      colors: against chromatic aberration, which tells where a patch lies: "drop" two of three
        channels, "project" green and magenta away, or None.
      standardize: each patch by its own mean and deviation; a whole image too, in ``embed``.
      hidden: width of the classifier's two hidden layers, which have batch norms.

    Patches are not downsampled at random, which the paper does to a third of its large ones.

    Raises:
      ValueError: if an option is out of range, or, when views are traced, if they are too small.
    """
    require.at_least(1, patch=patch, pairs=pairs, hidden=hidden)
    require.at_least(0, gap=gap, jitter=jitter)
    if colors not in COLORS:
        raise ValueError(f'colors must be "drop", "project" or None, got {colors!r}')
    dtypes = {"dtype": encoder.dtype, "param_dtype": encoder.param_dtype}
    net = JointEmbedding(encoder, MLP((hidden, hidden, 8), final_bias=True, **dtypes))

    def look(x):
        """What is done to patches and, in ``embed``, to images alike."""
        x = cutting.project_colors(x) if colors == "project" else x
        return cutting.standardize(x) if standardize else x

    def views(key, batch):
        k_view, k_pairs, k_colors = jax.random.split(key, 3)
        # Beside the batch axis, so that a sharded batch stays where it is.
        images = jnp.repeat(view(k_view, batch)[:, None], pairs, axis=1)
        images = images.reshape(-1, *images.shape[2:])
        corners, label = cutting.neighbour_corners(
            k_pairs, len(images), images.shape[1:3], patch, gap, jitter
        )
        x = cutting.cut(images, corners, patch)
        x = cutting.drop_colors(k_colors, x) if colors == "drop" else x
        return {"patches": look(x), "label": label}

    def init(key, batch):
        return Vars(*start(net, key, views(key, batch)["patches"], method="join"))

    def loss(params, state, views, key, step):
        k_encode, k_tell = jax.random.split(key)
        features, state = forward_together(
            net, params, state, views["patches"], k_encode, method="encode"
        )
        z, label = features.pooled, views["label"]
        # The same two features tell the second's place from the first and the other way round:
        # places are numbered row by row, so that opposite ones sum to 7.
        both = jnp.stack([z, z[:, ::-1]], axis=1).reshape(2 * len(z), -1)
        asked = jnp.stack([label, 7 - label], axis=1).reshape(-1)
        (logits, _), state = forward(net, params, state, both, k_tell, method="project")
        value, accuracy = classification.cross_entropy_accuracy(logits, asked)
        metrics = {"loss": value, "proxy_accuracy": accuracy, "chance": jnp.float32(1 / 8)}
        return value, Out(state, metrics)

    def after(params, state, step):
        return state

    def embed(params, state, batch):
        return net.apply({"params": params, **state}, look(prepare(batch)), method="encode")

    return Method(init, views, loss, after, embed)
