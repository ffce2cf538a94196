import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from jssl.augment import corruptions
from jssl.augment.corruptions import CORRUPTIONS, corrupt
from jssl.augment.jpeg import jpeg

KEY = jax.random.key(0)


def pictures(n=2, h=40, w=33, c=3):
    """Smooth ones with some noise, of whole levels."""
    rng = np.random.default_rng(0)
    x = ndimage.gaussian_filter(rng.random((n, h, w, c)), (0, 4, 4, 0))
    x = (x - x.min()) / np.ptp(x) + 0.05 * rng.normal(size=x.shape)
    return np.round(255 * np.clip(x, 0, 1)) / 255


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_stronger_is_further_from_the_image(name):
    x = jnp.asarray(pictures(4, 32, 32), jnp.float32)
    assert x.shape[1] <= corruptions.SMALL
    strong = [np.asarray(corrupt(KEY, x, name=name, strength=s)) for s in (1, 5)]
    near, far = (float(np.square(y - x).mean()) for y in strong)
    assert 0 < near < far
    for y in strong:
        assert y.dtype == np.float32
        assert y.min() >= 0
        assert y.max() <= 1
    half = corrupt(KEY, x.astype(jnp.bfloat16), name=name, strength=5)
    assert half.dtype == jnp.bfloat16
    np.testing.assert_array_equal(corrupt(KEY, x, name=name, strength=5), strong[1])


def test_noise_has_the_moments_it_should(x64):
    x = jnp.full((4, 100, 100, 3), 0.4, jnp.float64)
    y = np.asarray(corruptions.gaussian_noise(KEY, x, 0.1))
    assert [y.mean(), y.std()] == pytest.approx([0.4, 0.1], rel=0.02)
    y = np.asarray(corruptions.shot_noise(KEY, x, 60))
    assert [y.mean(), y.std()] == pytest.approx([0.4, np.sqrt(0.4 / 60)], rel=0.02)
    y = np.asarray(corruptions.impulse_noise(KEY, x, 0.1))
    assert [(y == 0).mean(), (y == 1).mean()] == pytest.approx([0.05, 0.05], abs=0.005)


def test_brightness_and_contrast_are_those_of_the_released_code(x64):
    import colorsys

    x = pictures(1, 5, 6)
    x[0, 0, 0] = 0
    found = np.asarray(corruptions.brightness(KEY, jnp.asarray(x), 0.3))
    for pixel, brighter in zip(x.reshape(-1, 3), found.reshape(-1, 3), strict=True):
        h, s, v = colorsys.rgb_to_hsv(*pixel)
        expected = colorsys.hsv_to_rgb(h, s, min(v + 0.3, 1))
        np.testing.assert_allclose(brighter, expected, atol=1e-12)
    mean = x.mean(axis=(1, 2), keepdims=True)
    found = corruptions.contrast(KEY, jnp.asarray(x), 0.2)
    np.testing.assert_allclose(found, 0.2 * (x - mean) + mean, atol=1e-12)


@pytest.mark.parametrize("level", [0.95, 0.65, 0.25])
def test_pixels_are_pillows(level):
    x = pictures(1)[0]
    small = int(33 * level), int(40 * level)
    image = Image.fromarray((255 * x).round().astype(np.uint8))
    pillow = image.resize(small, Image.Resampling.BOX).resize((33, 40), Image.Resampling.BOX)
    found = corruptions.pixelate(KEY, jnp.asarray(x[None], jnp.float32), level)
    assert np.abs(255 * np.asarray(found[0]) - np.asarray(pillow)).max() <= 1.01


@pytest.mark.parametrize(("radius", "rim"), [(0.3, 0.4), (1.5, 0.1), (4, 0.5), (10, 0.5)])
def test_defocus_is_a_convolution_with_a_smooth_disk(x64, radius, rim):
    x = pictures(1)
    reach, taps = (8, 3) if radius <= 8 else (radius, 5)
    at = np.arange(-reach, reach + 1)
    disk = (at[:, None] ** 2 + at**2 <= radius**2).astype(float)
    g = np.exp(-((np.arange(taps) - taps // 2) ** 2) / (2 * rim**2))
    g /= g.sum()
    kernel = ndimage.convolve(disk / disk.sum(), np.outer(g, g), mode="mirror")
    expected = ndimage.convolve(x, kernel[None, :, :, None], mode="mirror")
    found = corruptions.defocus_blur(KEY, jnp.asarray(x), (radius, rim))
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert np.abs(expected - x).max() > 0.01


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("quality", [80, 40, 7])
def test_jpeg_loses_what_pillows_does(channels, quality):
    x = pictures(1, c=channels)[0]
    pixels = (255 * x).round().astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels if channels == 3 else pixels[..., 0]).save(file, "JPEG", quality=quality)
    pillow = np.asarray(Image.open(file), float).reshape(x.shape)
    found = 255 * np.asarray(jpeg(KEY, jnp.asarray(x[None], jnp.float32), quality))[0]
    lost = np.abs(pillow - 255 * x).mean()
    # Rounding apart; without halving the colours it would be half of what is lost.
    assert np.abs(found - pillow).mean() < 0.12 * lost
    assert lost > 1


def test_unknown_names_and_strengths_are_refused():
    x = jnp.zeros((1, 8, 8, 1))
    with pytest.raises(ValueError, match="name must be one of gaussian_noise"):
        corrupt(KEY, x, name="fog", strength=1)
    with pytest.raises(ValueError, match="strength must be a whole number from 1 to 5, got 6"):
        corrupt(KEY, x, name="jpeg", strength=6)
