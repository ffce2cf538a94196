"""RandAugment's operations against Pillow's own, which knows whole 255ths alone; its draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from jssl.augment import compose, rand_augment
from jssl.augment.rand_augment import OPERATIONS

SIDE = 32
RNG = np.random.default_rng(0)


def pictures():
    """Noise; a ramp; a dark picture of few values; one value alone."""
    x = RNG.integers(0, 256, (4, SIDE, SIDE, 3), np.uint8)
    x[1] = np.linspace(20, 210, SIDE).astype(np.uint8)[None, :, None]
    x[1, :, :, 1] //= 2
    x[2] //= 8
    x[3] = 77
    return x


def grey_outside(x, data):
    """Pillow's affine transform, nearest neighbour, on grey."""
    return x.transform(x.size, Image.Transform.AFFINE, data, fillcolor=(128, 128, 128))


def pillow(x, name, tenths, sign):
    m = tenths / 10
    enhance = {
        "color": ImageEnhance.Color,
        "contrast": ImageEnhance.Contrast,
        "brightness": ImageEnhance.Brightness,
        "sharpness": ImageEnhance.Sharpness,
    }
    if name in enhance:
        return enhance[name](x).enhance(0.1 + 1.8 * m)
    shear, shift = sign * 0.3 * m, sign * int(tenths * 10 / 10)
    return {
        "identity": lambda: x,
        "auto_contrast": lambda: ImageOps.autocontrast(x),
        "equalize": lambda: ImageOps.equalize(x),
        "posterize": lambda: ImageOps.posterize(x, 4 - int(tenths * 4 / 10)),
        "solarize": lambda: ImageOps.solarize(x, 256 - int(tenths * 256 / 10)),
        "rotate": lambda: x.rotate(sign * 30 * m, fillcolor=(128, 128, 128)),
        "shear_x": lambda: grey_outside(x, (1, shear, 0, 0, 1, 0)),
        "shear_y": lambda: grey_outside(x, (1, 0, 0, shear, 1, 0)),
        "translate_x": lambda: grey_outside(x, (1, 0, shift, 0, 1, 0)),
        "translate_y": lambda: grey_outside(x, (1, 0, 0, 0, 1, shift)),
    }[name]()


APPLY = jax.jit(rand_augment.apply)


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize(("tenths", "sign"), [(3, 1), (7, -1), (9, 1)])
def test_pillow(name, tenths, sign):
    """Within one 255th and a rounded grey; one pixel in 200 may be a neighbour's after a move."""
    x = pictures()
    theirs = np.stack([np.asarray(pillow(Image.fromarray(i), name, tenths, sign)) for i in x])
    n = len(x)
    ours = APPLY(
        jnp.asarray(x / np.float32(255)),
        jnp.full(n, OPERATIONS.index(name)),
        jnp.full(n, tenths / 10),
        jnp.full(n, sign < 0),
    )
    error = np.abs(255 * np.asarray(ours, np.float64) - theirs)
    exact = name in ("identity", "equalize", "posterize", "solarize")
    off = error > (1e-3 if exact else 2.0)
    assert off.mean() <= (0.005 if name in rand_augment.AFFINE else 0), (error.max(), off.mean())


def test_operations_are_drawn_evenly_and_half_are_left_out():
    n = 4000
    x = jnp.linspace(0.1, 0.7, 16).reshape(1, 4, 4, 1) ** 2
    x = jnp.broadcast_to(x, (n, 4, 4, 1))

    @jax.jit
    def draw(key, x):
        some, always = (rand_augment.rand_augment(key, x, 1, m) for m in (None, 1.0))
        return jnp.all(some == x, axis=(1, 2, 3)).mean(), always

    same, always = draw(jax.random.key(0), x)
    # Of one channel `color` changes nothing either, and at 4 pixels small moves do not.
    assert abs(jnp.all(always == x, axis=(1, 2, 3)).mean() - 2 / 14) < 0.02
    assert 0.5 + 0.5 * 2 / 14 - 0.02 < same < 0.8
    kinds = np.unique(np.asarray(always).reshape(n, -1).round(4), axis=0, return_counts=True)[1]
    # Five moves in two ways each, seven others, and what changes nothing.
    assert len(kinds) == 18
    np.testing.assert_allclose(sorted(kinds / n)[:10], 1 / 28, atol=0.012)


@pytest.mark.parametrize("channels", [1, 4])
def test_as_part_of_a_view(channels):
    x = jnp.asarray(RNG.random((6, 16, 16, channels), np.float32))
    plain = {"jitter_p": 0.0, "grayscale_p": 0.0, "blur_p": 0.0, "mean": 0.5, "std": 1.0}
    weak = compose.image_view(16, padding=2, **plain)
    full = compose.image_view(16, padding=2, rand_augment=2, cutout=0.5, **plain)
    a, b = (jax.jit(view)(jax.random.key(1), x) for view in (weak, full))
    assert b.shape == x.shape
    assert jnp.isfinite(b).all()
    assert float(jnp.abs(b).max()) <= 0.5
    # The strong view is the weak one, changed: at least a quarter of the square is on the image.
    covered = jnp.all(b == 0, axis=-1).mean((1, 2))
    assert covered.min() >= 1 / 16
    assert float(jnp.all(a == 0, axis=-1).mean()) < 0.01
    narrow = jax.eval_shape(full, jax.random.key(1), x.astype(jnp.bfloat16))
    assert narrow.dtype == jnp.bfloat16


def test_shifts_mirror_the_edges():
    x = jnp.asarray(RNG.random((40, 5, 6, 1), np.float32))
    moved = jax.jit(lambda key, x: compose.image.pad_and_crop(key, x, padding=2, reflect=True))(
        jax.random.key(0), x
    )
    padded = np.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="reflect")
    places = set()
    for one, wide in zip(np.asarray(moved), padded, strict=True):
        found = [
            (i, j) for i in range(5) for j in range(5) if (wide[i : i + 5, j : j + 6] == one).all()
        ]
        assert found
        places |= set(found)
    assert {i for i, _ in places} == {j for _, j in places} == set(range(5))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: rand_augment.rand_augment(jax.random.key(0), x, 0), "count must be at least 1"),
        (lambda x: rand_augment.rand_augment(jax.random.key(0), x, 1, 1.5), "magnitude must be in"),
        (lambda x: rand_augment.cutout(jax.random.key(0), x, 1.5), "side must be in"),
    ],
)
def test_bad_options(call, message):
    with pytest.raises(ValueError, match=message):
        call(jnp.zeros((1, 4, 4, 3)))
