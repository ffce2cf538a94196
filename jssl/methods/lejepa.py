"""LeJEPA: provable and scalable self-supervised learning without the heuristics.

Balestriero & LeCun 2025, arXiv 2511.08544.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from jssl import require
from jssl.losses import regression, spread
from jssl.losses.sigreg import quadrature, sigreg
from jssl.method import Array, Batch, Method, Out, Vars
from jssl.nn.forward import forward_crops, start
from jssl.nn.heads import MLP, JointEmbedding


def lejepa(
    encoder: nn.Module,
    crops: Callable[[Array, Batch], list[Array]],
    prepare: Callable[[Batch], Array],
    *,
    weight: float = 0.05,
    directions: int = 256,
    t_max: float = 5.0,
    points: int = 17,
    hidden: int = 2048,
    out: int = 128,
) -> Method:
    """Views agree on an embedding that is to be Gaussian: no teacher, no stop-gradient.

    Args:
      encoder: the backbone, a module that returns `Features`.
      crops: ``(key, batch) -> [[n 2 h w c], [n l p q c]]``: the two global views, whose mean all
        views predict, and l small ones, which may be left out.
      prepare: ``batch -> [n ...]``, the unaugmented examples, normalised as the views are.
      weight: lambda of the paper, in [0, 1]: share of SIGReg in the loss. 0 collapses.
      directions: on which SIGReg tests for a Gaussian, drawn anew at each step.
      t_max, points: range and points of its integral (`jssl.losses.sigreg.epps_pulley`).
      hidden: width of the hidden layers of the projector, as in the released example.
      out: width of the embedding.

    Raises:
      ValueError: if the weight is outside [0, 1], a width or number is not positive, or the points
        are not odd.
    """
    require.fraction(weight=weight)
    require.at_least(1, directions=directions, hidden=hidden, out=out)
    quadrature(t_max, points)
    dtypes = {"dtype": encoder.dtype, "param_dtype": encoder.param_dtype}
    projector = MLP((hidden, hidden, out), bias=True, final_bias=True, **dtypes)
    net = JointEmbedding(encoder, projector)

    def init(key, batch):
        return Vars(*start(net, key, prepare(batch)))

    def loss(params, state, crops, key, step):
        k_forward, k_directions = jax.random.split(key)
        (z, _), state = forward_crops(net, params, state, crops, k_forward)
        views = jnp.swapaxes(z, 0, 1)
        prediction = regression.center_mse(views, crops[0].shape[1])
        # Each view by itself is to be Gaussian, along the same directions (algorithm 2).
        gaussian = jnp.mean(
            jax.vmap(lambda z: sigreg(z, k_directions, directions, t_max=t_max, points=points))(
                views
            )
        )
        value = (1 - weight) * prediction + weight * gaussian
        metrics = {"loss": value, "prediction": prediction, "sigreg": gaussian}
        return value, Out(state, metrics | spread.spread(z[:, 0], z[:, 1]))

    def after(params, state, step):
        return state

    def embed(params, state, batch):
        return net.apply({"params": params, **state}, prepare(batch), method="encode")

    return Method(init, crops, loss, after, embed)
