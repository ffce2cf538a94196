"""RandAugment and cutout of image batches: pure, jitted, one random draw an example.

Cubuk, Zoph, Shlens & Le 2019, arXiv 1909.13719; DeVries & Taylor 2017, arXiv 1708.04552.

Images are [n h w c] floats in [0, 1]. The operations are those of Pillow: its ``ImageOps``,
``ImageEnhance`` and nearest-neighbour affine transforms. Pillow rounds or cuts to whole 255ths
after each; here only `posterize`, `solarize`, `equalize`, which look values up, know 255ths.
Any number of channels; `color` means something for three and leaves others as they are.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from jssl import require
from jssl.augment.color import rgb_to_grayscale
from jssl.augment.image import integers

# The 14 operations of the paper, in the order of its section 3.
OPERATIONS = (
    *("identity", "auto_contrast", "equalize", "rotate", "solarize", "color", "posterize"),
    *("contrast", "brightness", "sharpness", "shear_x", "shear_y", "translate_x", "translate_y"),
)
AFFINE = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
BLENDED = ("color", "contrast", "brightness", "sharpness")
GREY = 0.5  # what lies outside an image that was moved, and under a cutout


def rand_augment(
    key: Key[Array, ""],
    x: Float[Array, "n h w c"],
    count: int = 2,
    magnitude: float | None = None,
) -> Float[Array, "n h w c"]:
    """So many operations drawn evenly from all 14, one after the other, others for each image.

    Args:
      key: PRNG key.
      x: [n h w c] in [0, 1].
      count: N of the paper.
      magnitude: M of the paper as a share of the greatest, in [0, 1], the same for every
        operation. None is FixMatch's variant (Sohn et al. 2020, arXiv 2001.07685, section 2.3, and
        its released code): a magnitude evenly of 0.1, 0.2 ... 0.9 for each, and each operation is
        left out with probability 1/2.

    What a magnitude m means, as in that code: rotations by 30 m degrees, shears by 0.3 m, shifts by
    10/32 m of a side in whole pixels, all either way; blends by 0.1 + 1.8 m; solarize from
    256 (1 - m) on; posterize to 4 (1 - m) bits, rounded up.

    Raises:
      ValueError: if there is no operation to do, or the magnitude is out of range.
    """
    require.at_least(1, count=count)
    if magnitude is not None:
        require.fraction(magnitude=magnitude)
    n = len(x)
    u = jax.random.uniform(key, (count, 4, n), jnp.float32)

    def once(x, u):
        operation = integers(u[0], len(OPERATIONS))
        if magnitude is None:
            level = (1 + integers(u[1], 9)).astype(jnp.float32) / 10
            operation = jnp.where(u[2] < 0.5, operation, OPERATIONS.index("identity"))
        else:
            level = jnp.full(n, magnitude, jnp.float32)
        return apply(x, operation, level, u[3] < 0.5), None

    return jax.lax.scan(once, x, u)[0]


def apply(
    x: Float[Array, "n h w c"],
    operation: Int[Array, " n"],
    level: Float[Array, " n"],
    other_way: Array,
) -> Float[Array, "n h w c"]:
    """One of `OPERATIONS` by number for each image, at a level in [0, 1]; see `rand_augment`.

    Each kind is computed once for all: moves are one gather, blends one sum.
    """
    wide = x.astype(np.promote_types(x.dtype, np.float32))
    level = level.astype(wide.dtype)
    is_ = {name: operation == i for i, name in enumerate(OPERATIONS)}
    chosen = lambda names: jnp.stack([is_[name] for name in names]).any(0)  # noqa: E731
    row = lambda values: values[:, None, None, None]  # noqa: E731

    factor = 0.1 + 1.8 * level
    degenerate = jnp.select(
        [row(is_[name]) for name in BLENDED],
        [_grey(wide), _mean_grey(wide), jnp.zeros_like(wide), _smooth(wide)],
        0,
    )
    y = jnp.where(row(chosen(BLENDED)), blend(wide, degenerate, factor), wide)
    y = jnp.where(row(chosen(AFFINE)), affine(wide, _matrices(wide, is_, level, other_way)), y)
    tables = {
        "auto_contrast": lambda: auto_contrast(wide),
        "equalize": lambda: equalize(wide),
        "posterize": lambda: posterize(wide, 4 - _whole(4 * level)),
        "solarize": lambda: solarize(wide, 256 - _whole(256 * level)),
    }
    for name, look_up in tables.items():
        y = jnp.where(row(is_[name]), look_up(), y)
    return y.astype(x.dtype)


def blend(
    x: Float[Array, "n h w c"], degenerate: Float[Array, "n h w c"], factor: Float[Array, " n"]
) -> Float[Array, "n h w c"]:
    """clip(degenerate + factor (x - degenerate), 0, 1): Pillow's ``ImageEnhance``."""
    factor = factor[:, None, None, None]
    return jnp.clip(degenerate + factor * (x - degenerate), 0, 1)


def affine(x: Float[Array, "n h w c"], matrix: Float[Array, "n 2 3"]) -> Float[Array, "n h w c"]:
    """Takes each pixel from where the matrix says: Pillow's ``transform``, nearest neighbour.

    (a b c; d e f) takes the pixel whose centre is (x, y) from (a x + b y + c, d x + e y + f), in
    pixels; what lies outside is grey.
    """
    n, h, w, c = x.shape
    across = (jnp.arange(w, dtype=x.dtype) + 0.5)[None, None, :]
    down = (jnp.arange(h, dtype=x.dtype) + 0.5)[None, :, None]
    parts = matrix.astype(x.dtype)[:, :, :, None, None]
    column, row = (
        jnp.floor(parts[:, i, 0] * across + parts[:, i, 1] * down + parts[:, i, 2]).astype(
            jnp.int32
        )
        for i in range(2)
    )
    inside = (column >= 0) & (column < w) & (row >= 0) & (row < h)
    place = jnp.clip(row, 0, h - 1) * w + jnp.clip(column, 0, w - 1)
    taken = jnp.take_along_axis(x.reshape(n, h * w, c), place.reshape(n, h * w, 1), axis=1)
    return jnp.where(inside[..., None], taken.reshape(x.shape), GREY)


def auto_contrast(x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
    """Stretches each channel to [0, 1]; one of a single value stays: ``ImageOps.autocontrast``."""
    low, high = x.min((1, 2), keepdims=True), x.max((1, 2), keepdims=True)
    flat = high <= low
    return jnp.where(flat, x, (x - low) / jnp.where(flat, 1, high - low))


def equalize(x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
    """Makes the histogram of each channel as even as it can be: ``ImageOps.equalize``."""
    n, h, w, c = x.shape
    value = jnp.moveaxis(_bytes(x), 3, 1).reshape(n * c, h * w)
    counts = jax.vmap(lambda v: jnp.zeros(256, jnp.int32).at[v].add(1))(value)
    last = jnp.take_along_axis(counts, value.max(1, keepdims=True), axis=1)
    step = (h * w - last) // 255
    below = jnp.cumsum(counts, axis=1) - counts
    table = jnp.minimum((step // 2 + below) // jnp.maximum(step, 1), 255)
    table = jnp.where(step > 0, table, jnp.arange(256, dtype=jnp.int32)[None])
    found = jnp.take_along_axis(table, value, axis=1).reshape(n, c, h, w)
    return jnp.moveaxis(found, 1, 3).astype(x.dtype) / 255


def posterize(x: Float[Array, "n h w c"], bits: Int[Array, " n"]) -> Float[Array, "n h w c"]:
    """Keeps the highest bits of each value: ``ImageOps.posterize``."""
    low = (8 - bits)[:, None, None, None]
    return ((_bytes(x) >> low) << low).astype(x.dtype) / 255


def solarize(x: Float[Array, "n h w c"], threshold: Int[Array, " n"]) -> Float[Array, "n h w c"]:
    """Inverts the values from a threshold in [0, 256] on: ``ImageOps.solarize``."""
    return jnp.where(_bytes(x) >= threshold[:, None, None, None], 1 - x, x)


def cutout(
    key: Key[Array, ""], x: Float[Array, "n h w c"], side: float = 0.5
) -> Float[Array, "n h w c"]:
    """Lays a grey square about a pixel drawn evenly over each image, cut off at the border.

    Args:
      key: PRNG key.
      x: [n h w c].
      side: of the square, as a share of the image's, in [0, 1]; half of the image's in FixMatch.

    Source: DeVries & Taylor 2017, arXiv 1708.04552, section 3.
    """
    require.fraction(side=side)
    n, h, w, _ = x.shape
    u = jax.random.uniform(key, (2, n), jnp.float32)
    covered = []
    for draw, length in zip(u, (h, w), strict=True):
        half = int(side * length) // 2
        middle = integers(draw, length)[:, None]
        places = jnp.arange(length, dtype=jnp.int32)[None]
        covered.append((places >= middle - half) & (places < middle + half))
    square = covered[0][:, :, None] & covered[1][:, None, :]
    return jnp.where(square[..., None], jnp.asarray(GREY, x.dtype), x)


def _matrices(x, is_, level, other_way):
    """[n 2 3] of `affine`, for whichever of `AFFINE` each image is due."""
    n, h, w, _ = x.shape
    signed = jnp.where(other_way, -level, level)
    one, zero = jnp.ones_like(level), jnp.zeros_like(level)
    shear, turn = 0.3 * signed, jnp.pi / 6 * signed
    across, down = (jnp.sign(signed) * jnp.floor(10 / 32 * side * level) for side in (w, h))
    cosine, sine = jnp.cos(turn), jnp.sin(turn)
    # Counter-clockwise about the middle of the image, as Pillow's ``rotate``.
    middle_x = w / 2 * (1 - cosine) + h / 2 * sine
    middle_y = h / 2 * (1 - cosine) - w / 2 * sine
    matrices = {
        "rotate": (cosine, -sine, middle_x, sine, cosine, middle_y),
        "shear_x": (one, shear, zero, zero, one, zero),
        "shear_y": (one, zero, zero, shear, one, zero),
        "translate_x": (one, zero, across, zero, one, zero),
        "translate_y": (one, zero, zero, zero, one, down),
    }
    kinds = [is_[name] for name in matrices]
    entries = zip(*matrices.values(), strict=True)
    return jnp.stack([jnp.select(kinds, list(e), 0) for e in entries], 1).reshape(n, 2, 3)


def _whole(value):
    # Of tenths in float32: 0.7 * 10 must be 7.
    return jnp.floor(value + 1e-4).astype(jnp.int32)


def _bytes(x):
    return jnp.clip(jnp.round(x * 255), 0, 255).astype(jnp.int32)


def _grey(x):
    return jnp.broadcast_to(rgb_to_grayscale(x), x.shape) if x.shape[-1] == 3 else x


def _mean_grey(x):
    return jnp.broadcast_to(_grey(x).mean((1, 2, 3), keepdims=True), x.shape)


def _smooth(x):
    """Pillow's ``SMOOTH``: a weight of 5 for a pixel and 1 for its neighbours; edges stay."""
    rows = x[:, :-2] + x[:, 1:-1] + x[:, 2:]
    around = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]
    inner = (around + 4 * x[:, 1:-1, 1:-1]) / 13
    return x.at[:, 1:-1, 1:-1].set(inner)
