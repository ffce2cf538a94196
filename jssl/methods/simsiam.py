"""SimSiam: exploring simple siamese representation learning.

Chen & He 2021, arXiv 2011.10566.
"""

from collections.abc import Callable

import flax.linen as nn
import jax

from jssl import require
from jssl.losses import regression, spread
from jssl.method import Array, Batch, Method, Out, Vars
from jssl.nn.forward import forward_apart, start
from jssl.nn.heads import MLP, JointEmbedding


def simsiam(
    encoder: nn.Module,
    views: Callable[[Array, Batch], Array],
    prepare: Callable[[Batch], Array],
    *,
    hidden: int = 2048,
    out: int = 2048,
    bottleneck: int = 512,
    layers: int = 3,
    stop_gradient: bool = True,
) -> Method:
    """Siamese networks with a predictor and a stop-gradient: no negatives, no teacher.

    The paper leaves the predictor at a constant learning rate (section 4.2); that is the
    optimizer's affair, ``optimizer.constant = ("predictor",)`` in a config.

    Args:
      encoder: the backbone of f, a module that returns `Features`.
      views: ``(key, batch) -> [n 2 ...]``, two random views of each example, side by side.
      prepare: ``batch -> [n ...]``, the unaugmented examples, normalised as the views are.
      hidden: width of the hidden layers of the projector, the width of the features in the paper.
      out: width of the projection z and of the prediction p.
      bottleneck: width of the hidden layer of the predictor h, a quarter of ``out`` in the paper.
      layers: of the projector: 3, or 2 on CIFAR-10 (appendix D).
      stop_gradient: False lets the gradient into the target too, which collapses (section 4.1).

    Raises:
      ValueError: if a width is not positive or there are fewer than 2 layers.
    """
    require.at_least(1, hidden=hidden, out=out, bottleneck=bottleneck)
    require.at_least(2, layers=layers)
    dtypes = {"dtype": encoder.dtype, "param_dtype": encoder.param_dtype}
    projector = MLP(
        (hidden,) * (layers - 1) + (out,),
        final_norm="batch",
        final_scale=False,
        final_offset=False,
        **dtypes,
    )
    # Norm on the hidden layer alone: one on the output as well is unstable (section 4.4).
    predictor = MLP((bottleneck, out), final_bias=True, **dtypes)
    net = JointEmbedding(encoder, projector, predictor)

    def init(key, batch):
        return Vars(*start(net, key, prepare(batch)))

    def distance(p, z):
        if stop_gradient:
            return regression.negative_cosine(p, z)
        # Both directions, since each stops the gradient of one side; their gradients add up.
        both = regression.negative_cosine(p, z) + regression.negative_cosine(z, p)
        return both - jax.lax.stop_gradient(both) / 2

    def loss(params, state, views, key, step):
        (first, second), state = forward_apart(net, params, state, views, key)
        # Equation 4; negative_cosine stops the gradient at z.
        value = distance(first.p, second.z) / 2 + distance(second.p, first.z) / 2
        metrics = {"loss": value} | spread.spread(first.z, second.z)
        return value, Out(state, metrics)

    def after(params, state, step):
        return state

    def embed(params, state, batch):
        return net.apply({"params": params, **state}, prepare(batch), method="encode")

    return Method(init, views, loss, after, embed)
