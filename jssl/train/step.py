"""The train step, the same for every method."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jssl.method import Array, Batch, Method, Out, PyTree


class TrainState(NamedTuple):
    """All that a run carries from step to step, and all that a checkpoint holds.

    step: int32 scalar, how many optimizer steps were made.
    key: the typed key of the run; step s draws from ``fold_in(key, s)`` alone.
    params, state: the two parts of `jssl.method.Vars`.
    opt_state: of the optax transformation.
    """

    step: Array
    key: Array
    params: PyTree
    state: PyTree
    opt_state: PyTree


def init(method: Method, tx: optax.GradientTransformation, seed: int, batch: Batch) -> TrainState:
    """The state before the first step: a function of the seed and the batch's shapes."""
    k_init, k_run = jax.random.split(jax.random.key(seed))
    params, state = method.init(k_init, batch)
    return TrainState(jnp.zeros((), jnp.int32), k_run, params, state, tx.init(params))


def make_step(
    method: Method, tx: optax.GradientTransformation, accumulate: int = 1
) -> Callable[[TrainState, Batch], tuple[TrainState, dict[str, Array]]]:
    """Returns ``step(train, batch) -> (train, metrics)``, pure and ready for ``jax.jit``.

    Args:
      method: the pretext task.
      tx: the optimizer.
      accumulate: pass the batch in this many equal parts, one after the other, and take the
        optimizer step on the mean gradient. Saves memory; a contrastive loss then sees the
        negatives of its part only, and batch statistics are those of the parts.

    Metrics are those of the method and ``grad_norm``, all scalars left on the device.
    """
    gradient = jax.value_and_grad(method.loss, has_aux=True)

    def forward_backward(train, state, batch, key):
        k_views, k_loss = jax.random.split(key)
        views = method.views(k_views, batch)
        (_, out), grads = gradient(train.params, state, views, k_loss, train.step)
        return grads, out

    def step(train: TrainState, batch: Batch):
        key = jax.random.fold_in(train.key, train.step)
        if accumulate == 1:
            grads, out = forward_backward(train, train.state, batch, key)
        else:
            grads, out = _accumulated(forward_backward, train, batch, key, accumulate)
        updates, opt_state = tx.update(grads, train.opt_state, train.params)
        params = optax.apply_updates(train.params, updates)
        if method.adjust is not None:
            params = method.adjust(train.params, params, out.state, train.step)
        state = method.after(params, out.state, train.step)
        metrics = out.metrics | {"grad_norm": optax.tree.norm(grads)}
        return TrainState(train.step + 1, train.key, params, state, opt_state), metrics

    return step


def _accumulated(forward_backward, train, batch, key, parts):
    """Mean gradient and metrics over equal parts of the batch; the state passes through them."""

    def split(x):
        if len(x) % parts:
            raise ValueError(f"train.accumulate={parts} does not divide the batch of {len(x)}")
        # Every parts-th example, so that a sharded batch stays where it is.
        return jnp.swapaxes(x.reshape(len(x) // parts, parts, *x.shape[1:]), 0, 1)

    def part(carry, inputs):
        total, state = carry
        grads, out = forward_backward(train, state, *inputs)
        return (jax.tree.map(jnp.add, total, grads), out.state), out.metrics

    zeros = jax.tree.map(jnp.zeros_like, train.params)
    inputs = jax.tree.map(split, batch), jax.random.split(key, parts)
    (total, state), metrics = jax.lax.scan(part, (zeros, train.state), inputs)
    grads = jax.tree.map(lambda g: g / parts, total)
    return grads, Out(state, jax.tree.map(lambda m: jnp.mean(m, axis=0), metrics))
