"""Lab against scikit-image, colour bins against the gamut, soft encoding against brute force."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from references import pixels as reference

from jssl.augment import lab

# scikit-image's rgb2lab at cd0a3d2 (0.26.1rc0), of these values over 255.
RGB_TO_LAB = [
    ((0, 0, 0), (0.000000, 0.000000, 0.000000)),
    ((255, 255, 255), (100.000000, -0.002455, 0.004653)),
    ((119, 119, 119), (50.034439, -0.001398, 0.002649)),
    ((255, 0, 0), (53.240588, 80.092308, 67.202751)),
    ((0, 255, 0), (87.735099, -86.183030, 83.179703)),
    ((0, 0, 255), (32.295673, 79.185591, -107.857300)),
    ((255, 255, 0), (97.139507, -21.554681, 94.478122)),
    ((0, 255, 255), (91.113301, -48.090596, -14.126330)),
    ((255, 0, 255), (60.323507, 98.233054, -60.821015)),
    ((2, 3, 1), (0.724638, -0.539639, 0.664808)),
    ((10, 12, 8), (3.116400, -1.124494, 1.362059)),
    ((200, 120, 40), (57.912293, 25.295217, 54.082782)),
    ((30, 60, 90), (24.467045, -0.568146, -21.295996)),
    ((244, 194, 194), (82.761255, 17.821182, 6.819347)),
]
# Its lab2rgb; some are no colours of sRGB.
LAB_TO_RGB = [
    ((50.0, 0.0, 0.0), (0.4663282, 0.4663243, 0.4663442)),
    ((50.0, 60.0, -40.0), (0.7202142, 0.2824040, 0.7374444)),
    ((70.0, -50.0, 50.0), (0.3838752, 0.7527137, 0.2879155)),
    ((30.0, 20.0, -60.0), (0.0000000, 0.2615701, 0.6505298)),
    ((90.0, 90.0, 90.0), (1.0000000, 0.5173122, 0.1841279)),
    ((5.0, 30.0, -30.0), (0.1280000, 0.0000000, 0.2248247)),
    ((60.0, 10.0, 5.0), (0.6498202, 0.5423653, 0.5341219)),
]
RNG = np.random.default_rng(0)
to_lab, to_rgb, encode = map(jax.jit, (lab.rgb_to_lab, lab.lab_to_rgb, lab.encode_ab))


def columns(pairs):
    return tuple(np.array(side, float) for side in zip(*pairs, strict=True))


def colors(m=2000):
    """Colours of sRGB [m 3], the corners of the cube and greys among them."""
    cube = np.array(list(np.ndindex(2, 2, 2)), float)
    greys = np.linspace(0, 1, 9)[:, None].repeat(3, 1)
    faces = np.clip(RNG.normal(0.5, 1, (m // 2, 3)), 0, 1)
    return np.concatenate([cube, greys, faces, RNG.random((m // 2, 3))])


@pytest.mark.usefixtures("x64")
def test_scikit_image():
    rgb, expected = columns(RGB_TO_LAB)
    np.testing.assert_allclose(to_lab(jnp.asarray(rgb / 255)), expected, atol=1e-4)
    x, expected = columns(LAB_TO_RGB)
    np.testing.assert_allclose(to_rgb(jnp.asarray(x)), expected, atol=1e-4)
    x = colors()
    np.testing.assert_allclose(to_lab(jnp.asarray(x)), reference.lab(x), atol=1e-4)


@pytest.mark.parametrize(("dtype", "atol"), [(jnp.float32, 1e-3), (jnp.bfloat16, 1.5)])
def test_narrow_dtypes_give_float32(dtype, atol):
    rgb, expected = columns(RGB_TO_LAB)
    ours = to_lab(jnp.asarray(rgb / 255, dtype))
    assert ours.dtype == jnp.float32
    np.testing.assert_allclose(ours, expected, atol=atol)


@pytest.mark.usefixtures("x64")
def test_there_and_back():
    x = colors()
    there = to_lab(jnp.asarray(x))
    np.testing.assert_allclose(to_rgb(there), x, atol=1e-6)
    gray = jax.jit(lab.lightness_to_gray)(there[:, 0])
    back = to_lab(jnp.broadcast_to(gray[:, None], (len(x), 3)))
    np.testing.assert_allclose(back[:, 0], there[:, 0], atol=1e-9)
    np.testing.assert_allclose(back[:, 1:], 0, atol=0.01)


def test_the_bins_are_those_of_the_paper():
    """Those next to a colour of sRGB, and four more that the released code has."""
    u = np.linspace(0, 1, 257)
    side = np.stack(np.meshgrid(u, u), -1).reshape(-1, 2)
    # The surface of the cube: nothing within is more colourful.
    faces = [np.insert(side, axis, c, axis=1) for axis in range(3) for c in (0.0, 1.0)]
    cells = np.unique(np.floor(reference.lab(np.concatenate(faces))[:, 1:] / 10), axis=0)
    corners = {tuple(10 * (c + o)) for c in cells for o in np.ndindex(2, 2)}
    bins = set(map(tuple, lab.AB_BINS.tolist()))
    assert len(bins) == len(lab.AB_BINS) == 313
    assert corners <= bins
    assert bins - corners == {(40, 90), (100, -90), (100, -10), (100, 0)}
    np.testing.assert_array_equal(lab.AB_BINS, sorted(bins))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("neighbors", [1, 5])
def test_soft_encoding_is_brute_force(neighbors):
    ab = reference.lab(colors())[:, 1:]
    ours = jax.jit(lab.encode_ab, static_argnums=1)(jnp.asarray(ab), neighbors)
    expected = reference.encode(ab, lab.AB_BINS, neighbors)
    np.testing.assert_allclose(ours, expected, atol=1e-12)
    assert ((np.asarray(ours) > 0).sum(1) == neighbors).all()


def test_soft_encoding_keeps_the_axes_before_the_last():
    ab = jnp.asarray(reference.lab(RNG.random((2, 3, 4, 3)))[..., 1:], jnp.float32)
    np.testing.assert_allclose(encode(ab)[1, 2], encode(ab[1, 2]), atol=1e-6)
    np.testing.assert_allclose(encode(ab).sum(-1), 1, atol=1e-6)


def test_neighbors_out_of_range():
    with pytest.raises(ValueError, match="neighbors must be from 1 to 5, got 6"):
        lab.encode_ab(jnp.zeros((1, 2)), 6)


@pytest.mark.usefixtures("x64")
def test_annealed_mean_goes_from_the_mean_to_the_mode():
    logits = RNG.normal(size=(6, 313)) * 3
    decode = jax.jit(lab.decode_ab, static_argnums=1)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(decode(jnp.asarray(logits), 1.0), p @ lab.AB_BINS, rtol=1e-9)
    sharp = p ** (1 / 0.38)
    sharp /= sharp.sum(1, keepdims=True)
    np.testing.assert_allclose(decode(jnp.asarray(logits)), sharp @ lab.AB_BINS, rtol=1e-9)
    mode = lab.AB_BINS[logits.argmax(1)]
    np.testing.assert_allclose(decode(jnp.asarray(logits), 1e-6), mode, atol=1e-6)


@pytest.mark.usefixtures("x64")
def test_what_was_encoded_decodes_to_a_colour_nearby():
    ab = reference.lab(colors())[:, 1:]
    soft = encode(jnp.asarray(ab))
    back = lab.decode_ab(jnp.log(jnp.maximum(soft, 1e-300)), 1.0)
    assert np.abs(np.asarray(back) - ab).max() < 10
    assert np.abs(np.asarray(back) - ab).mean() < 1.5
