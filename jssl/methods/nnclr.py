"""NNCLR: with a little help from my friends, the nearest neighbour as the positive.

Dwibedi, Aytar, Tompson, Sermanet & Zisserman 2021, arXiv 2104.14548.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from jssl import require
from jssl.losses import contrastive, spread
from jssl.losses.geometry import l2_normalize
from jssl.method import Array, Batch, Method, Out, Vars
from jssl.nn import queue as fifo
from jssl.nn.forward import forward_apart, start
from jssl.nn.heads import MLP, JointEmbedding


def nnclr(
    encoder: nn.Module,
    views: Callable[[Array, Batch], Array],
    prepare: Callable[[Batch], Array],
    *,
    temperature: float = 0.1,
    queue: int = 98304,
    hidden: int = 2048,
    out: int = 256,
    predictor_hidden: int = 4096,
) -> Method:
    """Contrastive learning whose positives are other examples: neighbours of the first view.

    Args:
      encoder: f of the paper, a module that returns `Features`.
      views: ``(key, batch) -> [n 2 ...]``, two random views of each example, side by side.
      prepare: ``batch -> [n ...]``, the unaugmented examples, normalised as the views are.
      temperature: of the loss.
      queue: how many projections of earlier batches the support set holds, a multiple of the batch.
      hidden: width of the two hidden layers of the projector.
      out: width of the outputs of projector and predictor.
      predictor_hidden: width of the hidden layer of the predictor.

    Raises:
      ValueError: if the temperature is not positive or the queue empty; when the step is traced,
        if the batch (its part, where ``train.accumulate`` splits it) does not divide the queue.
    """
    require.positive(temperature=temperature)
    fifo.check(queue)
    dtypes = {"dtype": encoder.dtype, "param_dtype": encoder.param_dtype}
    projector = MLP((hidden, hidden, out), final_norm="batch", **dtypes)
    predictor = MLP((predictor_hidden, out), final_bias=True, **dtypes)
    net = JointEmbedding(encoder, projector, predictor)

    def init(key, batch):
        k_net, k_queue = jax.random.split(key)
        params, stats = start(net, k_net, prepare(batch))
        support, pointer = fifo.start(k_queue, queue, out, encoder.param_dtype)
        return Vars(params, {"stats": stats, "queue": support, "pointer": pointer})

    def nearest(z, support):
        """Equation 2, by cosine, since the support set has length one."""
        scores = jax.lax.stop_gradient(z @ support.astype(z.dtype).T)
        return support[jax.lax.argmax(scores, 1, jnp.int32)]

    def loss(params, state, views, key, step):
        fifo.check(queue, len(views))
        made, stats = forward_apart(net, params, state["stats"], views, key)
        (_, z1, p1), (_, z2, p2) = made
        nn1, nn2 = nearest(z1, state["queue"]), nearest(z2, state["queue"])
        # Equation 3 in both directions, as in the paper's pseudocode.
        loss1, accuracy1 = contrastive.nnclr_accuracy(nn1, p2, temperature)
        loss2, accuracy2 = contrastive.nnclr_accuracy(nn2, p1, temperature)
        value = (loss1 + loss2) / 2
        # Of the first views alone: no two of one example stand in the support set.
        support, pointer = fifo.push(state["queue"], state["pointer"], l2_normalize(z1))
        metrics = {"loss": value, "proxy_accuracy": (accuracy1 + accuracy2) / 2}
        metrics |= spread.spread(z1, z2)
        return value, Out({"stats": stats, "queue": support, "pointer": pointer}, metrics)

    def after(params, state, step):
        return state

    def embed(params, state, batch):
        return net.apply({"params": params, **state["stats"]}, prepare(batch), method="encode")

    return Method(init, views, loss, after, embed)
