"""Teachers, and passing views through a network."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jssl.nn import teacher
from jssl.nn.forward import forward, forward_apart, forward_together, start
from jssl.nn.norm import BatchNorm


def test_the_momentum_rises_to_one_along_a_cosine():
    """Grill et al. 2020, section 3.3: tau = 1 - (1 - tau_base) (cos(pi k / K) + 1) / 2."""
    steps = np.arange(0, 101, 25)
    rates = [float(teacher.slowing(0.9, jnp.asarray(s), 100)) for s in steps]
    tau = 1 - (1 - 0.9) * (np.cos(np.pi * steps / 100) + 1) / 2
    np.testing.assert_allclose(rates, 1 - tau, atol=1e-7)


def test_the_momentum_goes_along_a_line_and_stays():
    steps = np.asarray([0, 1, 25, 50, 80])
    rates = [float(teacher.linear(0.9, 0.98, jnp.asarray(s), 50)) for s in steps]
    tau = np.interp(steps, [0, 50], [0.9, 0.98])
    np.testing.assert_allclose(rates, 1 - tau, atol=1e-7)


def test_a_teacher_follows_and_keeps_its_dtypes():
    old = {"a": jnp.asarray([1.0, 2.0]), "b": jnp.asarray([3.0], jnp.bfloat16)}
    new = {"a": jnp.asarray([2.0, 0.0]), "b": jnp.asarray([5.0], jnp.bfloat16)}
    moved = teacher.follow(old, new, 0.25)
    np.testing.assert_allclose(moved["a"], [1.25, 1.5])
    assert moved["b"].dtype == jnp.bfloat16
    assert float(moved["b"][0]) == 3.5


def test_a_teacher_begins_as_a_copy_less_what_it_has_no_use_for_and_follows_the_rest():
    params = {"encoder": jnp.ones(2), "predictor": jnp.ones(3)}
    stats = {"batch_stats": {"encoder": jnp.zeros(2), "predictor": jnp.zeros(3)}}
    state = teacher.begin(params, stats, without="predictor")
    assert state["stats"] is stats
    assert state["teacher"].keys() == state["teacher_stats"]["batch_stats"].keys() == {"encoder"}
    buffer = params["encoder"].unsafe_buffer_pointer()
    assert state["teacher"]["encoder"].unsafe_buffer_pointer() != buffer
    moved = teacher.follow(state["teacher"], jax.tree.map(lambda x: 3 * x, params), 0.5)
    np.testing.assert_array_equal(moved["encoder"], [2.0, 2.0])
    assert teacher.begin(params, stats)["teacher"].keys() == params.keys()


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


def test_views_pass_apart_each_under_its_own_batch_norm():
    views = jnp.asarray(np.random.default_rng(0).normal(size=(4, 2, 5)), jnp.float32)
    key = jax.random.key(0)
    params, stats = start(Net(), key, views[:, 0])
    ((first, _), (second, _)), after = forward_apart(Net(), params, stats, views, key)
    keys = jax.random.split(key)
    (one, _), between = forward(Net(), params, stats, views[:, 0], keys[0])
    (two, _), last = forward(Net(), params, between, views[:, 1], keys[1])
    np.testing.assert_array_equal(first, one)
    np.testing.assert_array_equal(second, two)
    jax.tree.map(np.testing.assert_array_equal, after, last)
