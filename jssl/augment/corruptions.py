"""Common corruptions at five strengths: pure functions ``(key, x, level) -> x``.

Images are [n h w c] floats in [0, 1] and stay so. ImageNet-C of Hendrycks and Dietterich 2019,
arXiv 1903.12261: eight of its fifteen, with the levels of the released code, those of CIFAR-10-C
for images of up to 64 pixels. Glass, motion and zoom blur, snow, frost, fog and elastic
transformation are not here. The published sets were made by other libraries and other draws.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from jssl import require
from jssl.augment import noise
from jssl.augment.jpeg import jpeg

Level = float | tuple[float, float]
Images = Float[Array, "n h w c"]
SMALL = 64  # the largest side of an image that has the levels of CIFAR-10-C
HIGHEST = jax.lax.Precision.HIGHEST


def gaussian_noise(key: Key[Array, ""], x: Images, level: float) -> Images:
    """Adds normal noise of deviation ``level``."""
    return jnp.clip(noise.gaussian(key, x, level)[0], 0, 1)


def shot_noise(key: Key[Array, ""], x: Images, level: float) -> Images:
    """Counts photons: Poisson with a mean of ``level`` where the image is white."""
    return jnp.clip(jax.random.poisson(key, x * level).astype(x.dtype) / level, 0, 1)


def impulse_noise(key: Key[Array, ""], x: Images, level: float) -> Images:
    """Sets a share ``level`` of the values to black or white."""
    return noise.salt_and_pepper(key, x, level)[0]


def defocus_blur(key: Key[Array, ""], x: Images, level: tuple[float, float]) -> Images:
    """Spreads each point over a disk, ``level`` its radius and the deviation of its rim."""
    kernel = jnp.asarray(_disk(*level), x.dtype)
    n, h, w, c = x.shape
    r = len(kernel) // 2
    planes = jnp.moveaxis(x, 3, 1).reshape(n * c, h, w)
    planes = jnp.pad(planes, ((0, 0), (r, r), (r, r)), mode="reflect")
    y = jax.lax.conv(planes[:, None], kernel[None, None], (1, 1), "VALID", precision=HIGHEST)
    return jnp.clip(jnp.moveaxis(y.reshape(n, c, h, w), 1, 3), 0, 1)


def brightness(key: Key[Array, ""], x: Images, level: float) -> Images:
    """Adds ``level`` to the value of HSV, the largest channel; hue and saturation stay."""
    value = jnp.max(x, axis=-1, keepdims=True)
    brighter = jnp.clip(value + level, 0, 1)
    return jnp.where(value > 0, x * brighter / jnp.where(value > 0, value, 1), brighter)


def contrast(key: Key[Array, ""], x: Images, level: float) -> Images:
    """Shrinks the distance of each channel to its mean over the image to a share ``level``."""
    mean = jnp.mean(x, axis=(1, 2), keepdims=True)
    return jnp.clip((x - mean) * level + mean, 0, 1)


def pixelate(key: Key[Array, ""], x: Images, level: float) -> Images:
    """Averages boxes down to a share ``level`` of each side and repeats them, as Pillow does."""
    for axis, side in ((1, x.shape[1]), (2, x.shape[2])):
        small = max(1, int(side * level))
        through = jnp.asarray(_boxes(side, small) @ _boxes(small, side), x.dtype)
        x = jnp.moveaxis(jnp.tensordot(x, through, ((axis,), (1,)), precision=HIGHEST), -1, axis)
    return x


# Of each its five levels, for images up to `SMALL` pixels and for larger ones.
CORRUPTIONS: dict[str, tuple[Callable, tuple[Level, ...], tuple[Level, ...]]] = {
    "gaussian_noise": (
        gaussian_noise,
        (0.04, 0.06, 0.08, 0.09, 0.10),
        (0.08, 0.12, 0.18, 0.26, 0.38),
    ),
    "shot_noise": (shot_noise, (500, 250, 100, 75, 50), (60, 25, 12, 5, 3)),
    "impulse_noise": (
        impulse_noise,
        (0.01, 0.02, 0.03, 0.05, 0.07),
        (0.03, 0.06, 0.09, 0.17, 0.27),
    ),
    "defocus_blur": (
        defocus_blur,
        ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
        ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
    ),
    "brightness": (brightness, (0.05, 0.1, 0.15, 0.2, 0.3), (0.1, 0.2, 0.3, 0.4, 0.5)),
    "contrast": (contrast, (0.75, 0.5, 0.4, 0.3, 0.15), (0.4, 0.3, 0.2, 0.1, 0.05)),
    "pixelate": (pixelate, (0.95, 0.9, 0.85, 0.75, 0.65), (0.6, 0.5, 0.4, 0.3, 0.25)),
    "jpeg": (jpeg, (80, 65, 58, 50, 40), (25, 18, 15, 10, 7)),
}
STRENGTHS = (1, 2, 3, 4, 5)


@partial(jax.jit, static_argnames=("name", "strength"))
def corrupt(key: Key[Array, ""], x: Images, *, name: str, strength: int) -> Images:
    """Images under one of `CORRUPTIONS` at a strength from 1 to 5.

    Raises:
      ValueError: for any other name or strength.
    """
    require.one_of(CORRUPTIONS, name=name)
    if strength not in STRENGTHS:
        raise ValueError(f"strength must be a whole number from 1 to 5, got {strength}")
    function, small, large = CORRUPTIONS[name]
    level = (small if max(x.shape[1:3]) <= SMALL else large)[strength - 1]
    wide = x.astype(np.promote_types(x.dtype, np.float32))
    return function(key, wide, level).astype(x.dtype)


def _disk(radius: float, rim: float) -> np.ndarray:
    """A disk of sum 1, its rim smoothed by a Gaussian of 3 taps, 5 for one larger than 8 pixels."""
    reach, taps = (8, 1) if radius <= 8 else (int(radius), 2)
    at = np.arange(-reach, reach + 1)
    disk = (np.square(at)[:, None] + np.square(at) <= radius**2).astype(float)
    weights = np.exp(-np.square(np.arange(-taps, taps + 1)) / (2 * rim**2))
    around = np.pad(disk / disk.sum(), taps, mode="reflect")
    for axis in (0, 1):
        around = np.apply_along_axis(np.convolve, axis, around, weights / weights.sum(), "valid")
    least = min(reach, int(radius) + taps)  # beyond it there is nothing
    return around[reach - least : reach + least + 1, reach - least : reach + least + 1]


def _boxes(new: int, old: int) -> np.ndarray:
    """Weights [new old] of Pillow's box filter: even over the pixels whose middle is in the box."""
    scale = old / new
    middle = (np.arange(new) + 0.5) * scale
    distance = (np.arange(old) + 0.5 - middle[:, None]) / max(scale, 1)
    inside = ((distance > -0.5) & (distance <= 0.5)).astype(float)
    return inside / inside.sum(axis=1, keepdims=True)
