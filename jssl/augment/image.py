"""Geometry, blur and scaling of image batches: pure, jitted, one random draw an example.

Images are [n h w c] floats, values in [0, 1] where it matters, any number of channels. What comes
in as bfloat16 leaves as bfloat16; weights, sums and statistics are kept in float32 at least.
Resampling is two small matrix products, one an axis, so that it needs no gather. Every `key` may be
a PRNG key or, as `draws` says, random numbers drawn before.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, Key, Shaped

from jssl import require

Size = int | tuple[int, int]
# Where an augmentation takes its random numbers from: a key, or uniform numbers drawn before.
Source = Key[Array, ""] | Float[Array, "rows n"]


def as_float(
    image: Shaped[Array | np.ndarray, "n h w c"], dtype: DTypeLike = jnp.float32
) -> Float[Array, "n h w c"]:
    """Brings stored pixels to floats in [0, 1].

    Args:
      image: [n h w c]; uint8 is divided by 255, uint16 by 65535, floats are only cast.
      dtype: floating dtype of the result.

    Returns:
      [n h w c] of `dtype`.

    Raises:
      ValueError: for any other dtype.
    """
    image = jnp.asarray(image)
    if jnp.issubdtype(image.dtype, jnp.floating):
        return image.astype(dtype)
    if image.dtype not in (jnp.uint8, jnp.uint16):
        raise ValueError(f"image must be uint8, uint16 or float, got {image.dtype}")
    wide = np.promote_types(dtype, np.float32)
    return (image.astype(wide) / jnp.iinfo(image.dtype).max).astype(dtype)


def normalize(
    x: Float[Array, "n h w c"], mean: float | Sequence[float], std: float | Sequence[float]
) -> Float[Array, "n h w c"]:
    """(x - mean) / std, with one value for all channels or one a channel.

    Raises:
      ValueError: if the number of values fits neither, or a deviation is not > 0.
    """
    wide, mean, std = _statistics(x, mean, std)
    return ((wide - mean) / std).astype(x.dtype)


def denormalize(
    x: Float[Array, "*n c"], mean: float | Sequence[float], std: float | Sequence[float]
) -> Float[Array, "*n c"]:
    """x * std + mean, the inverse of `normalize`, for pictures that people look at."""
    wide, mean, std = _statistics(x, mean, std)
    return (wide * std + mean).astype(x.dtype)


def crop_resize(
    x: Float[Array, "n h w c"], boxes: Int[Array, "n 4"], size: Size, antialias: bool = True
) -> Float[Array, "n p q c"]:
    """Cuts one box out of each image and resizes it bilinearly, as torchvision's `resized_crop`.

    Only pixels inside the box count. bfloat16 images are multiplied by bfloat16 weights and summed
    in float32; float32 products run at the highest precision on every device.

    Args:
      x: [n h w c].
      boxes: [n 4] top, left, height, width in whole pixels, inside the image.
      size: height and width of the result; one number means a square.
      antialias: True widens the triangle filter by the factor of shrinking (torchvision and Pillow
        with antialias=True); False always mixes the nearest two pixels an axis. The same when
        enlarging.

    Returns:
      [n p q c] with (p, q) = `size`.
    """
    height, width = _pair(size)
    top, left, box_height, box_width = (boxes[:, i] for i in range(4))
    rows = _triangle(top, box_height, x.shape[1], height, antialias, _wide(x))
    columns = _triangle(left, box_width, x.shape[2], width, antialias, _wide(x))
    return _separable(x, rows, columns)


def random_crop_boxes(
    key: Source,
    n: int,
    h: int,
    w: int,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Int[Array, "n 4"]:
    """Draws the boxes of Inception's random crop, by torchvision's rule.

    A box has an area uniform in `scale` (of the image's), a ratio width / height log-uniform in
    `ratio`, sides rounded to whole pixels and a uniform place. Ten boxes are tried and the first
    that fits in the image is taken; if none does, the largest central box of an allowed ratio.

    Returns:
      [n 4] int32: top, left, height, width.

    Raises:
      ValueError: if a range is not 0 < low <= high.
    """
    for name, (low, high) in {"scale": scale, "ratio": ratio}.items():
        if not 0 < low <= high:
            raise ValueError(f"{name} must be (low, high) with 0 < low <= high, got {low, high}")
    tries = 10
    u = draws(key, 2 * tries + 2, n)
    area = h * w * (scale[0] + u[:tries] * (scale[1] - scale[0]))
    low, high = math.log(ratio[0]), math.log(ratio[1])
    aspect = jnp.exp(low + u[tries : 2 * tries] * (high - low))
    widths = jnp.round(jnp.sqrt(area * aspect)).astype(jnp.int32)
    heights = jnp.round(jnp.sqrt(area / aspect)).astype(jnp.int32)
    fits = (widths > 0) & (widths <= w) & (heights > 0) & (heights <= h)

    last_height, last_width = h, w
    if w / h < min(ratio):
        last_height = round(w / min(ratio))
    elif w / h > max(ratio):
        last_width = round(h * max(ratio))
    height = jnp.select(list(fits), list(heights), last_height)
    width = jnp.select(list(fits), list(widths), last_width)
    found = fits.any(0)
    top = jnp.where(found, integers(u[-2], h - height + 1), (h - height) // 2)
    left = jnp.where(found, integers(u[-1], w - width + 1), (w - width) // 2)
    return jnp.stack([top, left, height, width], axis=1)


def random_resized_crop(
    key: Source,
    x: Float[Array, "n h w c"],
    size: Size,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    antialias: bool = True,
) -> Float[Array, "n p q c"]:
    """`crop_resize` of boxes from `random_crop_boxes`; antialiased unless asked otherwise."""
    n, h, w, _ = x.shape
    return crop_resize(x, random_crop_boxes(key, n, h, w, scale, ratio), size, antialias)


def resize(
    x: Float[Array, "n h w c"], size: Size, antialias: bool = True
) -> Float[Array, "n p q c"]:
    """Resizes whole images bilinearly; `size` and `antialias` as in `crop_resize`."""
    if x.shape[1:3] == _pair(size):
        return x
    start = jnp.zeros(1, jnp.int32)
    weights = [
        _triangle(start, start + old, old, new, antialias, _wide(x))[0]
        for old, new in zip(x.shape[1:3], _pair(size), strict=True)
    ]
    return _separable(x, *weights)


def center_crop(x: Float[Array, "n h w c"], size: Size) -> Float[Array, "n p q c"]:
    """The middle of the images; an odd pixel falls where torchvision's `center_crop` puts it.

    Raises:
      ValueError: if the images are smaller than `size`.
    """
    (h, w), (height, width) = x.shape[1:3], _pair(size)
    if height > h or width > w:
        raise ValueError(f"size must be at most the image's {h, w}, got {height, width}")
    top, left = round((h - height) / 2), round((w - width) / 2)
    return x[:, top : top + height, left : left + width]


def rotations(x: Float[Array, "n h w c"]) -> Float[Array, "n 4 h w c"]:
    """Each image as it is and turned by 90, 180 and 270 degrees, counter-clockwise, in this order.

    Raises:
      ValueError: if the images are not square.
    """
    if x.shape[1] != x.shape[2]:
        raise ValueError(f"images must be square to be rotated, got {x.shape[1]}x{x.shape[2]}")
    return jnp.stack([jnp.rot90(x, turns, axes=(1, 2)) for turns in range(4)], axis=1)


def pad_and_crop(
    key: Source,
    x: Float[Array, "n h w c"],
    padding: int = 4,
    size: Size | None = None,
    reflect: bool = False,
) -> Float[Array, "n p q c"]:
    """Pads and cuts a window out at a uniform place: the crop of the CIFAR recipes.

    Args:
      key: PRNG key.
      x: [n h w c].
      padding: pixels added at each of the four sides.
      size: height and width of the window; the image's own by default.
      reflect: pads with the image mirrored at its edge pixels, not with zeros.

    Raises:
      ValueError: if `padding` is negative or, mirrored, as large as the image, or the window is
        larger than the padded image.
    """
    h, w = x.shape[1:3]
    height, width = (h, w) if size is None else _pair(size)
    require.at_least(0, padding=padding)
    if reflect and padding >= min(h, w):
        raise ValueError(f"padding must be less than the image's {h, w}, got {padding}")
    room = (h + 2 * padding - height, w + 2 * padding - width)
    if min(room) < 0:
        limit = (h + 2 * padding, w + 2 * padding)
        raise ValueError(f"size must be at most the padded image's {limit}, got {height, width}")
    u = draws(key, 2, x.shape[0])
    weights = []
    for axis, (new, old) in enumerate(zip((height, width), (h, w), strict=True)):
        place = integers(u[axis], room[axis] + 1)[:, None] - padding + _indices(new)[None]
        if reflect:
            place = (old - 1) - jnp.abs((old - 1) - jnp.abs(place))
        # A row of zeros, where the window lies on the padding, makes the zero itself.
        weights.append(place[:, :, None] == _indices(old)[None, None])
    return _separable(x, *weights)


def random_flip(key: Source, x: Float[Array, "n h w c"], p: float = 0.5) -> Float[Array, "n h w c"]:
    """Mirrors each image left to right with probability `p`."""
    return choose(draws(key, 1, x.shape[0])[0], p, x[:, :, ::-1], x)


def blur(
    x: Float[Array, "n h w c"], sigma: Float[Array, " n"], kernel_size: int
) -> Float[Array, "n h w c"]:
    """Gaussian blur with one sigma an image, edges reflected, as torchvision's `gaussian_blur`.

    Args:
      x: [n h w c].
      sigma: [n] > 0, in pixels.
      kernel_size: odd number of taps; the Gaussian is cut there and scaled to sum 1.

    Raises:
      ValueError: if `kernel_size` is even, < 1, or reaches further than reflection can.
    """
    radius = kernel_size // 2
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(f"kernel_size must be odd and >= 1, got {kernel_size}")
    if radius >= min(x.shape[1:3]):
        limit = 2 * min(x.shape[1:3]) - 1
        raise ValueError(f"kernel_size must be at most {limit} here, got {kernel_size}")
    offsets = jnp.arange(-radius, radius + 1, dtype=_wide(x))
    exponent = -0.5 * jnp.square(offsets[None] / sigma.astype(_wide(x))[:, None])
    taps = jax.nn.softmax(exponent, axis=1)
    rows, columns = (_reflected(taps, length) for length in x.shape[1:3])
    return _separable(x, rows, columns)


def gaussian_blur(
    key: Source,
    x: Float[Array, "n h w c"],
    sigma: tuple[float, float] = (0.1, 2.0),
    kernel_size: int | None = None,
    p: float = 0.5,
) -> Float[Array, "n h w c"]:
    """`blur` with probability `p`, sigma uniform in a range.

    Args:
      key: PRNG key.
      x: [n h w c].
      sigma: range in pixels, 0 < low <= high.
      kernel_size: odd number of taps; by default a tenth of the height, made odd, at least 3:
        SimCLR's choice (arXiv 2002.05709, appendix A).
      p: probability for each image.
    """
    low, high = sigma
    if not 0 < low <= high:
        raise ValueError(f"sigma must be (low, high) with 0 < low <= high, got {low, high}")
    if kernel_size is None:
        kernel_size = max(3, x.shape[1] // 10 // 2 * 2 + 1)
    u = draws(key, 2, x.shape[0])
    return choose(u[0], p, blur(x, low + u[1] * (high - low), kernel_size), x)


def draws(key: Source, rows: int, n: int) -> Float[Array, "rows n"]:
    """All the uniform numbers in [0, 1) of an augmentation at one blow: `rows` an example.

    A generator is a long program. With one an augmentation, or one for a whole recipe that hands
    the rows on in place of keys, compiling stays short.

    Args:
      key: PRNG key; numbers of the right shape [rows n] come back as they are.
      rows: numbers an example needs.
      n: number of examples.
    """
    if jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        return jax.random.uniform(key, (rows, n), jnp.float32)
    if key.shape != (rows, n):
        raise ValueError(f"draws must be {rows, n} uniform numbers here, got {key.shape}")
    return key


def integers(u: Float[Array, "..."], count: int | Int[Array, "..."]) -> Int[Array, "..."]:
    """Uniform integers in [0, count) from uniform numbers in [0, 1), for counts up to 2^20."""
    count = jnp.asarray(count, jnp.int32)
    return jnp.minimum((u * count.astype(u.dtype)).astype(jnp.int32), count - 1)


def choose(
    u: Float[Array, " n"], p: float, yes: Float[Array, "n h w c"], no: Float[Array, "n h w c"]
) -> Float[Array, "n h w c"]:
    """Takes each image from `yes` where its uniform number is below `p`, else from `no`.

    Raises:
      ValueError: if `p` is not in [0, 1].
    """
    require.fraction(p=p)
    return jnp.where((u < p)[:, None, None, None], yes, no)


def _wide(x):
    return np.promote_types(x.dtype, np.float32)


def _indices(count):
    return jnp.arange(count, dtype=jnp.int32)


def _pair(size):
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < 1:
        raise ValueError(f"size must be >= 1, got {height, width}")
    return height, width


def _statistics(x, mean, std):
    values = []
    for name, value in {"mean": mean, "std": std}.items():
        value = np.asarray(value, np.float64).reshape(-1)
        if value.size not in (1, x.shape[-1]):
            raise ValueError(f"{name} must have 1 or {x.shape[-1]} values, got {value.size}")
        if name == "std" and not (value > 0).all():
            raise ValueError(f"std must be > 0, got {value.tolist()}")
        values.append(jnp.asarray(value.reshape((1,) * (x.ndim - 1) + (-1,)), _wide(x)))
    return x.astype(_wide(x)), *values


def _triangle(start, length, old, new, antialias, dtype):
    """Weights [n new old] of a bilinear resize of `length` pixels from `start` on to `new` pixels.

    The distance between pixel centres is counted in units of 1 / (2 new), where it is whole.
    """
    start, length = start[:, None, None], length[:, None, None]
    pixel = _indices(old)[None, None] - start
    target = _indices(new)[None, :, None]
    distance = jnp.abs((2 * pixel + 1) * new - (2 * target + 1) * length)
    reach = 2 * (jnp.maximum(length, new) if antialias else jnp.full_like(length, new))
    weights = jnp.maximum(1 - distance.astype(dtype) / reach.astype(dtype), 0)
    weights = jnp.where((pixel >= 0) & (pixel < length), weights, 0)
    return weights / weights.sum(-1, keepdims=True)


def _reflected(taps, length):
    """The matrices [n length length] of a convolution with `taps` [n k] and reflected edges."""
    radius = taps.shape[1] // 2
    source = np.arange(length)[None] + np.arange(-radius, radius + 1)[:, None]
    source = (length - 1) - np.abs((length - 1) - np.abs(source))
    hits = jnp.asarray(source, jnp.int32)[:, :, None] == _indices(length)[None, None]
    return jnp.einsum("nk,koi->noi", taps, hits.astype(taps.dtype), precision="highest")


def _separable(x, rows, columns):
    """Multiplies images by `rows` ([n p h] or [p h]) and `columns` ([n q w] or [q w])."""
    batch = "n" if rows.ndim == 3 else ""
    # Products of bfloat16 are exact in float32: only wider inputs need more than one pass.
    precision = None if x.dtype == jnp.bfloat16 else "highest"
    for spec, weights in (("ph,nhwc->npwc", rows), ("qw,npwc->npqc", columns)):
        y = jnp.einsum(
            batch + spec,
            weights.astype(x.dtype),
            x,
            precision=precision,
            preferred_element_type=_wide(x),
        )
        x = y.astype(x.dtype)
    return x
