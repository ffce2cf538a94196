"""VICReg: variance-invariance-covariance regularization for self-supervised learning.

Bardes, Ponce & LeCun 2021, arXiv 2105.04906.
"""

from collections.abc import Callable

import flax.linen as nn

from jssl import require
from jssl.losses import redundancy, spread
from jssl.method import Array, Batch, Method, Out, Vars
from jssl.nn.forward import forward_apart, start
from jssl.nn.heads import MLP, JointEmbedding


def vicreg(
    encoder: nn.Module,
    views: Callable[[Array, Batch], Array],
    prepare: Callable[[Batch], Array],
    *,
    invariance: float = 25.0,
    variance: float = 25.0,
    covariance: float = 1.0,
    hidden: int = 8192,
    out: int = 8192,
    layers: int = 3,
) -> Method:
    """Views meet, while each view's features keep their variance and stay uncorrelated.

    Args:
      encoder: a module that returns `Features`.
      views: ``(key, batch) -> [n 2 ...]``, two random views of each example, drawn from two
        different distributions in the paper (its appendix C), which are BYOL's.
      prepare: ``batch -> [n ...]``, the unaugmented examples, normalised as the views are.
      invariance: weight of the distance between views, >= 0; lambda of the paper.
      variance: weight of the hinge that keeps deviations at 1, >= 0; mu. Without it embeddings
        collapse to a point (table 7).
      covariance: weight of the squared covariances, >= 0; nu.
      hidden: width of the hidden layers of the projector, the paper's expander.
      out: width of its output z.
      layers: of the projector.

    Raises:
      ValueError: if a weight is negative or there are fewer than 2 layers; as soon as the step is
        traced if the batch has fewer than 2 examples.
    """
    weights = {"invariance": invariance, "variance": variance, "covariance": covariance}
    require.at_least(0, **weights)
    require.at_least(2, layers=layers)
    dtypes = {"dtype": encoder.dtype, "param_dtype": encoder.param_dtype}
    widths = (hidden,) * (layers - 1) + (out,)
    net = JointEmbedding(encoder, MLP(widths, bias=True, **dtypes))

    def init(key, batch):
        return Vars(*start(net, key, prepare(batch)))

    def loss(params, state, views, key, step):
        ((_, z1, _), (_, z2, _)), state = forward_apart(net, params, state, views, key)
        terms = redundancy.vicreg_terms(z1, z2)
        value = sum(weight * terms[name] for name, weight in weights.items())  # equation 6
        return value, Out(state, {"loss": value} | terms | spread.spread(z1, z2))

    def after(params, state, step):
        return state

    def embed(params, state, batch):
        return net.apply({"params": params, **state}, prepare(batch), method="encode")

    return Method(init, views, loss, after, embed)
