import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.nn import patchify, sincos2d, unpatchify
from jssl.nn.positions import resize_grid


def mae_embedding(dim, rows, columns):
    """The formula of MAE's released position embedding, in plain loops.

    Half the features from the column coordinate, half from the row; each half is sines, then
    cosines, of position / 10000^(i / (dim/4)).
    """
    table = np.zeros((rows * columns, dim))
    for r in range(rows):
        for c in range(columns):
            for half, position in enumerate((c, r)):
                for i in range(dim // 4):
                    angle = position / 10000 ** (i / (dim / 4.0))
                    table[r * columns + c, half * dim // 2 + i] = np.sin(angle)
                    table[r * columns + c, half * dim // 2 + dim // 4 + i] = np.cos(angle)
    return table


@pytest.mark.parametrize(("h", "w", "dim"), [(14, 14, 64), (3, 5, 16), (1, 1, 4)])
def test_sincos_is_maes(x64, h, w, dim):
    want = mae_embedding(dim, h, w)
    np.testing.assert_allclose(sincos2d(h, w, dim), want, rtol=1e-12, atol=1e-14)
    with_cls = np.asarray(sincos2d(h, w, dim, cls=True))
    np.testing.assert_array_equal(with_cls[0], np.zeros(dim))
    np.testing.assert_allclose(with_cls[1:], want, rtol=1e-12, atol=1e-14)


def test_sincos_is_float32_and_tells_rows_from_columns():
    table = sincos2d(4, 4, 8)
    assert table.dtype == jnp.float32
    np.testing.assert_array_equal(table[1, 4:], table[0, 4:])  # next column: same row half
    np.testing.assert_array_equal(table[4, :4], table[0, :4])  # next row: same column half
    assert np.unique(np.round(np.asarray(table), 5), axis=0).shape == (16, 8)


@pytest.mark.parametrize("dim", [0, 6, 10])
def test_sincos_refuses_dim(dim):
    with pytest.raises(ValueError, match=f"dim must be a positive multiple of 4 .* got {dim}"):
        sincos2d(2, 2, dim)


@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize(("size", "patch", "c"), [((8, 12), 4, 3), ((6, 6), 1, 1), ((6, 6), 6, 5)])
def test_patches_round_trip(dtype, size, patch, c):
    x = jax.random.randint(jax.random.key(0), (2, *size, c), 0, 255).astype(dtype)
    p = patchify(x, patch)
    assert p.shape == (2, size[0] * size[1] // patch**2, patch**2 * c)
    assert p.dtype == dtype
    np.testing.assert_array_equal(unpatchify(p, patch, size), x)


def test_patches_run_row_by_row():
    x = jnp.arange(4 * 6 * 2).reshape(1, 4, 6, 2)
    p = patchify(x, 2)
    np.testing.assert_array_equal(p[0, 1], x[0, 0:2, 2:4].reshape(-1))
    np.testing.assert_array_equal(p[0, 3], x[0, 2:4, 0:2].reshape(-1))


def test_errors():
    with pytest.raises(ValueError, match="image of 30x32 cannot be cut into patches of 16"):
        patchify(jnp.zeros((1, 30, 32, 3)), 16)
    with pytest.raises(ValueError, match=r"patches must be \[n 4 16\*c\].* got \[2 3 16\]"):
        unpatchify(jnp.zeros((2, 3, 16)), 4, (8, 8))


def test_resize_keeps_a_plane_and_the_same_grid():
    rows, columns = np.indices((6, 6)) + 0.5
    table = jnp.asarray(np.stack([rows, columns], -1) / 6, jnp.float32)
    assert resize_grid(table, 6, 6) is table
    big = resize_grid(table, 12, 12)
    rows, columns = (np.indices((12, 12)) + 0.5) / 12
    inside = np.s_[3:-3, 3:-3]  # bicubic is exact on a plane away from the border
    np.testing.assert_allclose(big[inside][..., 0], rows[inside], atol=1e-5)
    np.testing.assert_allclose(big[inside][..., 1], columns[inside], atol=1e-5)
