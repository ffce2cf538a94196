"""Geometry, blur and scaling against torchvision and Pillow; draws against stated distributions."""

import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest
from scipy import stats

from jssl.augment import image

GOLDEN = np.load(Path(__file__).parent / "golden" / "torchvision.npz")
KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
RANDOM = {
    "crop": lambda k, x: image.random_resized_crop(k, x, (6, 5)),
    "flip": image.random_flip,
    "pad": image.pad_and_crop,
    "blur": image.gaussian_blur,
}


@jax.jit
def golden_operations(x, sigma, boxes):
    """Ours, by the names of the golden values."""
    out = {}
    for size in ((5, 4), (18, 13), (7, 16)):
        for kind in ("antialias", "plain"):
            name = f"{size[0]}x{size[1]}_{kind}"
            out[f"crop_{name}"] = image.crop_resize(x, boxes, size, kind == "antialias")
            out[f"resize_{name}"] = image.resize(x, size, kind == "antialias")
    out["blur_3"] = image.blur(x, sigma, 3)
    out["blur_9"] = image.blur(x, sigma, 9)
    out["center_crop"] = image.center_crop(x, (9, 6))
    out["normalize"] = image.normalize(x, [0.485, 0.456, 0.406], [0.2, 0.3, 0.4])
    return out


def assert_golden(dtype, atol, rtol):
    x = jnp.asarray(GOLDEN["x"], dtype)
    for name, ours in golden_operations(x, GOLDEN["sigma"], GOLDEN["boxes"]).items():
        assert ours.dtype == dtype
        ours = np.asarray(ours, np.float64)
        np.testing.assert_allclose(ours, GOLDEN[name], atol=atol, rtol=rtol, err_msg=name)


def test_torchvision_float32():
    assert_golden(jnp.float32, atol=1e-6, rtol=1e-6)


@pytest.mark.usefixtures("x64")
def test_torchvision_float64():
    """What is left is the rounding of the stored float32 values."""
    assert_golden(jnp.float64, atol=3e-8, rtol=6e-8)


def test_bfloat16_is_near_float32():
    assert_golden(jnp.bfloat16, atol=0.012, rtol=0.015)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
def test_crop_resize_is_pillows(channels):
    """Pillow's bilinear filter on float images: an antialiased resize of a cropped picture."""
    n, h, w = 12, 40, 33
    x = RNG.random((n, h, w, channels), np.float32)
    sides = RNG.integers(1, (h + 1, w + 1), (n, 2))
    corners = np.floor(RNG.random((n, 2)) * ((h, w) - sides + 1)).astype(np.int64)
    for size in ((11, 17), (50, 28)):
        boxes = jnp.asarray(np.concatenate([corners, sides], 1), jnp.int32)
        ours = np.asarray(jax.jit(image.crop_resize, static_argnums=2)(x, boxes, size))
        for i, (top, left, height, width) in enumerate(np.asarray(boxes)):
            for c in range(channels):
                picture = PIL.Image.fromarray(x[i, top : top + height, left : left + width, c])
                theirs = picture.resize(size[::-1], PIL.Image.Resampling.BILINEAR)
                np.testing.assert_allclose(ours[i, :, :, c], np.asarray(theirs), atol=2e-6)


def test_crop_of_the_whole_image_changes_no_bit():
    x = jnp.asarray(RNG.random((2, 9, 12, 3), np.float32))
    boxes = jnp.asarray([[0, 0, 9, 12]] * 2, jnp.int32)
    crop = jax.jit(lambda x, boxes: image.crop_resize(x, boxes, (9, 12)))
    np.testing.assert_array_equal(crop(x, boxes), x)
    np.testing.assert_array_equal(image.resize(x, (9, 12)), x)


def torchvision_boxes(n, h, w, scale, ratio):
    """RandomResizedCrop.make_params of torchvision 0.28, in NumPy."""
    boxes = []
    for _ in range(n):
        for _ in range(10):
            area = h * w * RNG.uniform(*scale)
            aspect = math.exp(RNG.uniform(*np.log(ratio)))
            width = round(math.sqrt(area * aspect))
            height = round(math.sqrt(area / aspect))
            if 0 < width <= w and 0 < height <= h:
                top = RNG.integers(0, h - height + 1)
                left = RNG.integers(0, w - width + 1)
                break
        else:
            if w / h < min(ratio):
                width, height = w, round(w / min(ratio))
            elif w / h > max(ratio):
                width, height = round(h * max(ratio)), h
            else:
                width, height = w, h
            top, left = (h - height) // 2, (w - width) // 2
        boxes.append((top, left, height, width))
    return np.asarray(boxes)


@pytest.mark.parametrize(
    ("h", "w", "scale", "ratio"),
    [
        (37, 53, (0.08, 1.0), (3 / 4, 4 / 3)),
        (32, 32, (0.2, 1.0), (3 / 4, 4 / 3)),
        (90, 41, (0.5, 1.0), (3 / 4, 4 / 3)),  # often none of the ten fits
        (224, 224, (0.05, 0.3), (1 / 3, 2.0)),
    ],
)
def test_boxes_are_drawn_as_torchvision_draws_them(h, w, scale, ratio):
    n = 6000
    draw = jax.jit(lambda key: image.random_crop_boxes(key, n, h, w, scale, ratio))
    ours = np.asarray(draw(KEY), np.int64)
    theirs = torchvision_boxes(n, h, w, scale, ratio)
    assert (ours[:, :2] >= 0).all()
    assert (ours[:, 2:] >= 1).all()
    assert (ours[:, :2] + ours[:, 2:] <= (h, w)).all()
    numbers = {
        "top": lambda b: b[:, 0],
        "left": lambda b: b[:, 1],
        "height": lambda b: b[:, 2],
        "width": lambda b: b[:, 3],
        "area": lambda b: b[:, 2] * b[:, 3],
        "ratio": lambda b: b[:, 3] / b[:, 2],
    }
    for name, number in numbers.items():
        p = stats.ks_2samp(number(ours), number(theirs), method="asymp").pvalue
        assert p > 1e-3, f"{name}: p = {p}"


@pytest.mark.parametrize(
    ("h", "w", "box"), [(4, 64, [0, 29, 4, 5]), (64, 4, [30, 0, 4, 4]), (9, 10, [0, 0, 9, 10])]
)
def test_central_box_where_no_try_fits(h, w, box):
    scale = (0.99, 1.0) if min(h, w) < 9 else (1.5, 2.0)
    draw = jax.jit(lambda key: image.random_crop_boxes(key, 50, h, w, scale, (1.0, 1.25)))
    boxes = draw(KEY)
    assert (np.asarray(boxes) == box).all()


def test_flip():
    x = jnp.asarray([[0.0, 1.0]] * 4000)[:, None, :, None]
    flipped = np.asarray(image.random_flip(KEY, x, 0.3))[:, 0, 0, 0]
    assert stats.binomtest(int(flipped.sum()), 4000, 0.3).pvalue > 1e-3
    np.testing.assert_array_equal(image.random_flip(KEY, x, 1.0), x[:, :, ::-1])
    np.testing.assert_array_equal(image.random_flip(KEY, x, 0.0), x)


def test_pad_and_crop():
    """Every window is one of the padded image, and all places are equally likely."""
    n, pad = 3000, 2
    one = RNG.random((4, 5, 2), np.float32)
    crop = jax.jit(lambda key, x: image.pad_and_crop(key, x, pad, (3, 5)))
    out = np.asarray(crop(KEY, np.stack([one] * n)))
    padded = np.pad(one, ((pad, pad), (pad, pad), (0, 0)))
    windows = [padded[i : i + 3, j : j + 5] for i in range(6) for j in range(5)]
    equal = (out[:, None] == np.stack(windows)).all((2, 3, 4))
    assert (equal.sum(1) == 1).all()
    assert stats.chisquare(equal.sum(0)).pvalue > 1e-3


def test_blur_sigma_is_uniform():
    """The middle of a blurred point tells the sigma."""
    n, low, high = 3000, 0.4, 2.0
    x = jnp.zeros((n, 9, 9, 1)).at[:, 4, 4].set(1)
    function = jax.jit(lambda key, x: image.gaussian_blur(key, x, (low, high), 9, p=0.7))
    out = np.asarray(function(KEY, x))[:, 4, 4, 0]
    blurred = out < 1
    assert stats.binomtest(int(blurred.sum()), n, 0.7).pvalue > 1e-3
    sigmas = np.linspace(low, high, 2001)
    taps = np.exp(-0.5 * (np.arange(-4, 5)[None] / sigmas[:, None]) ** 2)
    peak = (taps[:, 4] / taps.sum(1)) ** 2
    drawn = np.interp(-out[blurred], -peak, sigmas)
    assert stats.kstest(drawn, stats.uniform(low, high - low).cdf).pvalue > 1e-3


@pytest.mark.parametrize(("height", "taps"), [(224, 23), (96, 9), (32, 3), (8, 3)])
def test_blur_size_is_a_tenth_of_the_height(height, taps):
    x = jnp.zeros((1, height, 40, 1)).at[:, height // 2].set(1)
    out = jax.jit(lambda key, x: image.gaussian_blur(key, x, (50.0, 50.0), p=1.0))(KEY, x)
    assert (np.asarray(out)[0, :, 0, 0] > 0).sum() == taps


@pytest.mark.parametrize("name", RANDOM)
def test_random_operations(name):
    """One draw an example, the same bits for the same key, bfloat16 near float32."""
    function = jax.jit(RANDOM[name])
    x = jnp.asarray(np.stack([RNG.random((12, 10, 3), np.float32)] * 16))
    out = function(KEY, x)
    np.testing.assert_array_equal(out, function(KEY, x))
    assert not np.array_equal(out, function(jax.random.key(1), x))
    assert len(np.unique(np.asarray(out).reshape(16, -1), axis=0)) > 1
    assert 0 <= out.min() <= out.max() <= 1 + 1e-6
    low = function(KEY, x.astype(jnp.bfloat16))
    assert low.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.float32(low), out, atol=0.012)


@pytest.mark.parametrize("name", RANDOM)
def test_channels_are_treated_alike(name):
    """Any number of channels: each is what it would be alone, since the draws do not look at it."""
    x = jnp.asarray(RNG.random((6, 12, 10, 7), np.float32))
    u = image.draws(KEY, {"crop": 22, "flip": 1, "pad": 2, "blur": 2}[name], 6)
    counts = (1, 2, 3, 4, 7)
    outs = jax.jit(lambda u, x: [RANDOM[name](u, x[..., :c]) for c in counts])(u, x)
    for channels, out in zip(counts, outs, strict=True):
        assert out.shape[-1] == channels
        np.testing.assert_allclose(out, outs[-1][..., :channels], atol=1e-6)
    with pytest.raises(ValueError, match="draws must be"):
        RANDOM[name](jnp.zeros((40, 6)), x)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", RANDOM)
def test_float64_draws_what_float32_draws(name):
    x = RNG.random((8, 12, 10, 3))
    function = jax.jit(RANDOM[name])
    out = function(KEY, jnp.asarray(x))
    assert out.dtype == jnp.float64
    np.testing.assert_allclose(out, function(KEY, jnp.asarray(x, jnp.float32)), atol=1e-6)


def test_as_float():
    for dtype, top in ((np.uint8, 255), (np.uint16, 65535)):
        stored = np.asarray([0, 1, top // 3, top], dtype).reshape(1, 2, 2, 1)
        out = image.as_float(jnp.asarray(stored))
        assert out.dtype == jnp.float32
        np.testing.assert_allclose(out, stored / top, rtol=1e-7)
        assert image.as_float(jnp.asarray(stored), jnp.bfloat16).dtype == jnp.bfloat16
    x = jnp.asarray(RNG.normal(size=(1, 2, 2, 1)), jnp.float32)
    np.testing.assert_array_equal(image.as_float(x), x)
    with pytest.raises(ValueError, match="uint8, uint16 or float, got int32"):
        image.as_float(jnp.zeros((1, 2, 2, 1), jnp.int32))


def test_denormalize_undoes_normalize():
    x = jnp.asarray(RNG.random((2, 4, 4, 3), np.float32))
    for mean, std in ((0.3, 0.2), ([0.1, 0.5, 0.9], [0.5, 1.0, 2.0])):
        z = image.normalize(x, mean, std)
        np.testing.assert_allclose(image.denormalize(z, mean, std), x, atol=1e-6)
        np.testing.assert_allclose(z, (np.asarray(x) - mean) / std, atol=1e-6)


X = jnp.zeros((2, 8, 6, 3))
ONE = jnp.ones(2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: image.resize(X, 0), "size must be >= 1, got"),
        (lambda: image.random_resized_crop(KEY, X, 4, (0.0, 1.0)), "scale must be .low, high."),
        (lambda: image.random_resized_crop(KEY, X, 4, (0.5, 0.2)), "scale must be .low, high."),
        (lambda: image.random_resized_crop(KEY, X, 4, ratio=(2.0, 1.0)), "ratio must be"),
        (lambda: image.random_flip(KEY, X, 1.5), r"p must be in \[0, 1\], got 1.5"),
        (lambda: image.center_crop(X, 7), "size must be at most the image's"),
        (lambda: image.pad_and_crop(KEY, X, -1), "padding must be at least 0, got -1"),
        (lambda: image.pad_and_crop(KEY, X, 1, 9), "size must be at most the padded"),
        (lambda: image.blur(X, ONE, 4), "kernel_size must be odd and >= 1, got 4"),
        (lambda: image.blur(X, ONE, 13), "kernel_size must be at most 11 here, got 13"),
        (lambda: image.gaussian_blur(KEY, X, (0.0, 1.0)), "sigma must be"),
        (lambda: image.normalize(X, [0.1, 0.2], 1.0), "mean must have 1 or 3 values, got 2"),
        (lambda: image.normalize(X, 0.1, [1.0, 0.0, 1.0]), "std must be > 0"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
