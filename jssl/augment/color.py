"""Colour of image batches: pure, jitted, one random draw an example.

Images are [n h w c] floats in [0, 1]. Arithmetic is float32 at least, the result has the input's
dtype. Inside, the channels of an RGB batch are three planes [n h w]: arrays whose last axis is long
make better use of a vector unit than arrays whose last axis is 3.

Brightness and contrast take any number of channels. Saturation, hue and grayscale are defined for
three (RGB), leave one-channel images as they are and refuse any other number.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jssl import require
from jssl.augment.image import Source, choose, draws, integers

# ITU-R 601-2 luma in the four digits that torchvision uses; they sum to 0.9999.
LUMA = (0.2989, 0.587, 0.114)


def rgb_to_grayscale(x: Float[Array, "n h w c"]) -> Float[Array, "n h w 1"]:
    """Luma of RGB images; one-channel images as they are.

    Raises:
      ValueError: if there are neither 1 nor 3 channels.
    """
    if not _is_rgb(x, "grayscale"):
        return x
    return _grey(_planes(x))[..., None].astype(x.dtype)


def adjust_brightness(
    x: Float[Array, "n h w c"], factor: Float[Array, " n"]
) -> Float[Array, "n h w c"]:
    """clip(factor * x, 0, 1), one factor >= 0 an image; any number of channels."""
    return jnp.clip(_wide(x, factor)[:, None, None, None] * _wide(x, x), 0, 1).astype(x.dtype)


def adjust_contrast(
    x: Float[Array, "n h w c"], factor: Float[Array, " n"]
) -> Float[Array, "n h w c"]:
    """clip(factor * x + (1 - factor) * mean, 0, 1), one factor >= 0 an image.

    The mean is one number an image: of the luma if there are three channels, else of all values.
    """
    return _join(x, _blend(_planes(x), *_shares("contrast", _wide(x, factor))))


def adjust_saturation(
    x: Float[Array, "n h w c"], factor: Float[Array, " n"]
) -> Float[Array, "n h w c"]:
    """clip(factor * x + (1 - factor) * luma, 0, 1), one factor >= 0 an image.

    Raises:
      ValueError: if there are neither 1 (unchanged) nor 3 channels.
    """
    if not _is_rgb(x, "saturation"):
        return x
    return _join(x, _blend(_planes(x), *_shares("saturation", _wide(x, factor))))


def adjust_hue(x: Float[Array, "n h w c"], factor: Float[Array, " n"]) -> Float[Array, "n h w c"]:
    """Turns the hue (of HSV) by `factor` of a full circle, one factor an image.

    Raises:
      ValueError: if there are neither 1 (unchanged) nor 3 channels.
    """
    if not _is_rgb(x, "hue"):
        return x
    return _join(x, _turn(_planes(x), _wide(x, factor)))


def color_jitter(
    key: Source,
    x: Float[Array, "n h w c"],
    brightness: float = 0.8,
    contrast: float = 0.8,
    saturation: float = 0.8,
    hue: float = 0.2,
    p: float = 0.8,
) -> Float[Array, "n h w c"]:
    """Brightness, contrast, saturation and hue by random factors, in a random order an image.

    Each image has its own factors and its own order, uniform over all orders. Hue costs the most
    and the other three are one formula, so hue is computed once: the three run in the places
    before it, those that come later standing idle, then hue, then they run in the places after it.
    The defaults are SimCLR's with strength 1 (arXiv 2002.05709, appendix A).

    Args:
      key: PRNG key.
      x: [n h w c] in [0, 1].
      brightness, contrast, saturation: the factor is uniform in [max(0, 1 - s), 1 + s]; 0 leaves
        the operation out.
      hue: the turn is uniform in [-hue, hue], in [0, 0.5]; 0 leaves it out.
      p: probability for each image to be jittered at all.

    Raises:
      ValueError: if a strength is out of range, or saturation or hue is asked for with channels
        that have none.
    """
    strengths = {"brightness": brightness, "contrast": contrast, "saturation": saturation}
    require.at_least(0, **strengths)
    if not 0 <= hue <= 0.5:
        raise ValueError(f"hue must be in [0, 0.5], got {hue}")
    if saturation > 0 and not _is_rgb(x, "saturation"):
        del strengths["saturation"]
    turns = hue > 0 and _is_rgb(x, "hue")
    names = [name for name, strength in strengths.items() if strength > 0]
    u = _wide(x, draws(key, 6, x.shape[0]))

    operations = [_shares("idle", jnp.ones_like(u[0]))]
    for name, draw in zip(names, u[2:], strict=False):
        low, high = max(0.0, 1.0 - strengths[name]), 1.0 + strengths[name]
        operations.append(_shares(name, low + draw * (high - low)))
    before, after = _schedules(len(names), turns)
    order = integers(u[1], len(before))
    planes = _apply(_planes(x), operations, jnp.asarray(before)[order])
    if turns:
        planes = _turn(planes, hue * (2 * u[5] - 1))
        planes = _apply(planes, operations, jnp.asarray(after)[order])
    return choose(u[0], p, _join(x, planes), x)


def grayscale(key: Source, x: Float[Array, "n h w c"], p: float = 0.2) -> Float[Array, "n h w c"]:
    """Replaces each RGB image by its luma, repeated three times, with probability `p`."""
    if p == 0 or not _is_rgb(x, "grayscale"):
        return x
    grey = jnp.broadcast_to(rgb_to_grayscale(x), x.shape)
    return choose(draws(key, 1, x.shape[0])[0], p, grey, x)


def solarize(
    key: Source, x: Float[Array, "n h w c"], threshold: float = 0.5, p: float = 0.2
) -> Float[Array, "n h w c"]:
    """Inverts the values that are >= `threshold`, with probability `p` for each image.

    Raises:
      ValueError: if `threshold` is not in [0, 1].
    """
    require.fraction(threshold=threshold)
    inverted = jnp.where(x >= threshold, 1 - x, x)
    return choose(draws(key, 1, x.shape[0])[0], p, inverted, x)


def _wide(x, values):
    return values.astype(np.promote_types(x.dtype, np.float32))


def _is_rgb(x, name):
    if x.shape[-1] not in (1, 3):
        channels = x.shape[-1]
        raise ValueError(f"{name} is defined for 1 or 3 channels, got {channels}: leave it out")
    return x.shape[-1] == 3


def _planes(x):
    """The channels [n h w] of RGB images; all channels in one plane [n h (w c)] of others."""
    x = _wide(x, x)
    return (
        tuple(x[..., i] for i in range(3)) if x.shape[-1] == 3 else (x.reshape(*x.shape[:2], -1),)
    )


def _join(x, planes):
    y = jnp.stack(planes, -1) if len(planes) == 3 else planes[0].reshape(x.shape)
    return y.astype(x.dtype)


def _grey(planes):
    if len(planes) == 1:
        return planes[0]
    return LUMA[0] * planes[0] + LUMA[1] * planes[1] + LUMA[2] * planes[2]


def _shares(name, factor):
    """What an operation mixes: shares [n] of the image, of its grey and of the mean grey."""
    grey = 1 - factor if name == "saturation" else jnp.zeros_like(factor)
    mean = 1 - factor if name == "contrast" else jnp.zeros_like(factor)
    return factor, grey, mean


def _blend(planes, own, grey, mean):
    own, grey, mean = (share[:, None, None] for share in (own, grey, mean))
    luma = _grey(planes)
    added = grey * luma + mean * luma.mean((1, 2), keepdims=True)
    return tuple(jnp.clip(own * plane + added, 0, 1) for plane in planes)


def _turn(planes, factor):
    """Hue of HSV turned by `factor` of a circle, without leaving RGB.

    With v the largest channel, d = v - min and the hue in sixths of a circle, red is
    v - d * clip(min(k, 4 - k), 0, 1) for k = (5 + hue) mod 6; green has 3 for 5, and blue 1.
    """
    r, g, b = planes
    v = jnp.maximum(jnp.maximum(r, g), b)
    d = v - jnp.minimum(jnp.minimum(r, g), b)
    unit = 1 / jnp.where(d == 0, 1, d)
    sixths = jnp.where(
        v == r, (g - b) * unit, jnp.where(v == g, 2 + (b - r) * unit, 4 + (r - g) * unit)
    )
    sixths = sixths + 6 * factor[:, None, None]

    def channel(shift):
        k = sixths + shift
        k = k - 6 * jnp.floor(k / 6)
        return v - d * jnp.clip(jnp.minimum(k, 4 - k), 0, 1)

    return channel(5), channel(3), channel(1)


def _schedules(count, turns):
    """All orders of operations 1..count and hue: what runs before hue and after it, 0 for idle."""
    hue = count + 1
    before, after = [], []
    for order in itertools.permutations(range(1, hue + turns)):
        place = order.index(hue) if turns else count
        before.append(order[:place] + (0,) * (count - place))
        after.append(order[place + 1 :] + (0,) * place)
    return np.asarray(before, np.int32), np.asarray(after, np.int32)


def _apply(planes, operations, schedule):
    """Runs operations[schedule[:, t]] at each place t, another operation for each image.

    A loop keeps the compiler from computing earlier places again for each channel of later ones.
    """
    if schedule.shape[1] == 0:
        return planes
    places = schedule.T
    chosen = [places == i for i in range(len(operations))]
    shares = tuple(
        jnp.select(chosen, [values[None] for values in kind])
        for kind in zip(*operations, strict=True)
    )
    return jax.lax.scan(lambda planes, share: (_blend(planes, *share), None), planes, shares)[0]
