"""Patches cut out of images, and what keeps them from telling where they lay by their colours.

Images are [n h w c] floats, patches [n t p p c]; places are whole pixels, so that nothing is
resampled. Every `key` may be a PRNG key or, as `image.draws` says, random numbers drawn before.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Int8

from jssl import require
from jssl.augment.image import Source, draws, integers

# Where the second patch of a pair lies: rows and columns of the grid from the first, row by row.
NEIGHBOURS = tuple(place for place in itertools.product((-1, 0, 1), repeat=2) if place != (0, 0))


def cut(x: Float[Array, "n h w c"], corners: Int[Array, "n t 2"], size: int) -> Array:
    """Square patches of each image: [n t size size c], t top left ``corners`` in, row and column.

    A corner from which a patch would reach out of the image is moved inside.
    """

    def one(image, corner):
        start = (corner[0], corner[1], jnp.zeros_like(corner[0]))
        return jax.lax.dynamic_slice(image, start, (size, size, image.shape[-1]))

    return jax.vmap(jax.vmap(one, (None, 0)))(x, corners)


def cut_apart(
    key: Source, x: Float[Array, "n h w c"], corners: Int[Array, "n t 2"], size: int, shift: int
) -> Array:
    """`cut` with each channel of each patch from another place, up to ``shift`` pixels off an axis.

    The relation of the channels then says nothing about the place: against chromatic aberration.

    Args:
      key: PRNG key, or 2 t c numbers an image.

    Source: Noroozi & Favaro 2016, arXiv 1603.09246, section 4.2.
    """
    (n, t, _), c = corners.shape, x.shape[-1]
    u = draws(key, 2 * t * c, n).T.reshape(n, t, c, 2)
    apart = corners[:, :, None] + integers(u, 2 * shift + 1) - shift
    one = functools.partial(cut, size=size)
    return jax.vmap(one, in_axes=(3, 2), out_axes=4)(x[..., None], apart)[..., 0]


def neighbour_corners(
    key: Source, n: int, size: tuple[int, int], patch: int, gap: int, jitter: int
) -> tuple[Int[Array, "n 2 2"], Int[Array, " n"]]:
    """Where two neighbouring patches of each image lie, and which of eight neighbours is second.

    The neighbour is uniform among `NEIGHBOURS` of a grid whose patches are ``gap`` pixels apart;
    the place of both on the image is uniform among those where they fit in; then each is moved by
    up to ``jitter`` pixels an axis, uniformly and apart from the other.

    Args:
      key: PRNG key, or 7 numbers an image.
      n: number of images.
      size: their height and width.
      patch: side of the patches, in pixels.
      gap: >= 0, between the nearest sides of two patches of the grid.
      jitter: >= 0.

    Returns:
      Corners [n 2 2] as in `cut`, and labels in [0, 8).

    Raises:
      ValueError: if the images are too small for two patches, their gap and their jitter.

    Source: Doersch et al. 2015, arXiv 1505.05192, sections 3 and 3.1. The released code clips
    jittered patches to the image, and draws all pairs of a grid instead of one.
    """
    require.at_least(1, patch=patch)
    require.at_least(0, gap=gap, jitter=jitter)
    extent = 2 * patch + gap + 2 * jitter
    if extent > min(size):
        raise ValueError(
            f"2 patch + gap + 2 jitter must be at most the image's {size[0]}x{size[1]}, "
            f"got {extent}"
        )
    u = draws(key, 7, n)
    label = integers(u[0], 8)
    offset = jnp.asarray(NEIGHBOURS, jnp.int32)[label] * (patch + gap)
    places = jnp.asarray(size, jnp.int32)[None] - patch - 2 * jitter - jnp.abs(offset) + 1
    first = jitter + jnp.maximum(-offset, 0) + integers(u[1:3].T, places)
    moved = integers(u[3:].T.reshape(n, 2, 2), 2 * jitter + 1) - jitter
    return jnp.stack([first, first + offset], axis=1) + moved, label


def tile_corners(
    key: Source, n: int, size: tuple[int, int], tile: int, grid: int = 3
) -> Int[Array, "n t 2"]:
    """Where the tiles of a jigsaw puzzle lie: one in each cell of a grid, at a uniform place in it.

    Args:
      key: PRNG key, or 2 ``grid`` squared numbers an image.
      n: number of images.
      size: their height and width. What the grid does not divide is left out at the edges.
      tile: side of a tile, in pixels.
      grid: cells along an axis.

    Returns:
      [n grid*grid 2], row by row of the grid.

    Raises:
      ValueError: if a tile does not fit into a cell.

    Source: Noroozi & Favaro 2016, arXiv 1603.09246, section 3.2: tiles of 64 in cells of 75.
    """
    require.at_least(1, tile=tile, grid=grid)
    cell = np.asarray(size) // grid
    if tile > cell.min():
        raise ValueError(
            f"tile must be at most a cell of the {grid}x{grid} grid, {cell.min()} pixels of "
            f"{size[0]}x{size[1]}, got {tile}"
        )
    cells = np.stack(np.indices((grid, grid)), axis=-1).reshape(-1, 2)
    start = cells * cell + (np.asarray(size) - grid * cell) // 2
    room = jnp.asarray(cell - tile + 1, jnp.int32)[None, None]
    u = draws(key, 2 * grid**2, n).T.reshape(n, grid**2, 2)
    return jnp.asarray(start, jnp.int32)[None] + integers(u, jnp.broadcast_to(room, u.shape))


@functools.cache
def far_permutations(count: int, tiles: int = 9, seed: int = 0) -> Int8[np.ndarray, "k t"]:
    """Permutations far from each other in Hamming distance, chosen one by one; read-only.

    The first is random; each of the others has the greatest mean distance to those before it, and
    among such, which are many, the greatest least distance, and is random otherwise. About two
    seconds for 1000 of 9 tiles, kept for the next call.

    Args:
      count: how many, at most ``tiles!``.
      tiles: what is permuted, 2 to 9.
      seed: of the random choices.

    Raises:
      ValueError: if there are not so many, or tiles is out of range.

    Source: Noroozi & Favaro 2016, arXiv 1603.09246, algorithm 1.
    """
    if not 2 <= tiles <= 9:
        raise ValueError(f"tiles must be from 2 to 9, got {tiles}")
    flat = itertools.chain.from_iterable(itertools.permutations(range(tiles)))
    left = np.fromiter(flat, np.int8).reshape(-1, tiles)
    if not 1 <= count <= len(left):
        raise ValueError(f"count must be from 1 to {len(left)} for {tiles} tiles, got {count}")
    left = np.random.default_rng(seed).permutation(left)
    columns = np.ascontiguousarray(left.T)
    # Agreements in place of distances: all of those chosen, and the most with any one of them.
    agreed, nearest = np.zeros(len(left), np.int32), np.zeros(len(left), np.int32)
    chosen = []
    for _ in range(count):
        best = int(np.argmin(agreed * (tiles + 1) + nearest))
        chosen.append(best)
        same = np.zeros(len(left), np.int8)
        for column in columns:
            same += column == column[best]
        agreed += same
        np.maximum(nearest, same, out=nearest)
        agreed[best] = np.iinfo(np.int32).max // (2 * (tiles + 1))  # not to be chosen again
    chosen = left[chosen]
    chosen.flags.writeable = False
    return chosen


def standardize(x: Float[Array, "*n h w c"], epsilon: float = 1e-6) -> Float[Array, "*n h w c"]:
    """Each patch, or image, less the mean of each of its channels, over the deviation of the whole.

    Brightness, contrast and cast then say nothing about the place. A constant patch becomes zero;
    epsilon is added to the variance.

    Source: the released code of Doersch et al. 2015 (arXiv 1505.05192); Noroozi & Favaro 2016,
    arXiv 1603.09246, section 4.2.
    """
    wide = x.astype(np.promote_types(x.dtype, np.float32))
    wide = wide - jnp.mean(wide, axis=(-3, -2), keepdims=True)
    variance = jnp.mean(jnp.square(wide), axis=(-3, -2, -1), keepdims=True)
    return (wide * jax.lax.rsqrt(variance + epsilon)).astype(x.dtype)


def drop_colors(key: Array, x: Float[Array, "n t p q c"]) -> Float[Array, "n t p q c"]:
    """One channel of each patch as it is, any one, and noise of a hundredth of its deviation.

    The noise stands in place of the other channels, around the mean of the one that is kept.

    Source: Doersch et al. 2015, arXiv 1505.05192, section 3.1 ("color dropping").
    """
    n, t, *_, c = x.shape
    if c == 1:
        return x
    k_kept, k_noise = jax.random.split(key)
    wide = x.astype(np.promote_types(x.dtype, np.float32))
    kept = integers(draws(k_kept, t, n).T, c)
    keep = kept[:, :, None] == jnp.arange(c, dtype=jnp.int32)[None, None]
    keep = jnp.broadcast_to(keep[:, :, None, None], x.shape)
    only = jnp.sum(jnp.where(keep, wide, 0), axis=-1, keepdims=True)
    mean = jnp.mean(only, axis=(2, 3), keepdims=True)
    deviation = jnp.std(only, axis=(2, 3), keepdims=True)
    noise = jax.random.normal(k_noise, x.shape, jnp.float32).astype(wide.dtype)
    return jnp.where(keep, wide, mean + deviation / 100 * noise).astype(x.dtype)


def project_colors(x: Float[Array, "*n h w c"]) -> Float[Array, "*n h w c"]:
    """RGB without what lies along green and magenta, the axis (-1, 2, -1); one channel as it is.

    Raises:
      ValueError: if there are neither 1 nor 3 channels.

    Source: Doersch et al. 2015, arXiv 1505.05192, section 3.1 ("projection").
    """
    if x.shape[-1] == 1:
        return x
    if x.shape[-1] != 3:
        raise ValueError(f"projection is defined for 1 or 3 channels, got {x.shape[-1]}")
    axis = np.asarray([-1, 2, -1])
    matrix = jnp.asarray(np.eye(3) - np.outer(axis, axis) / (axis @ axis))
    wide = x.astype(np.promote_types(x.dtype, np.float32))
    return jnp.dot(wide, matrix.astype(wide.dtype), precision="highest").astype(x.dtype)
