"""Colour against torchvision and the standard library; draws against stated distributions."""

import colorsys
import itertools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jssl.augment import color, image

GOLDEN = np.load(Path(__file__).parent / "golden" / "torchvision.npz")
KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
ADJUST = {
    "brightness": color.adjust_brightness,
    "contrast": color.adjust_contrast,
    "saturation": color.adjust_saturation,
    "hue": color.adjust_hue,
}


@jax.jit
def golden_operations(x, factors):
    out = {name: adjust(x, factors[name]) for name, adjust in ADJUST.items()}
    out |= {f"{name}_1": adjust(x[..., :1], factors[name]) for name, adjust in ADJUST.items()}
    out["grayscale"] = color.rgb_to_grayscale(x)
    out["solarize"] = color.solarize(KEY, x, p=1.0)
    return out


def assert_golden(dtype, atol, atol_hue):
    factors = {name: GOLDEN[f"{name}_factor"] for name in ADJUST}
    for name, ours in golden_operations(jnp.asarray(GOLDEN["x"], dtype), factors).items():
        assert ours.dtype == dtype
        error = np.abs(np.asarray(ours, np.float64) - GOLDEN[name]).max()
        assert error <= (atol_hue if name == "hue" else atol), f"{name}: {error}"


def test_torchvision_float32():
    assert_golden(jnp.float32, atol=5e-7, atol_hue=1e-6)


@pytest.mark.usefixtures("x64")
def test_torchvision_float64():
    """torchvision turns hues in float32; the rest is the rounding of the stored values."""
    assert_golden(jnp.float64, atol=3.1e-8, atol_hue=1e-6)


def test_bfloat16_is_near_float32():
    assert_golden(jnp.bfloat16, atol=0.01, atol_hue=0.03)


@pytest.mark.usefixtures("x64")
def test_hue_is_that_of_the_standard_library():
    grid = np.asarray(list(itertools.product([0, 0.2, 0.5, 1], repeat=3)))
    x = np.concatenate([grid, RNG.random((200, 3))])
    turn = jax.jit(color.adjust_hue)
    for factor in (-0.5, -0.31, 0.0, 0.1, 0.5):
        ours = turn(jnp.asarray(x)[None, :, None], jnp.asarray([factor]))
        hsv = [colorsys.rgb_to_hsv(*pixel) for pixel in x]
        theirs = [colorsys.hsv_to_rgb((h + factor) % 1, s, v) for h, s, v in hsv]
        np.testing.assert_allclose(ours[0, :, 0], theirs, atol=1e-12)


@pytest.mark.parametrize("channels", [1, 2, 4, 7])
def test_brightness_and_contrast_of_any_channels(channels):
    """Contrast: the mean of all values takes the place of the mean luma."""
    x = RNG.random((3, 5, 4, channels), np.float32)
    factor = np.float32([0.3, 1.0, 1.9])[:, None, None, None]
    mean = x.mean((1, 2, 3), keepdims=True)
    ours = color.adjust_brightness(jnp.asarray(x), jnp.asarray(factor.reshape(-1)))
    np.testing.assert_allclose(ours, np.clip(factor * x, 0, 1), atol=1e-6)
    ours = color.adjust_contrast(jnp.asarray(x), jnp.asarray(factor.reshape(-1)))
    np.testing.assert_allclose(ours, np.clip(factor * x + (1 - factor) * mean, 0, 1), atol=1e-6)


@pytest.mark.parametrize(
    "strengths",
    [(0.8, 0.8, 0.8, 0.2), (0.9, 0.0, 0.9, 0.5), (0.9, 0.9, 0.0, 0.0), (0, 0, 0, 0.4)],
    ids=str,
)
def test_jitter_runs_every_order(strengths):
    """Every order of the operations asked for comes up once among equally spaced draws."""
    strengths = dict(zip(ADJUST, strengths, strict=True))
    names = [name for name, strength in strengths.items() if strength > 0]
    orders = list(itertools.permutations(names))
    n = len(orders)
    # Rows: whether, which order, the factors of up to three operations that are asked for, hue.
    u = np.repeat(np.float32([0, 0, 0.95, 0.9, 0.85, 0.9])[:, None], n, axis=1)
    u[1] = (np.arange(n) + 0.5) / n
    picture = RNG.random((4, 4, 3), np.float32)
    x = jnp.asarray(np.stack([picture] * n))
    ours = np.asarray(jax.jit(lambda u, x: color.color_jitter(u, x, **strengths, p=1.0))(u, x))

    adjust = {name: jax.jit(function) for name, function in ADJUST.items()}
    factors = {"hue": (2 * u[5, :1] - 1) * strengths["hue"]}
    for name, draw in zip([name for name in names if name != "hue"], u[2:, :1], strict=False):
        low, high = max(0, 1 - strengths[name]), 1 + strengths[name]
        factors[name] = low + (high - low) * draw
    expected = []
    for order in orders:
        y = x[:1]
        for name in order:
            y = adjust[name](y, factors[name])
        expected.append(np.asarray(y[0]))
    distance = np.abs(ours[:, None] - np.stack(expected)[None]).max((2, 3, 4))
    equal = distance < 2e-6
    assert (equal.sum(0) == 1).all()
    assert (equal.sum(1) == 1).all()


def test_orders_are_uniform():
    u = image.draws(KEY, 6, 24_000)
    counts = np.bincount(np.asarray(image.integers(u[1], 24)), minlength=24)
    assert stats.chisquare(counts).pvalue > 1e-3


def jittered(x, p=1.0, **strengths):
    none = dict.fromkeys(ADJUST, 0.0)
    x = jnp.asarray(np.broadcast_to(np.float32(x), (3000, *np.shape(x))))
    return np.asarray(jax.jit(lambda x: color.color_jitter(KEY, x, **none | strengths, p=p))(x))


@pytest.mark.parametrize("strength", [0.4, 1.3])
@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_factors_are_uniform(name, strength):
    """Two pixels, far enough from 0 and 1 not to be clipped, tell the factor."""
    x = np.asarray([[[0.4, 0.42, 0.43], [0.4, 0.38, 0.37]]])
    y = jittered(x, **{name: strength})
    if name == "brightness":
        factor = y[:, 0, 0, 0] / x[0, 0, 0]
    elif name == "contrast":
        factor = (y[:, 0, 0, 2] - y[:, 0, 1, 2]) / (x[0, 0, 2] - x[0, 1, 2])
    else:
        factor = (y[:, 0, 0, 2] - y[:, 0, 0, 0]) / (x[0, 0, 2] - x[0, 0, 0])
    low = max(0, 1 - strength)
    assert stats.kstest(factor, stats.uniform(low, 1 + strength - low).cdf).pvalue > 1e-3


def test_hue_turns_are_uniform():
    red = jittered([[[0.9, 0.1, 0.1]]], hue=0.15)[:, 0, 0]
    turn = np.asarray([colorsys.rgb_to_hsv(*map(float, pixel))[0] for pixel in red])
    turn = (turn + 0.5) % 1 - 0.5
    assert stats.kstest(turn, stats.uniform(-0.15, 0.3).cdf).pvalue > 1e-3


def test_probabilities():
    x = RNG.random((2, 2, 3))
    for y, p in (
        (jittered(x, 0.8, brightness=0.8, hue=0.2), 0.8),
        (np.asarray(color.grayscale(KEY, jnp.asarray([x] * 3000), 0.2)), 0.2),
        (np.asarray(color.solarize(KEY, jnp.asarray([x] * 3000), p=0.3)), 0.3),
    ):
        changed = int((y != np.float32(x)).any((1, 2, 3)).sum())
        assert stats.binomtest(changed, 3000, p).pvalue > 1e-3


@pytest.mark.parametrize("function", [color.color_jitter, color.grayscale, color.solarize])
def test_random_operations(function):
    """One draw an example, the same bits for the same key, bfloat16 near float32."""
    jitted = jax.jit(function)
    x = jnp.asarray(np.stack([RNG.random((6, 5, 3), np.float32)] * 16)).astype(jnp.bfloat16)
    x = x.astype(jnp.float32)
    out = jitted(KEY, x)
    np.testing.assert_array_equal(out, jitted(KEY, x))
    assert not np.array_equal(out, jitted(jax.random.key(1), x))
    assert len(np.unique(np.asarray(out).reshape(16, -1), axis=0)) > 1
    assert 0 <= out.min() <= out.max() <= 1
    low = jitted(KEY, x.astype(jnp.bfloat16))
    assert low.dtype == jnp.bfloat16
    # Inside everything is float32, so only the result is rounded.
    np.testing.assert_allclose(np.float32(low), out, atol=0.003)


@pytest.mark.usefixtures("x64")
def test_float64_draws_what_float32_draws():
    x = RNG.random((8, 6, 5, 3))
    jitter = jax.jit(color.color_jitter)
    out = jitter(KEY, jnp.asarray(x))
    assert out.dtype == jnp.float64
    np.testing.assert_allclose(out, jitter(KEY, jnp.asarray(x, jnp.float32)), atol=5e-6)


def test_black_white_and_grey_stay_finite():
    x = np.broadcast_to(np.float32([0, 1, 0.5])[:, None, None, None], (3, 2, 2, 3))
    for dtype in (jnp.float32, jnp.bfloat16):
        many = jnp.asarray(np.concatenate([x] * 20), dtype)
        out = jax.jit(lambda x: color.color_jitter(KEY, x, p=1.0))(many)
        assert np.isfinite(np.float32(out)).all()
        assert np.ptp(np.float32(out), axis=-1).max() <= 1e-6


def test_one_channel():
    """Saturation, hue and grey change nothing; brightness and contrast work."""
    x = jnp.asarray(RNG.random((4, 3, 3, 1), np.float32))
    jitter = jax.jit(
        lambda x, *strengths: color.color_jitter(KEY, x, *strengths, p=1.0),
        static_argnums=(1, 2, 3, 4),
    )
    np.testing.assert_array_equal(jitter(x, 0.0, 0.0, 0.8, 0.2), x)
    np.testing.assert_array_equal(color.grayscale(KEY, x, 1.0), x)
    both = jitter(x, 0.5, 0.5, 0.8, 0.2)
    np.testing.assert_array_equal(both, jitter(x, 0.5, 0.5, 0.0, 0.0))
    assert not np.array_equal(both, x)


@pytest.mark.parametrize("channels", [2, 4, 7])
def test_other_channels_are_refused(channels):
    x = jnp.asarray(RNG.random((2, 3, 3, channels), np.float32))
    for call in (
        lambda: color.color_jitter(KEY, x, hue=0.0),
        lambda: color.color_jitter(KEY, x, saturation=0.0),
        lambda: color.grayscale(KEY, x, 0.2),
        lambda: color.adjust_hue(x, jnp.ones(2)),
        lambda: color.adjust_saturation(x, jnp.ones(2)),
        lambda: color.rgb_to_grayscale(x),
    ):
        with pytest.raises(ValueError, match=f"defined for 1 or 3 channels, got {channels}"):
            call()
    np.testing.assert_array_equal(color.grayscale(KEY, x, 0.0), x)
    jitter = jax.jit(lambda x: color.color_jitter(KEY, x, saturation=0.0, hue=0.0))
    assert jax.eval_shape(jitter, x).shape == x.shape


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"brightness": -0.1}, "brightness must be at least 0, got -0.1"),
        ({"saturation": -1.0}, "saturation must be at least 0, got -1.0"),
        ({"hue": 0.6}, r"hue must be in \[0, 0.5\], got 0.6"),
        ({"p": -0.1}, r"p must be in \[0, 1\], got -0.1"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(lambda x: color.color_jitter(KEY, x, **arguments), jnp.zeros((1, 2, 2, 3)))


def test_threshold_error():
    with pytest.raises(ValueError, match=r"threshold must be in \[0, 1\], got 128"):
        color.solarize(KEY, jnp.zeros((1, 2, 2, 3)), 128.0)
