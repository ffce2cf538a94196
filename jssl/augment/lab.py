"""CIE Lab, and its colours ab as classes: bins, soft encoding, decoding.

L is lightness in [0, 100]; a and b are colour, 0 for grey, in about [-110, 100]. sRGB in [0, 1],
illuminant D65 and the observer of 2 degrees, as scikit-image has them. Results are float32 at
least.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

# sRGB to XYZ, each row over the white point.
_TO_XYZ = np.array(
    [
        [0.412453, 0.357580, 0.180423],
        [0.212671, 0.715160, 0.072169],
        [0.019334, 0.119193, 0.950227],
    ]
) / np.array([[0.95047], [1.0], [1.08883]])
# Where the cube root of Lab becomes a line, and its slope: the rounded numbers of scikit-image.
_KNEE, _SLOPE = 0.008856, 7.787

GRID = 10
# The bins of Zhang et al.'s released code (``pts_in_hull``): for each a from -90 on the lowest and
# the highest b. They hold every bin next to a colour that sRGB has, and four more.
_LOWEST = (50, 20, 0, -20, -30, -40, -50, -50, -60, -70)
_LOWEST += (-80, -80, -90, -100, -100, -110, -110, -110, -110, -90)
_HIGHEST = (90, 90, 90, 90, 100, 100, 100, 100, 100, 100, 90, 90, 90, 90, 80, 80, 80, 70, 70, 0)
# a and b of all Q = 313 bins, [Q 2], in the order of that code.
AB_BINS = np.array(
    [
        (a, b)
        for a, low, high in zip(range(-90, 101, GRID), _LOWEST, _HIGHEST, strict=True)
        for b in range(low, high + 1, GRID)
    ]
)
AB_BINS.setflags(write=False)
_REACH = 12  # cells of the grid from grey to either side, past every colour of sRGB


def rgb_to_lab(x: Float[Array, "*n 3"]) -> Float[Array, "*n 3"]:
    """sRGB in [0, 1] to Lab."""
    x = _wide(x)
    linear = jnp.where(x > 0.04045, ((jnp.maximum(x, 0) + 0.055) / 1.055) ** 2.4, x / 12.92)
    t = jnp.einsum("...c,dc->...d", linear, jnp.asarray(_TO_XYZ, x.dtype), precision="highest")
    f = jnp.where(t > _KNEE, jnp.cbrt(t), _SLOPE * t + 4 / 29)
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    return jnp.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def lab_to_rgb(lab: Float[Array, "*n 3"]) -> Float[Array, "*n 3"]:
    """Lab to sRGB, clipped to [0, 1]: not every Lab colour is one of sRGB."""
    lab = _wide(lab)
    y = (lab[..., 0] + 16) / 116
    f = jnp.stack([y + lab[..., 1] / 500, y, y - lab[..., 2] / 200], axis=-1)
    matrix = jnp.asarray(np.linalg.inv(_TO_XYZ), lab.dtype)
    return _compand(jnp.einsum("...c,dc->...d", _cubed(f), matrix, precision="highest"))


def lightness_to_gray(lightness: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """The value in [0, 1] that all three channels of a grey sRGB pixel of this L have."""
    return _compand(_cubed((_wide(lightness) + 16) / 116))


def encode_ab(
    ab: Float[Array, "*n 2"], neighbors: int = 5, sigma: float = 5.0
) -> Float[Array, "*n k"]:
    """Soft encoding: each colour as a distribution over the k = 313 `AB_BINS`.

    Args:
      ab: [... 2], colours that sRGB has.
      neighbors: how many bins get a share, 1 to 5: the nearest, each exp(-d^2 / (2 sigma^2)) at
        distance d. Exactly the nearest, for colours of sRGB. The released code has 10.
      sigma: in units of ab.

    Raises:
      ValueError: if ``neighbors`` is not from 1 to 5.

    Source: Zhang, Isola & Efros 2016, arXiv 1603.08511, section 2.1.
    """
    if not 1 <= neighbors <= 5:
        raise ValueError(f"neighbors must be from 1 to 5, got {neighbors}")
    ab = _wide(ab)
    cell = jnp.clip(jnp.round(ab / GRID).astype(jnp.int32) + _REACH, 0, 2 * _REACH)
    near = jnp.asarray(_candidates())[cell[..., 0], cell[..., 1]]
    apart = ab[..., None, :] - jnp.asarray(AB_BINS, ab.dtype)[near]
    distance, at = jax.lax.top_k(-jnp.sum(apart**2, axis=-1), neighbors)
    near = jnp.take_along_axis(near, at, axis=-1)
    share = jax.nn.softmax(distance / (2 * sigma**2), axis=-1)
    bins = jnp.arange(len(AB_BINS), dtype=near.dtype).reshape((1,) * (ab.ndim - 1) + (-1,))
    hits = (near[..., i : i + 1] == bins for i in range(neighbors))
    return sum(jnp.where(hit, share[..., i : i + 1], 0) for i, hit in enumerate(hits))


def decode_ab(logits: Float[Array, "*n k"], temperature: float = 0.38) -> Float[Array, "*n 2"]:
    """The annealed mean of a distribution over `AB_BINS`, given as logits.

    At temperature 1 the mean, towards 0 the mode.

    Source: Zhang, Isola & Efros 2016, arXiv 1603.08511, equation 5.
    """
    p = jax.nn.softmax(_wide(logits) / temperature, axis=-1)
    return jnp.einsum("...k,kd->...d", p, jnp.asarray(AB_BINS, p.dtype), precision="highest")


@functools.cache
def _candidates() -> np.ndarray:
    """For each cell of the grid the 9 bins nearest to its middle, [25 25 9].

    They hold the 5 nearest of every colour of sRGB in the cell.
    """
    middle = (np.indices((2 * _REACH + 1,) * 2) - _REACH) * GRID
    distance = ((middle[:, :, :, None] - AB_BINS.T[:, None, None]) ** 2).sum(0)
    return np.argsort(distance, axis=-1, kind="stable")[..., :9].astype(np.int32)


def _wide(x):
    return x.astype(np.promote_types(x.dtype, np.float32))


def _cubed(f):
    return jnp.where(f > _KNEE ** (1 / 3), f**3, (f - 4 / 29) / _SLOPE)


def _compand(x):
    curve = 1.055 * jnp.maximum(x, 0.0031308) ** (1 / 2.4) - 0.055
    return jnp.clip(jnp.where(x > 0.0031308, curve, 12.92 * x), 0, 1)
