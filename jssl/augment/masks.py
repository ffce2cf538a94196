"""What a model does not see: masks of patches, row by row as [n t], and of pixels, [n h w].

True means hidden. Every count is static, so that shapes are; the same masks come from the same key.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from jssl import require


def random_mask(
    key: Key[Array, ""], n: int, tokens: int, ratio: float
) -> tuple[Int[Array, "n k"], Bool[Array, "n tokens"]]:
    """Hides a random part of the tokens of each example (MAE, arXiv 2111.06377, section 3).

    Args:
      key: PRNG key.
      n: number of examples.
      tokens: number of tokens (patches) of an example.
      ratio: share of hidden tokens, in (0, 1).

    Returns:
      keep: [n k] int32, ascending indices of the visible tokens, uniform over all subsets of
        k = int(tokens * (1 - ratio)), the count of the authors' code.
      mask: [n tokens] bool, True where a token is hidden.

    Raises:
      ValueError: if `ratio` is not in (0, 1), or leaves nothing visible or nothing hidden.
    """
    if not 0 < ratio < 1:
        raise ValueError(f"ratio must be in (0, 1), got {ratio}")
    k = int(tokens * (1 - ratio))
    if not 0 < k < tokens:
        raise ValueError(f"ratio must leave 1 to {tokens - 1} of {tokens} tokens, got {ratio}")
    order = jnp.argsort(jax.random.uniform(key, (n, tokens), jnp.float32), axis=1)
    keep = jnp.sort(order[:, :k], axis=1).astype(jnp.int32)
    seen = keep[:, :, None] == jnp.arange(tokens, dtype=jnp.int32)[None, None]
    return keep, ~seen.any(1)


def aligned_mask(
    key: Key[Array, ""], n: int, grid: tuple[int, int], ratio: float, side: int
) -> Bool[Array, "n t"]:
    """Hides squares of side x side patches at random (SimMIM's patch-aligned masking).

    Args:
      key: PRNG key.
      n: number of examples.
      grid: rows and columns of patches.
      ratio: share of hidden squares, in (0, 1); the count is that of `random_mask`.
      side: of a square, in patches: the mask patch size over the model's. Divides the grid.

    Raises:
      ValueError: if the squares do not tile the grid, or for a ratio that `random_mask` refuses.

    Source: Xie et al. 2021, arXiv 2111.09886, section 3.2 ("Masking strategy").
    """
    if side < 1 or grid[0] % side or grid[1] % side:
        raise ValueError(f"side must divide the grid of {grid[0]}x{grid[1]} patches, got {side}")
    rows, columns = grid[0] // side, grid[1] // side
    _, mask = random_mask(key, n, rows * columns, ratio)
    mask = mask.reshape(n, rows, columns).repeat(side, axis=1).repeat(side, axis=2)
    return mask.reshape(n, -1)


def block_mask(
    key: Key[Array, ""],
    n: int,
    grid: tuple[int, int],
    count: int | Int[Array, " n"],
    *,
    min_patches: int = 16,
    aspect: float = 0.3,
    draws: int = 32,
) -> Bool[Array, "n t"]:
    """Hides random blocks, one after the other, until exactly ``count`` patches are hidden.

    Each block has an area uniform between ``min_patches`` and what is still to be hidden, a
    log-uniform aspect ratio and a uniform place; blocks overlap.

    Args:
      key: PRNG key.
      n: number of examples.
      grid: rows h and columns w of patches, or of pixels.
      count: hidden patches, from 0 to h * w: one number, or one an example.
      min_patches: least area of a block.
      aspect: least aspect ratio, in (0, 1]; the greatest is its inverse.
      draws: blocks that are drawn; more than are needed cost little and change nothing.

    BEiT's released code draws anew when a block does not fit or hides more than is left, and may
    end short of the count. Here a side is cut to the grid, and the block that reaches the count is
    cut to it, its upper rows first. Should all draws not suffice, the grid's upper rows follow.

    Raises:
      ValueError: if a count, area or aspect ratio is out of range.

    Source: Bao et al. 2021, arXiv 2106.08254, algorithm 1.
    """
    h, w = grid
    if isinstance(count, int) and not 0 <= count <= h * w:
        raise ValueError(f"count must be from 0 to {h * w} patches, got {count}")
    if not 0 < aspect <= 1:
        raise ValueError(f"aspect must be in (0, 1], got {aspect}")
    require.at_least(1, min_patches=min_patches, draws=draws)
    count = jnp.broadcast_to(jnp.asarray(count, jnp.int32), (n,))

    def draw(first, drawn):
        block, (area, ratio, top, left) = drawn
        missing = jnp.maximum(count - jnp.sum(first < draws, axis=(1, 2), dtype=jnp.int32), 0)
        area = min_patches + area * (missing.astype(jnp.float32) - min_patches)
        ratio = jnp.exp(math.log(aspect) * (2 * ratio - 1))
        sides = jnp.stack([jnp.sqrt(area * ratio), jnp.sqrt(area / ratio)], axis=-1)
        inside = _box(_whole(sides, grid), jnp.stack([top, left], axis=-1), grid)
        return jnp.where(inside & (first == draws), block, first), None

    first = jnp.full((n, h, w), draws, jnp.int32)  # the first block over each patch
    numbers = jax.random.uniform(key, (draws, 4, n), jnp.float32)
    first, _ = jax.lax.scan(draw, first, (jnp.arange(draws, dtype=jnp.int32), numbers))
    return _lowest(first.reshape(n, h * w), count)


class Blocks(NamedTuple):
    """Which tokens I-JEPA's networks see, as indices into the patches of a grid.

    context: [n k], ascending.
    targets: [n m s], those of each target block, ascending, then repeated from the first one on.
    valid: [n m s], False for the repeated.
    """

    context: Array
    targets: Array
    valid: Array


def multi_block(
    key: Key[Array, ""],
    n: int,
    grid: tuple[int, int],
    *,
    context: float = 0.3,
    targets: int = 4,
    target_scale: tuple[float, float] = (0.15, 0.2),
    target_aspect: tuple[float, float] = (0.75, 1.5),
    context_scale: tuple[float, float] = (0.85, 1.0),
) -> Blocks:
    """Target blocks, and a context block without what it shares with them.

    Args:
      key: PRNG key.
      n: number of examples.
      grid: rows and columns of patches.
      context: tokens of the context, as a share of the grid; the nearest whole number.
      targets: number of target blocks, which may overlap.
      target_scale: least and greatest area of one, as a share of the grid.
      target_aspect: least and greatest ratio of its height to its width.
      context_scale: area of the square context block.

    No context token is ever in a target. The context is a random part, of fixed size, of what the
    targets leave of the context block; where they leave too little, of what they leave of the grid;
    where even that is too little, the targets lose what the context takes. Each target draws a size
    of its own, from a lattice of 64 x 64 scales and ratios; s is the greatest area among them.

    The released code draws one size a batch, at one place for scale and ratio alike, keeps sides
    and places short of the last row and column, and cuts all contexts of the batch to the smallest
    one, upper rows first.

    Raises:
      ValueError: if a scale or ratio is out of range, or the context is empty or everything.

    Source: Assran et al. 2023, arXiv 2301.08243, section 3 ("Targets", "Context").
    """
    t = grid[0] * grid[1]
    k = round(context * t)
    if not 0 < k < t:
        raise ValueError(f"context must leave 1 to {t - 1} of {t} tokens, got {context}")
    require.at_least(1, targets=targets)
    k_targets, k_context, k_order = jax.random.split(key, 3)
    sizes = _sizes(grid, target_scale, target_aspect)
    inside = _random_boxes(k_targets, (n, targets), sizes, grid)
    block = _random_boxes(k_context, (n,), _sizes(grid, context_scale, (1.0, 1.0)), grid)
    choice = jnp.where(inside.any(1), 2, jnp.where(block, 0, 1))
    order = jnp.lexsort((jax.random.uniform(k_order, (n, t), jnp.float32), choice), axis=1)
    seen = jnp.sort(order[:, :k], axis=1).astype(jnp.int32)
    taken = (seen[:, :, None] == jnp.arange(t, dtype=jnp.int32)[None, None]).any(1)
    inside = inside & ~taken[:, None]

    slot = jnp.arange(sizes.prod(1).max(), dtype=jnp.int32)[None, None]
    count = jnp.sum(inside, axis=2, keepdims=True, dtype=jnp.int32)
    at = jnp.argsort(~inside, axis=2).astype(jnp.int32)
    at = jnp.take_along_axis(at, slot % jnp.maximum(count, 1), axis=2)
    return Blocks(seen, at, slot < count)


def central_region(n: int, size: tuple[int, int], side: float = 0.5) -> Bool[Array, "n h w"]:
    """Hides the middle of each image, ``side`` in (0, 1] of its height and width.

    Source: Pathak et al. 2016, arXiv 1604.07379, section 3.3 ("Central region").
    """
    if not 0 < side <= 1:
        raise ValueError(f"side must be in (0, 1], got {side}")
    mask = np.zeros((n, *size), bool)
    rows, columns = (round(side * length) for length in size)
    top, left = (size[0] - rows) // 2, (size[1] - columns) // 2
    mask[:, top : top + rows, left : left + columns] = True
    return jnp.asarray(mask)


def random_regions(
    key: Key[Array, ""],
    n: int,
    size: tuple[int, int],
    *,
    share: float = 0.25,
    points: int = 8,
) -> Bool[Array, "n h w"]:
    """Hides regions of any shape: where smooth noise is lowest, exactly ``share`` of the pixels.

    Args:
      key: PRNG key.
      n: number of images.
      size: their height and width.
      share: of hidden pixels, in (0, 1); the nearest whole number.
      points: of the noise along a side of the image; the fewer, the larger the regions.

    The released code does so, with a point every 16.7 of 128 pixels; there the batch shares one
    mask, whose share is anything from 0.2 to 0.3.

    Raises:
      ValueError: if the share or the number of points is out of range.

    Source: Pathak et al. 2016, arXiv 1604.07379, section 3.3 ("Random region").
    """
    require.at_least(1, points=points)
    count = _count(share, size)
    # The image is a window into a wider pattern, at a place of its own between two points.
    k_noise, k_place = jax.random.split(key)
    noise = jax.random.uniform(k_noise, (n, points + 5, points + 5), jnp.float32)
    place = jax.random.uniform(k_place, (n, 2), jnp.float32, minval=-3.0, maxval=-2.0)
    scale = jnp.asarray(size, jnp.float32) / points

    def window(noise, place):
        return jax.image.scale_and_translate(noise, size, (0, 1), scale, place * scale, "cubic")

    smooth = jax.vmap(window)(noise, place)
    return _lowest(smooth.reshape(n, -1), count).reshape(n, *size)


def random_strokes(
    key: Key[Array, ""],
    n: int,
    size: tuple[int, int],
    *,
    share: float = 0.25,
    strokes: int = 2,
    vertices: int = 8,
) -> Bool[Array, "n h w"]:
    """Hides brush strokes: the pixels nearest to random zigzags, exactly ``share`` of all.

    Args:
      key: PRNG key.
      n: number of images.
      size: their height and width.
      share: of hidden pixels, in (0, 1); the nearest whole number.
      strokes: zigzags an image.
      vertices: turns of each.

    Angles and lengths as in the released code; there the numbers of strokes and vertices and the
    width of the brush are random, here the width follows from the share.

    Raises:
      ValueError: if a number is out of range.

    Source: Yu et al. 2019, arXiv 1806.03589, section 3.3 (free-form masks).
    """
    require.at_least(1, strokes=strokes, vertices=vertices)
    count = _count(share, size)
    k_start, k_range, k_angle, k_length = jax.random.split(key, 4)
    start = jax.random.uniform(k_start, (n, strokes, 1, 2), jnp.float32)
    widest = jax.random.uniform(k_range, (2, n, strokes, 1), jnp.float32) * (2 * math.pi / 15)
    u = jax.random.uniform(k_angle, (n, strokes, vertices), jnp.float32)
    angle = 2 * math.pi / 5 - widest[0] + u * (widest[0] + widest[1])
    # Every other line goes back, so that a stroke stays near where it began.
    angle = angle * jnp.resize(jnp.asarray([-1.0, 1.0], jnp.float32), vertices)[None, None]
    radius = math.hypot(*size) / 8
    length = jax.random.normal(k_length, (n, strokes, vertices), jnp.float32)
    length = radius * jnp.clip(1 + length / 2, 0, 2)
    steps = length[..., None] * jnp.stack([jnp.sin(angle), jnp.cos(angle)], axis=-1)
    corner = jnp.asarray(size, jnp.float32)[None, None]

    def walk(at, step):
        return (to := jnp.clip(at + step, 0, corner)), (at, to)

    first = start[:, :, 0] * corner
    _, (a, b) = jax.lax.scan(walk, first, jnp.moveaxis(steps, 2, 0))
    a, b = (x.swapaxes(1, 2).reshape(-1, n, 2) for x in (a, b))

    def nearest(distance, line):
        return jnp.minimum(distance, _distance(*line, size)), None

    far = jnp.full((n, *size), jnp.inf, jnp.float32)
    distance, _ = jax.lax.scan(nearest, far, (a, b))
    return _lowest(distance.reshape(n, -1), count).reshape(n, *size)


def _count(share: float, size: tuple[int, int]) -> int:
    count = round(share * size[0] * size[1])
    if not 0 < count < size[0] * size[1]:
        raise ValueError(f"share must be in (0, 1) and hide a pixel, got {share} of {size}")
    return count


def _lowest(score: Array, count: int | Array) -> Bool[Array, "n t"]:
    """True at the ``count`` lowest scores of each row, the first of equal ones."""
    n, t = score.shape
    count = jnp.broadcast_to(jnp.asarray(count, jnp.int32), (n,))
    hidden = jnp.arange(t, dtype=jnp.int32)[None] < count[:, None]
    order = jnp.argsort(score, axis=1)
    return jnp.put_along_axis(jnp.zeros((n, t), bool), order, hidden, axis=1, inplace=False)


def _whole(sides: Array, grid: tuple[int, int]) -> Int[Array, "*n 2"]:
    shape = (1,) * (sides.ndim - 1) + (2,)
    most = jnp.asarray(grid, jnp.int32).reshape(shape)
    return jnp.clip(jnp.round(sides).astype(jnp.int32), 1, most)


def _sizes(
    grid: tuple[int, int], scale: tuple[float, float], aspect: tuple[float, float]
) -> np.ndarray:
    """Heights and widths [4096 2] of blocks: a lattice of scales and aspect ratios, rounded."""
    if not 0 < scale[0] <= scale[1] <= 1:
        raise ValueError(f"a scale must be a range within (0, 1], got {scale}")
    if not 0 < aspect[0] <= aspect[1]:
        raise ValueError(f"an aspect ratio must be a range above 0, got {aspect}")
    u = (np.arange(64) + 0.5) / 64
    area, ratio = np.meshgrid(
        (scale[0] + u * (scale[1] - scale[0])) * grid[0] * grid[1],
        aspect[0] + u * (aspect[1] - aspect[0]),
    )
    sides = np.stack([np.sqrt(area * ratio), np.sqrt(area / ratio)], axis=-1).reshape(-1, 2)
    return np.clip(np.round(sides), 1, grid).astype(np.int32)


def _random_boxes(
    key: Array, shape: tuple[int, ...], sizes: np.ndarray, grid: tuple[int, int]
) -> Bool[Array, "*shape t"]:
    k_size, k_place = jax.random.split(key)
    sides = jnp.asarray(sizes)[jax.random.randint(k_size, shape, 0, len(sizes), jnp.int32)]
    place = jax.random.uniform(k_place, (*shape, 2), jnp.float32)
    return _box(sides, place, grid).reshape(*shape, -1)


def _box(
    sides: Int[Array, "*n 2"], place: Float[Array, "*n 2"], grid: tuple[int, int]
) -> Bool[Array, "*n h w"]:
    """True in boxes of these whole sides, at a place in [0, 1) of where they fit."""
    within = []
    for axis, length in enumerate(grid):
        side = sides[..., axis, None]
        free = length - side + 1
        start = jnp.floor(place[..., axis, None] * free.astype(jnp.float32)).astype(jnp.int32)
        at = jnp.arange(length, dtype=jnp.int32).reshape((1,) * (side.ndim - 1) + (length,))
        within.append((at >= start) & (at < start + side))
    return within[0][..., :, None] & within[1][..., None, :]


def _distance(a: Array, b: Array, size: tuple[int, int]) -> Float[Array, "n h w"]:
    """Squared, from the middle of each pixel to the line from a to b, [n 2] each, in pixels."""
    (top, left), (down, right) = a.T[:, :, None, None], (b - a).T[:, :, None, None]
    y, x = (jnp.asarray(at + 0.5, jnp.float32)[None] for at in np.indices(size))
    y, x = y - top, x - left
    along = (y * down + x * right) / jnp.maximum(down**2 + right**2, 1e-6)
    along = jnp.clip(along, 0, 1)
    return (y - along * down) ** 2 + (x - along * right) ** 2
