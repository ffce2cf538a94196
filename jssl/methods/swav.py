"""SwAV: unsupervised learning of visual features by contrasting cluster assignments.

Caron, Misra, Mairal, Goyal, Bojanowski & Joulin 2020, arXiv 2006.09882.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jssl import require
from jssl.losses import clustering, spread
from jssl.losses.geometry import l2_normalize
from jssl.method import Array, Batch, Method, Out, Vars
from jssl.nn.forward import forward_crops, start
from jssl.nn.heads import MLP, JointEmbedding


def swav(
    encoder: nn.Module,
    crops: Callable[[Array, Batch], list[Array]],
    prepare: Callable[[Batch], Array],
    *,
    steps_per_epoch: int,
    prototypes: int = 3000,
    temperature: float = 0.1,
    epsilon: float = 0.05,
    iterations: int = 3,
    hidden: int = 2048,
    out: int = 128,
    freeze_prototypes_niters: int = 313,
    queue_length: int = 0,
    queue_start_epoch: int = 15,
) -> Method:
    """Clustering online: from each crop predict the prototypes to which another was assigned.

    Args:
      encoder: f of the paper, a module that returns `Features`.
      crops: ``(key, batch) -> [[n 2 ...], [n l ...]]``, two large crops of each example and l
        small ones, or the large ones alone. Only the large ones have codes.
      prepare: ``batch -> [n ...]``, the unaugmented examples, normalised as the crops are.
      steps_per_epoch: in how many steps training passes once over the data.
      prototypes: k, how many; C of the paper, columns of length one.
      temperature: tau, of the predictions.
      epsilon: of the codes, > 0; smaller is harder.
      iterations: of the Sinkhorn-Knopp algorithm that makes the codes.
      hidden: width of the hidden layer of the projector.
      out: width of its output z, which is l2-normalised.
      freeze_prototypes_niters: for how many steps the prototypes stay as they were drawn.
      queue_length: how many past z of each large crop join the batch when codes are made, for
        batches smaller than k; a multiple of the batch, 0 for none.
      queue_start_epoch: the epoch, from 0, in which the queue begins to fill; it is used once it
        is full.

    Batch statistics stand in the state under ``stats``, and with a queue ``queue`` [2 length out],
    the newest first, zeros where it is not filled yet.

    The released code normalises the prototypes before each forward pass; here they are so from
    the start and after every update, which is the same.

    Raises:
      ValueError: if an option is out of range or the queue is not a multiple of the batch.
    """
    require.positive(temperature=temperature, epsilon=epsilon)
    require.at_least(2, prototypes=prototypes)
    require.at_least(1, steps_per_epoch=steps_per_epoch, iterations=iterations)
    require.at_least(0, freeze_prototypes_niters=freeze_prototypes_niters)
    require.at_least(0, queue_length=queue_length, queue_start_epoch=queue_start_epoch)
    dtypes = {"dtype": encoder.dtype, "param_dtype": encoder.param_dtype}
    net = JointEmbedding(encoder, MLP((hidden, out), bias=True, final_bias=True, **dtypes))
    wide = np.promote_types(encoder.param_dtype, np.float32)

    def on_the_sphere(kernel):
        return l2_normalize(kernel.T).T.astype(kernel.dtype)

    def check(n):
        if queue_length % n:
            raise ValueError(
                f"queue_length must be a multiple of the batch (of its part, if train.accumulate "
                f"splits it), got {queue_length} and a batch of {n}"
            )

    def init(key, batch):
        k_net, k_prototypes = jax.random.split(key)
        images = prepare(batch)
        check(len(images))
        params, stats = start(net, k_net, images)
        kernel = jax.random.normal(k_prototypes, (out, prototypes), encoder.param_dtype)
        state = {"stats": stats}
        if queue_length:
            state["queue"] = jnp.zeros((2, queue_length, out), wide)
        return Vars(params | {"prototypes": {"kernel": on_the_sphere(kernel)}}, state)

    def codes_of(scores, past):
        """Codes [n k] of scores [n k] made together with past scores [length k]."""
        n, k = scores.shape
        # Past ones stand beside the batch axis, so that every example stays on its device.
        past = jnp.swapaxes(past.reshape(-1, n, k), 0, 1)
        together = jnp.concatenate([scores[:, None], past], axis=1)
        codes = clustering.sinkhorn(together.reshape(-1, k), epsilon, iterations)
        return codes.reshape(together.shape)[:, 0]

    def loss(params, state, views, key, step):
        n = len(views[0])
        check(n)
        (z, _), stats = forward_crops(net, params, state["stats"], views, key)
        z = l2_normalize(z)
        kernel = params["prototypes"]["kernel"].astype(z.dtype)
        frozen = step < freeze_prototypes_niters
        kernel = jnp.where(frozen, jax.lax.stop_gradient(kernel), kernel)
        scores = jnp.moveaxis(z @ kernel, 1, 0)
        state = state | {"stats": stats}

        high = jax.lax.stop_gradient(scores[:2])
        codes_alone = jax.vmap(lambda s: clustering.sinkhorn(s, epsilon, iterations))
        if queue_length:
            queue = state["queue"]
            past = queue.astype(z.dtype) @ jax.lax.stop_gradient(kernel)
            # What was never filled is zero: the last place is filled last.
            full = jnp.any(queue[:, -1] != 0)
            codes = jax.lax.cond(
                full, jax.vmap(codes_of), lambda high, past: codes_alone(high), high, past
            )
            new = jax.lax.stop_gradient(jnp.moveaxis(z[:, :2], 1, 0)).astype(wide)
            filled = jnp.roll(queue, n, axis=1).at[:, :n].set(new)
            begun = step >= queue_start_epoch * steps_per_epoch
            state["queue"] = jnp.where(begun, filled, queue)
        else:
            codes = codes_alone(high)
        # Equations 1 and 2, over all pairs of crops as in equation 6.
        value, accuracy = clustering.swapped_accuracy(codes, scores, temperature)
        metrics = {"loss": value, "proxy_accuracy": accuracy} | spread.spread(z[:, 0], z[:, 1])
        return value, Out(state, metrics)

    def adjust(before, params, state, step):
        kernel = params["prototypes"]["kernel"]
        frozen = step < freeze_prototypes_niters
        kernel = jnp.where(frozen, before["prototypes"]["kernel"], on_the_sphere(kernel))
        return params | {"prototypes": {"kernel": kernel}}

    def after(params, state, step):
        return state

    def embed(params, state, batch):
        variables = {"params": params, **state["stats"]}
        return net.apply(variables, prepare(batch), method="encode")

    return Method(init, views=crops, loss=loss, after=after, embed=embed, adjust=adjust)
