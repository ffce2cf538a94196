"""DCL: decoupled contrastive learning, SimCLR without the positive in the denominator.

Yeh, Hong, Hsu, Liu, Chen & LeCun 2021, arXiv 2110.06848.
"""

from collections.abc import Callable

import flax.linen as nn

from jssl import require
from jssl.losses import contrastive, ring, spread
from jssl.method import Array, Batch, Method, Out, Vars
from jssl.nn.forward import forward_together, start
from jssl.nn.heads import MLP, JointEmbedding


def dcl(
    encoder: nn.Module,
    views: Callable[[Array, Batch], Array],
    prepare: Callable[[Batch], Array],
    *,
    temperature: float = 0.1,
    weighted: bool = False,
    sigma: float = 0.5,
    hidden: int = 2048,
    out: int = 128,
    loss_impl: str = "auto",
) -> Method:
    """Contrastive learning whose gradient does not fade with the batch, so that small ones do.

    Args:
      encoder: a module that returns `Features`.
      views: ``(key, batch) -> [n 2 ...]``, two random views of each example, side by side; n >= 2.
      prepare: ``batch -> [n ...]``, the unaugmented examples, normalised as the views are.
      temperature: of the loss.
      weighted: DCLW, in which positives that agree already count less.
      sigma: of those weights; the greater, the more they are alike.
      hidden: width of the hidden layer of the projector, which is SimCLR's.
      out: width of its output z.
      loss_impl: "dense", "ring" without the matrix of logits, or "auto", see `contrastive`.

    Raises:
      ValueError: if temperature or sigma is not positive; when the step is traced, if the batch
        has one example alone.
    """
    require.one_of(ring.IMPLS, loss_impl=loss_impl)
    require.positive(temperature=temperature, sigma=sigma)
    dtypes = {"dtype": encoder.dtype, "param_dtype": encoder.param_dtype}
    projector = MLP((hidden, out), final_norm="batch", final_offset=False, **dtypes)
    net = JointEmbedding(encoder, projector)

    def init(key, batch):
        return Vars(*start(net, key, prepare(batch)))

    def loss(params, state, views, key, step):
        (_, z, _), state = forward_together(net, params, state, views, key)
        z1, z2 = z[:, 0], z[:, 1]
        # Equation 5, and equation 6 where weighted.
        value, accuracy = contrastive.decoupled_accuracy(
            z1, z2, temperature, sigma if weighted else None, loss_impl=loss_impl
        )
        metrics = {"loss": value, "proxy_accuracy": accuracy} | spread.spread(z1, z2)
        return value, Out(state, metrics)

    def after(params, state, step):
        return state

    def embed(params, state, batch):
        return net.apply({"params": params, **state}, prepare(batch), method="encode")

    return Method(init, views, loss, after, embed)
