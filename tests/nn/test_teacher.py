"""Teachers, and passing views through a network."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jssl.nn import teacher
from jssl.nn.forward import forward, forward_together, start
from jssl.nn.norm import BatchNorm


def test_the_momentum_rises_to_one_along_a_cosine():
    """Grill et al. 2020, section 3.3: tau = 1 - (1 - tau_base) (cos(pi k / K) + 1) / 2."""
    steps = np.arange(0, 101, 25)
    rates = [float(teacher.slowing(0.9, jnp.asarray(s), 100)) for s in steps]
    tau = 1 - (1 - 0.9) * (np.cos(np.pi * steps / 100) + 1) / 2
    np.testing.assert_allclose(rates, 1 - tau, atol=1e-7)


def test_a_teacher_follows_and_keeps_its_dtypes():
    old = {"a": jnp.asarray([1.0, 2.0]), "b": jnp.asarray([3.0], jnp.bfloat16)}
    new = {"a": jnp.asarray([2.0, 0.0]), "b": jnp.asarray([5.0], jnp.bfloat16)}
    moved = teacher.follow(old, new, 0.25)
    np.testing.assert_allclose(moved["a"], [1.25, 1.5])
    assert moved["b"].dtype == jnp.bfloat16
    assert float(moved["b"][0]) == 3.5
    assert teacher.without({"encoder": 1, "predictor": 2}, "predictor") == {"encoder": 1}


class Net(nn.Module):
    """Batch norm, a dense layer and dropout."""

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.Dense(3)(BatchNorm()(x, train))
        return nn.Dropout(0.5, deterministic=not train)(x), None


def test_views_pass_together_under_one_batch_norm_and_come_back_apart():
    views = jnp.asarray(np.random.default_rng(0).normal(size=(4, 2, 5)), jnp.float32)
    key = jax.random.key(0)
    params, stats = start(Net(), key, views[:, 0])
    (together, _), after = forward_together(Net(), params, stats, views, key)
    (flat, _), same = forward(Net(), params, stats, views.reshape(8, 5), key)
    assert together.shape == (4, 2, 3)
    np.testing.assert_array_equal(together[:, 1], flat[1::2])
    jax.tree.map(np.testing.assert_array_equal, after, same)
    mean = after["batch_stats"]["BatchNorm_0"]["mean"]
    np.testing.assert_allclose(mean, 0.1 * views.mean((0, 1)), rtol=1e-5)
