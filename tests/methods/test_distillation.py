"""What SimSiam, DINO and LeJEPA do beside their losses: schedules, frozen parts, state."""

import cases
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jssl.cli import build, config
from jssl.train import step as train_step


def gradient(method, train, batch, key=0):
    """Loss, gradient and state after a pass at the state's own step."""
    views = method.views(jax.random.key(key), batch)
    (value, out), grads = jax.jit(jax.value_and_grad(method.loss, has_aux=True))(
        train.params, train.state, views, jax.random.key(key), train.step
    )
    return value, grads, out


class TestSimSiam:
    def test_the_projection_has_zero_mean_and_unit_variance_and_no_bias_before_it(self):
        method, batch = cases.make("simsiam", cases.resnet), cases.batch()
        params, state = method.init(jax.random.key(0), batch)
        projector = params["projector"]
        assert "norm3" not in projector
        assert projector["dense3"].keys() == {"kernel"}
        assert state["batch_stats"]["projector"].keys() == {"norm1", "norm2", "norm3"}
        assert params["predictor"].keys() == {"dense1", "norm1", "dense2"}
        assert params["predictor"]["dense2"].keys() == {"kernel", "bias"}
        assert params["predictor"]["dense1"]["kernel"].shape == (16, 8)

    def test_without_stop_gradient_the_value_is_the_same_and_the_gradient_is_not(self):
        batch, options = cases.batch(), cases.CASES["simsiam"][1]
        values, grads = [], []
        for stop in (True, False):
            method = cases.make("simsiam", cases.resnet, options=options | {"stop_gradient": stop})
            train = train_step.init(method, optax.sgd(0.1), 0, batch)
            value, grad, _ = gradient(method, train, batch)
            values.append(value)
            grads.append(grad["projector"]["dense1"]["kernel"])
        np.testing.assert_allclose(*values, rtol=1e-6)
        assert np.abs(grads[0] - grads[1]).max() > 1e-2 * np.abs(grads[0]).max()

    def test_the_config_keeps_the_predictor_at_a_constant_rate(self):
        """The same gradient early and late: the predictor's update is the same, others shrink."""
        cfg = config.load("simsiam", {"optimizer.momentum": "0.0", "optimizer.weight_decay": "0.0"})
        with jax.numpy_dtype_promotion("standard"):
            tx, schedule = build.optimizer(cfg, per_epoch=10, steps=100)
            params = {part: {"kernel": jnp.ones(3)} for part in ("encoder", "predictor")}
            update = jax.jit(tx.update)
            state, sizes = tx.init(params), []
            for _ in range(100):
                updates, state = update(jax.tree.map(jnp.ones_like, params), state, params)
                sizes.append([-float(updates[p]["kernel"][0]) for p in ("encoder", "predictor")])
        encoder, predictor = np.transpose(sizes)
        np.testing.assert_allclose(predictor, cfg.optimizer.lr, rtol=1e-6)
        np.testing.assert_allclose(encoder, [schedule(i) for i in range(100)], rtol=1e-5, atol=1e-9)
        assert encoder[-1] < 0.01 * encoder[0]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("simsiam", {"layers": 1}, "layers must be at least 2, got 1"),
        ("simsiam", {"bottleneck": 0}, "bottleneck must be at least 1, got 0"),
    ],
)
def test_bad_options(name, options, message):
    with pytest.raises(ValueError, match=message):
        cases.make(name, cases.resnet, options=options)
