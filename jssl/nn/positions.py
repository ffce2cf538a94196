"""Where a patch or a token lies: cutting images into patches, and position embeddings."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped


def grid_of(size: tuple[int, int], patch: int) -> tuple[int, int]:
    """Rows and columns of patches in an image of ``size``; ValueError if they do not fit."""
    height, width = size
    if patch < 1 or height % patch or width % patch:
        raise ValueError(
            f"image of {height}x{width} cannot be cut into patches of {patch}: "
            "resize it, or choose a patch that divides both sides"
        )
    return height // patch, width // patch


def patchify(x: Shaped[Array, "n h w c"], patch: int) -> Shaped[Array, "n t d"]:
    """Cut images into square patches, row by row; each is flattened as row, column, channel."""
    n, height, width, c = x.shape
    rows, columns = grid_of((height, width), patch)
    x = x.reshape(n, rows, patch, columns, patch, c).swapaxes(2, 3)
    return x.reshape(n, rows * columns, patch * patch * c)


def unpatchify(
    p: Shaped[Array, "n t d"], patch: int, size: tuple[int, int]
) -> Shaped[Array, "n h w c"]:
    """Put the patches of `patchify` back into images of ``size`` = (height, width)."""
    n, t, d = p.shape
    rows, columns = grid_of(size, patch)
    if t != rows * columns or d % patch**2:
        raise ValueError(
            f"patches must be [n {rows * columns} {patch * patch}*c] for an image of "
            f"{size[0]}x{size[1]} and patches of {patch}, got [{n} {t} {d}]"
        )
    p = p.reshape(n, rows, columns, patch, patch, -1).swapaxes(2, 3)
    return p.reshape(n, *size, -1)


def sincos2d(h: int, w: int, dim: int, cls: bool = False) -> Float[Array, "t d"]:
    """Fixed sine and cosine embedding of a grid of h rows and w columns, row by row: [h*w dim].

    The convention of MAE's released code (He et al. 2022, arXiv 2111.06377): the first half of
    the features encodes the column, the second half the row; in each half dim/4 sines come before
    dim/4 cosines, of the index over 10000 ** (i / (dim/4)). With ``cls`` a row of zeros is put
    before the grid: [1 + h*w dim]. float64 under x64, else float32.
    """
    if dim < 4 or dim % 4:
        raise ValueError(f"dim must be a positive multiple of 4 for sincos2d, got {dim}")
    frequencies = 10000.0 ** (-np.arange(dim // 4) / (dim / 4))
    rows, columns = np.indices((h, w)).reshape(2, h * w, 1)
    angles = [columns * frequencies, rows * frequencies]
    table = np.concatenate([f(angle) for angle in angles for f in (np.sin, np.cos)], axis=1)
    if cls:
        table = np.concatenate([np.zeros((1, dim)), table])
    return jnp.asarray(table)


def resize_grid(table: Float[Array, "h w d"], h: int, w: int) -> Float[Array, "a b d"]:
    """Learned positions for another grid, bicubic (Keys, a = -0.5; antialiased when it shrinks)."""
    if table.shape[:2] == (h, w):
        return table
    return jax.image.resize(table, (h, w, table.shape[2]), "bicubic")


def sinusoids(positions: Int[Array, "n t"], dim: int) -> Float[Array, "n t {dim}"]:
    """Fixed sine and cosine embedding of places in a text: sine at even features, cosine at odd.

    In float32, or float64 under x64. ``dim`` must be even.

    Source: Vaswani et al. 2017, arXiv 1706.03762, section 3.5.
    """
    angles = rotary_angles(positions, dim)
    return jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=-1).reshape(*positions.shape, dim)


def rotary_angles(positions: Int[Array, "n t"], dim: int) -> Float[Array, "n t a"]:
    """The angle of each of the dim / 2 pairs of features: position * 10000 ** (-2 i / dim).

    Source: Su et al. 2021, arXiv 2104.09864, equation 15 and section 3.3.
    """
    if dim < 2 or dim % 2:
        raise ValueError(f"dim must be a positive even number, got {dim}")
    frequencies = jnp.asarray(10000.0 ** (-np.arange(0, dim, 2) / dim))
    return positions.astype(frequencies.dtype)[:, :, None] * frequencies[None, None]


def rotate(x: Float[Array, "n t h d"], angles: Float[Array, "n t a"]) -> Float[Array, "n t h d"]:
    """Turns each pair of features (2i, 2i + 1) by its angle, in float32 or wider.

    Products of queries and keys so turned depend on how far apart their places are, alone.

    Source: Su et al. 2021, arXiv 2104.09864, equation 34.
    """
    wide = np.promote_types(x.dtype, np.float32)
    even, odd = x[..., 0::2].astype(wide), x[..., 1::2].astype(wide)
    cos = jnp.cos(angles).astype(wide)[:, :, None]
    sin = jnp.sin(angles).astype(wide)[:, :, None]
    turned = jnp.stack([even * cos - odd * sin, odd * cos + even * sin], axis=-1)
    return turned.reshape(x.shape).astype(x.dtype)
