"""What Barlow Twins, VICReg and W-MSE make of their options."""

from typing import Any

import cases
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.method import Features

HEAD = {"hidden": 8, "out": 3}


class Flat(nn.Module):
    """The quickest encoder to compile."""

    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.Dense(6, dtype=self.dtype, param_dtype=self.param_dtype)(x.reshape(len(x), -1))
        return Features(x, None)


def step(name, n=8, **options):
    """Loss and metrics of a fresh method."""
    method = cases.make(name, Flat, size=4, options=HEAD | options)
    batch = cases.batch(n, size=4)
    params, state = jax.jit(method.init)(jax.random.key(0), batch)
    views = jax.jit(method.views)(jax.random.key(1), batch)
    value, out = jax.jit(method.loss)(params, state, views, jax.random.key(2), jnp.int32(0))
    return value, out.metrics


def test_scale_multiplies_the_loss_of_barlow_twins():
    np.testing.assert_allclose(
        step("barlow_twins", scale=1 / 32)[0], step("barlow_twins")[0] / 32, rtol=1e-5
    )


def test_weight_counts_what_is_off_the_diagonal():
    values = [step("barlow_twins", weight=weight)[0] for weight in (0.0, 1.0, 2.0)]
    assert values[1] > values[0]
    np.testing.assert_allclose(values[2] - values[1], values[1] - values[0], rtol=1e-3)


def test_vicreg_reports_its_three_terms():
    value, metrics = step("vicreg", invariance=3.0, variance=5.0, covariance=7.0)
    total = 3 * metrics["invariance"] + 5 * metrics["variance"] + 7 * metrics["covariance"]
    np.testing.assert_allclose(value, total, rtol=1e-5)
    assert all(metrics[name] > 0 for name in ("invariance", "variance", "covariance"))


def test_wmse_of_the_whole_batch_does_not_know_its_order():
    """With one part for all, cutting anew changes nothing; with two it does."""
    whole = [step("wmse", sub_batch=8, iterations=i)[0] for i in (1, 3)]
    np.testing.assert_allclose(*whole, rtol=1e-4)
    parts = [step("wmse", sub_batch=4, iterations=i)[0] for i in (1, 3)]
    assert abs(parts[0] - parts[1]) > 1e-3


def test_wmse_without_normalize_is_the_mean_over_dimensions():
    near, _ = step("wmse", sub_batch=8, normalize=False)
    far, _ = step("wmse", sub_batch=8)
    assert 0 < near < 4
    assert 0 < far < 4
    assert near != far


@pytest.mark.usefixtures("x64")
def test_wmse_compares_the_projections_of_one_example():
    """The views of a method that does not augment are whitened alike: nothing is left."""
    method = cases.make("wmse", Flat, size=4, dtype=jnp.float64, options=HEAD | {"sub_batch": 4})
    batch = cases.batch(8, size=4)
    params, state = jax.jit(method.init)(jax.random.key(0), batch)
    view = jax.jit(method.views)(jax.random.key(1), batch)[:, 0]
    same = jnp.stack([view, view], axis=1)
    other = jnp.stack([view, view[::-1]], axis=1)
    losses = [
        jax.jit(method.loss)(params, state, views, jax.random.key(2), jnp.int32(0))[0]
        for views in (same, other)
    ]
    assert losses[0] < 1e-12
    assert losses[1] > 0.1


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("barlow_twins", {"weight": -1.0}, r"weight must be at least 0, got -1.0"),
        ("barlow_twins", {"scale": 0.0}, r"scale must be > 0, got 0.0"),
        ("barlow_twins", {"layers": 1}, r"layers must be at least 2, got 1"),
        ("vicreg", {"variance": -1.0}, r"variance must be at least 0, got -1.0"),
        ("vicreg", {"layers": 1}, r"layers must be at least 2, got 1"),
        ("vicreg", {"n": 1}, r"vicreg needs at least 2 examples, got 1"),
        ("wmse", {"sub_batch": 3}, r"sub_batch must be more than out=3, got 3"),
        ("wmse", {"sub_batch": 6}, r"sub_batch must divide the batch of 8, got 6"),
        ("wmse", {"sub_batch": 4, "epsilon": 2.0}, r"epsilon must be in \[0, 1\], got 2.0"),
        ("wmse", {"sub_batch": 4, "iterations": 0}, r"iterations must be at least 1, got 0"),
    ],
)
def test_bad_options(name, options, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(lambda: step(name, **options))
