"""MoCo v2: momentum contrast, with SimCLR's projector and augmentation.

He, Fan, Wu, Xie & Girshick 2019, arXiv 1911.05722; Chen, Fan, Girshick & He 2020,
arXiv 2003.04297.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from jssl import require
from jssl.losses import contrastive, ring, spread
from jssl.losses.geometry import l2_normalize
from jssl.method import Array, Batch, Method, Out, Vars
from jssl.nn import queue as fifo
from jssl.nn import teacher
from jssl.nn.forward import forward_groups, start
from jssl.nn.heads import MLP, JointEmbedding


def moco_v2(
    encoder: nn.Module,
    views: Callable[[Array, Batch], Array],
    prepare: Callable[[Batch], Array],
    *,
    temperature: float = 0.2,
    momentum: float = 0.999,
    queue: int = 65536,
    hidden: int = 2048,
    out: int = 128,
    groups: int = 1,
    loss_impl: str = "auto",
) -> Method:
    """Contrastive learning with a dictionary: negatives are a queue of keys of earlier batches.

    Args:
      encoder: f_q of the paper, a module that returns `Features`.
      views: ``(key, batch) -> [n 2 ...]``, two random views: the first a query, the second its key.
      prepare: ``batch -> [n ...]``, the unaugmented examples, normalised as the views are.
      temperature: of the loss; 0.07 in the first paper, 0.2 in the second.
      momentum: share of the key encoder kept at each step.
      queue: how many keys it holds, a multiple of the batch.
      hidden: width of the hidden layer of the projector, which has no batch norm; in the paper
        that of the features.
      out: width of its output.
      groups: batch norm sees the batch in this many groups, as on that many devices, and the keys
        in other groups than the queries (section 3.3, "Shuffling BN"). With 1 it sees it whole.
      loss_impl: "dense", "ring" without the matrix of logits, or "auto", see `contrastive`.

    Raises:
      ValueError: if an option is out of range; when the step is traced, if the batch (its part,
        where ``train.accumulate`` splits it) does not divide the queue, or the groups the batch.
    """
    require.one_of(ring.IMPLS, loss_impl=loss_impl)
    require.positive(temperature=temperature)
    require.fraction(momentum=momentum)
    require.at_least(1, groups=groups)
    fifo.check(queue)
    dtypes = {"dtype": encoder.dtype, "param_dtype": encoder.param_dtype}
    net = JointEmbedding(encoder, MLP((hidden, out), norm=None, **dtypes))

    def init(key, batch):
        k_net, k_queue = jax.random.split(key)
        params, stats = start(net, k_net, prepare(batch))
        keys, pointer = fifo.start(k_queue, queue, out, encoder.param_dtype)
        return Vars(params, teacher.begin(params, stats) | {"queue": keys, "pointer": pointer})

    def keys_of(x, state, key):
        """Keys of x by the teacher; with several groups each view is in one drawn anew."""
        k_order, k_pass = jax.random.split(key)
        if groups == 1:
            order = back = slice(None)
        else:
            order = jax.random.permutation(k_order, len(x))
            back = jnp.argsort(order)
        made, stats = forward_groups(
            net, state["teacher"], state["teacher_stats"], x[order], k_pass, groups
        )
        return jax.lax.stop_gradient(l2_normalize(made.z[back])), stats

    def loss(params, state, views, key, step):
        fifo.check(queue, len(views))
        k_query, k_key = jax.random.split(key)
        # Algorithm 1; the key encoder moved at the end of the step before, in `after`.
        made, stats = forward_groups(net, params, state["stats"], views[:, 0], k_query, groups)
        k, key_stats = keys_of(views[:, 1], state, k_key)
        value, accuracy = contrastive.infonce_accuracy(
            made.z, k, state["queue"], temperature, loss_impl=loss_impl
        )
        keys, pointer = fifo.push(state["queue"], state["pointer"], k)
        metrics = {"loss": value, "proxy_accuracy": accuracy} | spread.spread(made.z, k)
        moved = {"stats": stats, "teacher_stats": key_stats, "queue": keys, "pointer": pointer}
        return value, Out(state | moved, metrics)

    def after(params, state, step):
        # Equation 2.
        return state | {"teacher": teacher.follow(state["teacher"], params, 1 - momentum)}

    def embed(params, state, batch):
        return net.apply({"params": params, **state["stats"]}, prepare(batch), method="encode")

    return Method(init, views, loss, after, embed)
