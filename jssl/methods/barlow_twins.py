"""Barlow Twins: self-supervised learning via redundancy reduction.

Zbontar, Jing, Misra, LeCun & Deny 2021, arXiv 2103.03230.
"""

from collections.abc import Callable

import flax.linen as nn

from jssl import require
from jssl.losses import redundancy, spread
from jssl.method import Array, Batch, Method, Out, Vars
from jssl.nn.forward import forward_apart, start
from jssl.nn.heads import MLP, JointEmbedding


def barlow_twins(
    encoder: nn.Module,
    views: Callable[[Array, Batch], Array],
    prepare: Callable[[Batch], Array],
    *,
    weight: float = 0.0051,
    scale: float = 1.0,
    hidden: int = 8192,
    out: int = 8192,
    layers: int = 3,
) -> Method:
    """Redundancy reduction: every feature agrees between views and with no other feature.

    Args:
      encoder: a module that returns `Features`.
      views: ``(key, batch) -> [n 2 ...]``, two random views of each example, drawn from two
        different distributions in the paper, which are BYOL's.
      prepare: ``batch -> [n ...]``, the unaugmented examples, normalised as the views are.
      weight: of the correlations off the diagonal, >= 0; lambda of the paper.
      scale: > 0, multiplies the loss, a sum over out * out entries. The code first released had
        1/32; of no consequence to an optimizer that does not know the size of a gradient (Adam).
      hidden: width of the hidden layers of the projector.
      out: width of its output z; wider is better in the paper (figure 4).
      layers: of the projector.

    Raises:
      ValueError: if the weight is negative, the scale is not positive or there are fewer than 2
        layers.
    """
    require.at_least(0, weight=weight)
    require.positive(scale=scale)
    require.at_least(2, layers=layers)
    dtypes = {"dtype": encoder.dtype, "param_dtype": encoder.param_dtype}
    net = JointEmbedding(encoder, MLP((hidden,) * (layers - 1) + (out,), **dtypes))

    def init(key, batch):
        return Vars(*start(net, key, prepare(batch)))

    def loss(params, state, views, key, step):
        ((_, z1, _), (_, z2, _)), state = forward_apart(net, params, state, views, key)
        value = scale * redundancy.barlow_twins(z1, z2, weight)  # equation 1
        return value, Out(state, {"loss": value} | spread.spread(z1, z2))

    def after(params, state, step):
        return state

    def embed(params, state, batch):
        return net.apply({"params": params, **state}, prepare(batch), method="encode")

    return Method(init, views, loss, after, embed)
