"""The order of things in a step."""

import jax.numpy as jnp
import numpy as np
import optax
import tiny

from jssl.method import Out, Vars
from jssl.train import step as train_step


def test_optimizer_then_adjust_then_after():
    """`adjust` sees the parameters before and after the optimizer; `after` sees its result."""
    plain = tiny.method()
    tx, batch = optax.sgd(0.1), tiny.Stream().batch(0)

    def init(key, batch):
        return Vars(plain.init(key, batch).params, {"last": jnp.zeros((3, 4))})

    def loss(params, state, views, key, step):
        value, out = plain.loss(params, {"count": step}, views, key, step)
        return value, Out(state, out.metrics)

    def adjust(before, params, state, step):
        return {"w": 3 * before["w"] - 2 * params["w"]}

    def after(params, state, step):
        return {"last": params["w"]}

    method = plain._replace(init=init, loss=loss, after=after)
    first = train_step.init(method, tx, 0, batch)
    left_alone, _ = train_step.make_step(method, tx)(first, batch)
    adjusted, _ = train_step.make_step(method._replace(adjust=adjust), tx)(first, batch)
    step = left_alone.params["w"] - first.params["w"]
    assert np.abs(step).max() > 1e-3
    np.testing.assert_allclose(adjusted.params["w"], first.params["w"] - 2 * step, rtol=1e-5)
    np.testing.assert_array_equal(adjusted.state["last"], adjusted.params["w"])
