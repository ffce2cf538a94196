"""What JPEG loses, on the device: the quantisation of cosines, without the coding of bits.

ITU-T T.81, annexes A and K, with colours as in JFIF (T.871) and the scaling of tables, the halving
and the interpolation of colour of libjpeg.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from jssl import require

HIGHEST = jax.lax.Precision.HIGHEST
# Tables K.1 and K.2: what cosines of luminance and chrominance are divided by at quality 50.
LUMA = """16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51 87
80 62 18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101 72 92 95 98
112 100 103 99"""
CHROMA = "17 18 24 47 18 21 26 66 24 26 56 99 47 66 99 99"  # the rest is 99
# JFIF: red, green and blue to brightness and two differences of colour.
YCC = np.array(
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float64
)


def jpeg(key: Key[Array, ""], x: Float[Array, "n h w c"], level: float) -> Float[Array, "n h w c"]:
    """Quantises cosines of blocks of 8 x 8 pixels as JPEG of quality ``level`` in [1, 100] does.

    Of three channels colour is halved in size first (4:2:0) and interpolated after; of any other
    number each is one of brightness. No bits are made, as coding them loses nothing.
    """
    require.at_least(1, level=level)
    n, h, w, c = x.shape
    levels = jnp.round(255 * x)
    luma, chroma = (jnp.asarray(t, x.dtype) for t in _tables(level))
    pad = [(0, 0), (0, -h % 16), (0, -w % 16), (0, 0)]
    levels = jnp.pad(levels, pad, mode="edge")
    if c != 3:
        return _cut(_quantised(levels - 128, luma) + 128, x)
    ycc = jnp.tensordot(levels, jnp.asarray(YCC.T, x.dtype), 1, precision=HIGHEST)
    ycc = jnp.round(ycc)
    y = _quantised(ycc[..., :1] - 128, luma) + 128
    n, height, width, _ = ycc.shape
    halves = ycc[..., 1:].reshape(n, height // 2, 2, width // 2, 2, 2).mean(axis=(2, 4))
    colour = _quantised(jnp.round(halves), chroma)
    for axis in (1, 2):
        wide = jnp.asarray(_interpolation(colour.shape[axis]), x.dtype)
        found = jnp.tensordot(colour, wide, ((axis,), (1,)), precision=HIGHEST)
        colour = jnp.moveaxis(found, -1, axis)
    back = jnp.asarray(np.linalg.inv(YCC).T, x.dtype)
    whole = jnp.concatenate([y, colour], axis=-1)
    return _cut(jnp.tensordot(whole, back, 1, precision=HIGHEST), x)


def _tables(quality: float) -> tuple[np.ndarray, np.ndarray]:
    """What cosines are divided by, [8 8] for brightness and colour, as libjpeg scales them."""
    luma = np.array(LUMA.split(), float).reshape(8, 8)
    chroma = np.full((8, 8), 99.0)
    chroma[:4, :4] = np.array(CHROMA.split(), float).reshape(4, 4)
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    return tuple(np.clip((t * scale + 50) // 100, 1, 255) for t in (luma, chroma))


def _quantised(x: Array, table: Array) -> Array:
    """Blocks of 8 x 8 of [n h w c] to cosines, these to multiples of the table's, and back."""
    n, h, w, c = x.shape
    k = np.arange(8)
    cosines = np.cos((2 * k + 1) * k[:, None] * np.pi / 16) * np.where(k[:, None] > 0, 0.5, 8**-0.5)
    basis = jnp.asarray(cosines, x.dtype)
    blocks = x.reshape(n, h // 8, 8, w // 8, 8, c)
    found = jnp.einsum("ui,vj,naibjc->naubvc", basis, basis, blocks, precision=HIGHEST)
    step = table[None, None, :, None, :, None]
    kept = jnp.round(found / step) * step
    back = jnp.einsum("ui,vj,naubvc->naibjc", basis, basis, kept, precision=HIGHEST)
    return jnp.clip(jnp.round(back.reshape(n, h, w, c)), -128, 127)


def _interpolation(count: int) -> np.ndarray:
    """Weights [2 count, count] of libjpeg's upsampling: three quarters of the nearest value."""
    own = np.arange(2 * count) // 2
    other = np.clip(own + np.where(np.arange(2 * count) % 2, 1, -1), 0, count - 1)
    eye = np.eye(count)
    return 0.75 * eye[own] + 0.25 * eye[other]


def _cut(levels: Array, x: Array) -> Array:
    return jnp.clip(jnp.round(levels[:, : x.shape[1], : x.shape[2]]), 0, 255) / 255
