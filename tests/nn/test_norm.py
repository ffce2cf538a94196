import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jax.test_util import check_grads

from jssl.nn import BatchNorm, LayerNorm


def test_batch_norm_against_numpy(x64):
    rng = np.random.default_rng(0)
    x = rng.normal(2.0, 3.0, size=(6, 4, 5, 3))
    scale, bias = rng.normal(size=3), rng.normal(size=3)
    mean, var = rng.normal(size=3), rng.uniform(1, 2, size=3)
    v = jax.tree.map(
        jnp.asarray,
        {
            "params": {"scale": scale, "bias": bias},
            "batch_stats": {"mean": mean, "var": var},
        },
    )
    m = BatchNorm(param_dtype=jnp.float64)
    y, new = m.apply(v, jnp.asarray(x), True, mutable=["batch_stats"])
    mu, s2 = x.mean((0, 1, 2)), x.var((0, 1, 2))
    want = (x - mu) / np.sqrt(s2 + 1e-5) * scale + bias
    np.testing.assert_allclose(y, want, rtol=1e-10, atol=1e-10)
    stats = new["batch_stats"]
    np.testing.assert_allclose(stats["mean"], 0.9 * mean + 0.1 * mu, rtol=1e-12)
    np.testing.assert_allclose(stats["var"], 0.9 * var + 0.1 * s2, rtol=1e-12)
    want = (x - mean) / np.sqrt(var + 1e-5) * scale + bias
    np.testing.assert_allclose(m.apply(v, jnp.asarray(x)), want, rtol=1e-10, atol=1e-10)


def test_batch_norm_gradient_against_finite_differences(x64):
    m = BatchNorm(param_dtype=jnp.float64)
    x = jax.random.normal(jax.random.key(0), (5, 3))
    v = m.init(jax.random.key(1), x, True)

    def f(params, x):
        params, x = jax.tree.map(jnp.asarray, (params, x))
        y, _ = m.apply(v | {"params": params}, x, True, mutable=["batch_stats"])
        return jnp.sin(y)

    check_grads(f, (v["params"], x), order=1, modes=["rev"], atol=1e-6, rtol=1e-6)


def test_init_leaves_running_statistics():
    v = BatchNorm().init(jax.random.key(0), jnp.full((4, 3), 7.0), True)
    np.testing.assert_array_equal(v["batch_stats"]["mean"], np.zeros(3))
    np.testing.assert_array_equal(v["batch_stats"]["var"], np.ones(3))


def test_bfloat16_keeps_statistics_in_float32():
    # 4096 ones and threes: summed in bfloat16 the mean would stick far from 2.
    x = jnp.tile(jnp.array([[1.0], [3.0]], jnp.bfloat16), (2048, 1))
    m = BatchNorm(momentum=0.0, dtype=jnp.bfloat16)
    v = m.init(jax.random.key(0), x, True)
    y, new = m.apply(v, x, True, mutable=["batch_stats"])
    assert y.dtype == jnp.bfloat16
    stats = new["batch_stats"]
    assert stats["mean"].dtype == stats["var"].dtype == jnp.float32
    np.testing.assert_allclose(stats["mean"], [2.0], rtol=1e-6)
    np.testing.assert_allclose(stats["var"], [1.0], rtol=1e-6)


def test_sharded_batch_norm_sees_the_whole_batch(x64):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    x = jax.random.normal(jax.random.key(0), (16, 2, 2, 3)) * jnp.arange(1.0, 17.0).reshape(
        16, 1, 1, 1
    )
    m = BatchNorm(param_dtype=jnp.float64)
    v = m.init(jax.random.key(1), x, True)
    f = jax.jit(lambda x: m.apply(v, x, True, mutable=["batch_stats"]))
    whole = f(x)
    sharded = f(jax.device_put(x, NamedSharding(mesh, PartitionSpec("data"))))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), whole, sharded)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_layer_norm_against_numpy(dtype):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(5.0, 2.0, size=(4, 7, 16)), dtype)
    v = {
        "params": {
            "scale": jnp.asarray(rng.normal(size=16), jnp.float32),
            "bias": jnp.asarray(rng.normal(size=16), jnp.float32),
        }
    }
    y = LayerNorm(dtype=dtype).apply(v, x)
    assert y.dtype == dtype
    x64 = np.asarray(x, np.float64)
    want = (x64 - x64.mean(-1, keepdims=True)) / np.sqrt(x64.var(-1, keepdims=True) + 1e-6)
    want = want * np.asarray(v["params"]["scale"]) + np.asarray(v["params"]["bias"])
    tolerance = 2e-2 if dtype == jnp.bfloat16 else 1e-5
    np.testing.assert_allclose(np.asarray(y, np.float64), want, rtol=tolerance, atol=tolerance)


def test_layer_norm_without_scale_and_bias_has_no_parameters():
    v = LayerNorm(use_scale=False, use_bias=False).init(jax.random.key(0), jnp.ones((2, 3)))
    assert not v.get("params")
