"""SimCLR: a simple framework for contrastive learning of visual representations.

Chen, Kornblith, Norouzi & Hinton 2020, arXiv 2002.05709; with ``layers=3`` the deeper projector
of SimCLR v2, arXiv 2006.10029.
"""

from collections.abc import Callable

import flax.linen as nn

from jssl import require
from jssl.losses import contrastive, ring, spread
from jssl.method import Array, Batch, Method, Out, Vars
from jssl.nn.forward import forward_together, start
from jssl.nn.heads import MLP, JointEmbedding


def simclr(
    encoder: nn.Module,
    views: Callable[[Array, Batch], Array],
    prepare: Callable[[Batch], Array],
    *,
    temperature: float = 0.1,
    hidden: int = 2048,
    out: int = 128,
    layers: int = 2,
    loss_impl: str = "auto",
) -> Method:
    """Contrastive learning: tell which two views show the same example.

    Args:
      encoder: f of the paper, a module that returns `Features`.
      views: ``(key, batch) -> [n 2 ...]``, two random views of each example, side by side.
      prepare: ``batch -> [n ...]``, the unaugmented examples, normalised as the views are.
      temperature: of the loss; 0.1 on ImageNet, 0.5 on CIFAR-10 in the paper.
      hidden: width of the hidden layers of the projector g; that of the features in the released
        code, 2048 with a ResNet-50.
      out: width of its output z.
      layers: of the projector: 2 in SimCLR, 3 in SimCLR v2.
      loss_impl: "dense", "ring" without the matrix of logits, or "auto", see `contrastive`.

    Raises:
      ValueError: if the temperature is not positive or there are fewer than 2 layers.
    """
    require.one_of(ring.IMPLS, loss_impl=loss_impl)
    require.positive(temperature=temperature)
    require.at_least(2, layers=layers)
    widths = (hidden,) * (layers - 1) + (out,)
    dtypes = {"dtype": encoder.dtype, "param_dtype": encoder.param_dtype}
    projector = MLP(widths, final_norm="batch", final_offset=False, **dtypes)
    net = JointEmbedding(encoder, projector)

    def init(key, batch):
        return Vars(*start(net, key, prepare(batch)))

    def loss(params, state, views, key, step):
        # One forward pass for both views, so that batch norm sees all 2n of them.
        (_, z, _), state = forward_together(net, params, state, views, key)
        z1, z2 = z[:, 0], z[:, 1]
        value, accuracy = contrastive.ntxent_accuracy(z1, z2, temperature, loss_impl=loss_impl)
        metrics = {"loss": value, "proxy_accuracy": accuracy} | spread.spread(z1, z2)
        return value, Out(state, metrics)

    def after(params, state, step):
        return state

    def embed(params, state, batch):
        return net.apply({"params": params, **state}, prepare(batch), method="encode")

    return Method(init, views, loss, after, embed)
