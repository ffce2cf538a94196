"""RotNet: unsupervised representation learning by predicting image rotations.

Gidaris, Singh & Komodakis 2018, arXiv 1803.07728.
"""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp

from jssl.augment.image import rotations
from jssl.losses import classification
from jssl.method import Array, Batch, Method, Out, Vars
from jssl.nn.forward import forward_together, start
from jssl.nn.heads import MLP, JointEmbedding


def rotation(
    encoder: nn.Module,
    view: Callable[[Array, Batch], Array],
    prepare: Callable[[Batch], Array],
) -> Method:
    """Tell by how much an image was turned: 0, 90, 180 or 270 degrees.

    Args:
      encoder: F of the paper, a module that returns `Features`; a linear classifier follows.
      view: ``(key, batch) -> [n h w c]``, one random view, square; a crop and a flip in the paper.
      prepare: ``batch -> [n h w c]``, the unaugmented images, normalised as the view is.

    All four rotations of each image are in the batch, which helps (section 3.1), so a batch of n is
    one of 4 n images to the encoder.

    Raises:
      ValueError: when the step is traced, if the views are not square.
    """
    dtypes = {"dtype": encoder.dtype, "param_dtype": encoder.param_dtype}
    net = JointEmbedding(encoder, MLP((4,), final_bias=True, **dtypes))

    def init(key, batch):
        return Vars(*start(net, key, prepare(batch)))

    def views(key, batch):
        return rotations(view(key, batch))

    def loss(params, state, views, key, step):
        (_, logits, _), state = forward_together(net, params, state, views, key)
        turns = jnp.tile(jnp.arange(4), len(views))
        # Equations 2 and 3.
        value, accuracy = classification.cross_entropy_accuracy(logits.reshape(-1, 4), turns)
        metrics = {"loss": value, "proxy_accuracy": accuracy, "chance": jnp.float32(1 / 4)}
        return value, Out(state, metrics)

    def after(params, state, step):
        return state

    def embed(params, state, batch):
        return net.apply({"params": params, **state}, prepare(batch), method="encode")

    return Method(init, views, loss, after, embed)
