"""Recipes: order, shapes, stacking, channels and dtypes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jssl.augment import compose, image

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.random((6, 20, 17, 3), np.float32))
STILL = {
    "scale": (1.0, 1.0),
    "ratio": (1.0, 1.0),
    "flip": 0.0,
    "jitter_p": 0.0,
    "grayscale_p": 0.0,
    "blur_p": 0.0,
}


def test_sequential_keeps_the_order_and_splits_the_key():
    keys = []

    def step(factor, offset):
        def augment(key, x):
            keys.append(jax.random.key_data(key).tolist())
            return x * factor + offset

        return augment

    out = compose.sequential(step(2, 0), step(1, 3), step(2, 0))(KEY, X)
    np.testing.assert_allclose(out, (X * 2 + 3) * 2, rtol=1e-6)
    assert len({*map(tuple, keys)}) == 3


def test_with_probability():
    x = jnp.zeros((4000, 1, 1, 2))
    out = compose.with_probability(0.3, lambda key, x: x + 1)(KEY, x)[:, 0, 0]
    assert (out[:, 0] == out[:, 1]).all()
    assert stats.binomtest(int(out[:, 0].sum()), 4000, 0.3).pvalue > 1e-3
    with pytest.raises(ValueError, match=r"p must be in \[0, 1\], got 2"):
        compose.with_probability(2.0, lambda key, x: x)(KEY, x)


def test_a_view_that_does_nothing_only_normalizes():
    x = X[:, :17]
    mean, std = compose.IMAGENET_MEAN, compose.IMAGENET_STD
    out = jax.jit(compose.image_view(17, **STILL, mean=mean, std=std))(KEY, x)
    np.testing.assert_allclose(out, (np.asarray(x) - mean) / std, atol=1e-6)


def test_each_argument_does_its_work():
    changes = {
        "nothing": {},
        "scale": {"scale": (0.1, 0.9)},
        "flip": {"flip": 1.0},
        "jitter": {"jitter_p": 1.0},
        "gray": {"grayscale_p": 1.0},
        "blur": {"blur_p": 1.0, "blur_sigma": (1.0, 2.0)},
        "solarize": {"solarize_p": 1.0},
    }
    views = {
        name: compose.image_view(17, **STILL | change, mean=0.0, std=1.0)
        for name, change in changes.items()
    }
    out = jax.jit(lambda key, x: {name: view(key, x) for name, view in views.items()})(KEY, X)
    still = np.asarray(out.pop("nothing"))
    for name, changed in out.items():
        assert (np.abs(changed - still).max((1, 2, 3)) > 0.01).all(), name
    np.testing.assert_array_equal(out["flip"], still[:, :, ::-1])
    assert np.ptp(out["gray"], axis=-1).max() == 0
    np.testing.assert_allclose(out["solarize"], np.where(still < 0.5, still, 1 - still), atol=1e-6)


def test_any_channels():
    view = compose.image_view((12, 10), solarize_p=0.2)
    x = jnp.asarray(RNG.random((8, 20, 17, 7), np.float32))
    counts = (1, 2, 3, 4, 7)
    views = jax.jit(lambda key, x: [view(key, x[..., :c]) for c in counts])
    for c, out, again in zip(counts, views(KEY, x), views(KEY, x), strict=True):
        assert out.shape == (8, 12, 10, c)
        np.testing.assert_array_equal(out, again)
        pixels = image.denormalize(out, 0.45, 0.225)
        assert -1e-6 <= pixels.min() <= pixels.max() <= 1 + 1e-6
        assert len(np.unique(np.asarray(out).reshape(8, -1), axis=0)) == 8


def test_dtypes():
    view, low_view = compose.image_view(12), compose.image_view(12, dtype=jnp.bfloat16)
    out, low = jax.jit(lambda key, x: (view(key, x), low_view(key, x)))(KEY, X)
    assert low.dtype == jnp.bfloat16
    # 0.225 is what a pixel is divided by; a bfloat16 has 8 bits.
    np.testing.assert_allclose(np.float32(low), out, atol=0.04 / 0.225)
    assert np.abs(np.float32(low) - out).mean() < 0.005 / 0.225
    with jax.enable_x64(True):
        wide = jax.eval_shape(compose.image_view(12, dtype=jnp.float64), KEY, X)
        assert wide.dtype == jnp.float64


def dim(size):
    """Something quick and random of a given output size."""
    return lambda key, x: x[:, :size, :size] * jax.random.uniform(key)


def test_two_views_stand_beside_the_batch():
    view, other, x = dim(8), image.random_flip, X[:, :8, :8]
    key1, key2 = jax.random.split(KEY)
    same, mixed = compose.two_views(view)(KEY, x), compose.two_views(view, other)(KEY, x)
    assert same.shape == mixed.shape == (6, 2, 8, 8, 3)
    np.testing.assert_array_equal(same[:, 0], view(key1, x))
    np.testing.assert_array_equal(same[:, 1], view(key2, x))
    np.testing.assert_array_equal(mixed[:, 1], other(key2, x))
    assert not np.array_equal(same[:, 0], same[:, 1])


def test_multi_crop():
    def corner(key, x):
        return x[:, :6, :6] * jax.random.uniform(key, (len(x), 1, 1, 1))

    views = compose.multi_crop(compose.two_views(dim(12)), corner, 3)(KEY, X)
    assert [v.shape for v in views] == [(6, 2, 12, 12, 3), (6, 3, 6, 6, 3)]
    # Each small view is one of its own image, and no two are alike.
    share = np.asarray(views[1] / X[:, None, :6, :6])
    np.testing.assert_allclose(share, share[:, :, :1, :1, :1] + 0 * share, rtol=1e-5)
    assert len(np.unique(share[:, :, 0, 0, 0])) == 18
    assert len(compose.multi_crop(compose.two_views(dim(12)), corner, 0)(KEY, X)) == 1
    with pytest.raises(ValueError, match="n_local must be at least 0, got -1"):
        compose.multi_crop(compose.two_views(dim(12)), corner, -1)


def test_a_sharded_batch_gives_the_same_views_without_moving_images():
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = jax.NamedSharding(mesh, jax.P("data"))
    x = jnp.asarray(RNG.random((16, 16, 16, 3), np.float32))
    views = jax.jit(compose.two_views(compose.image_view(12)), out_shardings=sharding)
    whole = views(KEY, x)
    sharded = jax.device_put(x, sharding)
    program = views.lower(KEY, sharded).compile()
    np.testing.assert_allclose(program(KEY, sharded), whole, atol=1e-5)
    for collective in ("all-to-all", "all-gather", "all-reduce", "collective-permute"):
        assert f" {collective}(" not in program.as_text(), collective
