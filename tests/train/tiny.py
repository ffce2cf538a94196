"""The smallest method and stream there are: what the loop and checkpoints are tested with."""

import jax
import jax.numpy as jnp
import numpy as np

from jssl.method import Features, Method, Out, Vars


def method(width=4, poison_at=None):
    """Linear prediction of a noisy copy; state counts the steps. Loss is nan at ``poison_at``."""

    def init(key, batch):
        d = batch["x"].shape[-1]
        return Vars({"w": jax.random.normal(key, (d, width))}, {"count": jnp.zeros((), jnp.int32)})

    def views(key, batch):
        return batch["x"] + 0.1 * jax.random.normal(key, batch["x"].shape)

    def loss(params, state, views, key, step):
        value = jnp.mean((views @ params["w"] - 1) ** 2)
        if poison_at is not None:
            value = jnp.where(step == poison_at, jnp.nan, value)
        return value, Out({"count": state["count"] + 1}, {"loss": value})

    def embed(params, state, batch):
        return Features(batch["x"] @ params["w"], None)

    return Method(init, views, loss, lambda params, state, step: state, embed)


class Stream:
    """Batches that are a function of the step."""

    steps_per_epoch = 5
    batch_size = 8

    def __init__(self, on_batch=None):
        self.on_batch = on_batch or (lambda step: None)

    def batch(self, step):
        self.on_batch(step)
        x = np.random.default_rng(step).normal(size=(8, 3)).astype(np.float32)
        return {"x": jnp.asarray(x)}

    def state(self):
        return {}

    def restore(self, state):
        assert state == {}
