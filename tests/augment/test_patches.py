"""Patches: what is cut, from places of the stated distribution, and colours that tell nothing."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jssl.augment import patches

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
cut = jax.jit(patches.cut, static_argnums=2)


def test_cut_is_slicing():
    x = RNG.random((3, 9, 7, 2))
    corners = np.stack([RNG.integers(0, 6, (3, 4)), RNG.integers(0, 4, (3, 4))], axis=-1)
    got = cut(jnp.asarray(x, jnp.float32), jnp.asarray(corners, jnp.int32), 4)
    assert got.shape == (3, 4, 4, 4, 2)
    for i, t in np.ndindex(3, 4):
        row, column = corners[i, t]
        expected = x[i, row : row + 4, column : column + 4]
        np.testing.assert_array_equal(got[i, t], expected.astype(np.float32))


def test_cut_apart_takes_each_channel_from_a_place_of_its_own():
    """Pixels that say where they are: offsets of a channel are uniform within the shift."""
    n, side, shift = 500, 12, 2
    rows, columns = np.indices((side, side))
    plane = jnp.asarray(rows * side + columns, jnp.float32)
    x = jnp.broadcast_to(plane[None, :, :, None], (n, side, side, 3))
    corners = jnp.full((n, 2, 2), 4, jnp.int32)
    got = np.asarray(
        jax.jit(patches.cut_apart, static_argnums=(3, 4))(KEY, x, corners, 3, shift)
    ).astype(int)
    np.testing.assert_array_equal(
        got, got[:, :, :1, :1] + (rows[:3, :3] * side + columns[:3, :3])[None, None, :, :, None]
    )
    first = np.stack(np.divmod(got[:, :, 0, 0], side), axis=-1) - 4
    for t, c, axis in np.ndindex(2, 3, 2):
        counts = np.bincount(first[:, t, c, axis] + shift, minlength=2 * shift + 1)
        assert len(counts) == 2 * shift + 1
        assert stats.chisquare(counts).pvalue > 1e-3
    assert abs(np.corrcoef(first[:, 0, 0, 0], first[:, 0, 1, 0])[0, 1]) < 0.2


class TestNeighbours:
    n, size, patch, gap, jitter = 20_000, (20, 22), 5, 3, 2

    @classmethod
    @functools.cache
    def drawn(cls):
        draw = jax.jit(patches.neighbour_corners, static_argnums=(1, 2, 3, 4, 5))
        corners, label = draw(KEY, cls.n, cls.size, cls.patch, cls.gap, cls.jitter)
        return np.asarray(corners), np.asarray(label)

    def test_both_patches_are_inside(self):
        corners, _ = self.drawn()
        assert corners.min() == 0
        np.testing.assert_array_equal(corners.max((0, 1)), [s - self.patch for s in self.size])

    def test_labels_are_uniform_and_say_where_the_second_lies(self):
        corners, label = self.drawn()
        assert stats.chisquare(np.bincount(label, minlength=8)).pvalue > 1e-3
        grid = np.asarray(patches.NEIGHBOURS)
        np.testing.assert_array_equal(grid + grid[::-1], 0)  # opposite labels sum to 7
        off = corners[:, 1] - corners[:, 0] - grid[label] * (self.patch + self.gap)
        # The difference of two jitters: triangular.
        width = 2 * self.jitter + 1
        shares = np.convolve(np.ones(width), np.ones(width)) / width**2
        for axis in range(2):
            counts = np.bincount(off[:, axis] + 2 * self.jitter)
            assert stats.chisquare(counts, shares * self.n).pvalue > 1e-3

    @pytest.mark.parametrize("label", [0, 1, 4])
    def test_the_place_of_a_pair_is_uniform(self, label):
        """Each axis: a uniform start among those that fit, plus the first patch's own jitter."""
        corners, labels = self.drawn()
        for axis, direction in enumerate(patches.NEIGHBOURS[label]):
            step = direction * (self.patch + self.gap)
            places = self.size[axis] - self.patch - 2 * self.jitter - abs(step) + 1
            width = 2 * self.jitter + 1
            shares = np.convolve(np.ones(places), np.ones(width)) / (places * width)
            first = corners[labels == label, 0, axis] - max(-step, 0)
            counts = np.bincount(first, minlength=len(shares))
            assert stats.chisquare(counts, shares * len(first)).pvalue > 1e-3

    def test_too_small(self):
        with pytest.raises(ValueError, match=r"at most the image's 20x16, got 17"):
            patches.neighbour_corners(KEY, 2, (20, 16), 5, 3, 2)


def test_tiles_are_uniform_in_their_cells():
    """17 pixels make three cells of 5 from pixel 1 on; tiles of 3 have three places in each."""
    draw = jax.jit(patches.tile_corners, static_argnums=(1, 2, 3))
    corners = np.asarray(draw(KEY, 3000, (17, 17), 3))
    assert corners.shape == (3000, 9, 2)
    for tile, axis in np.ndindex(9, 2):
        place = corners[:, tile, axis] - 1 - 5 * (tile // 3, tile % 3)[axis]
        counts = np.bincount(place, minlength=3)
        assert len(counts) == 3
        assert stats.chisquare(counts).pvalue > 1e-4
    with pytest.raises(ValueError, match=r"tile must be at most .* 5 pixels of 17x17, got 6"):
        patches.tile_corners(KEY, 2, (17, 17), 6)


class TestPermutations:
    @pytest.mark.parametrize(("count", "least"), [(10, 8), (30, 6), (100, 4)])
    def test_far_from_each_other(self, count, least):
        """The mean distance is the greatest possible: at each place all tiles equally often."""
        chosen = patches.far_permutations(count)
        np.testing.assert_array_equal(np.sort(chosen, axis=1), [range(9)] * count)
        distance = (chosen[:, None] != chosen[None]).sum(-1)[np.triu_indices(count, 1)]
        often, rest = divmod(count, 9)
        agreeing = 9 * (rest * (often + 1) * often + (9 - rest) * often * (often - 1)) / 2
        assert distance.mean() == pytest.approx(9 - agreeing / len(distance))
        assert distance.min() == least  # above 0: none is there twice

    def test_each_is_the_farthest_from_those_before(self):
        """Algorithm 1 with a full table of distances, which this many tiles allow."""
        everything = np.asarray(list(itertools.permutations(range(5))))
        chosen = patches.far_permutations(20, 5)
        for i in range(1, 20):
            mean = (everything[:, None] != chosen[None, :i]).sum(-1).mean(1)
            taken = (everything[:, None] == chosen[None, :i]).all(-1).any(1)
            own = (chosen[i] != chosen[:i]).sum(-1).mean()
            assert own == pytest.approx(mean[~taken].max())

    def test_deterministic_and_all_of_them(self):
        one = patches.far_permutations(10)
        np.testing.assert_array_equal(one, patches.far_permutations.__wrapped__(10))
        assert not np.array_equal(one, patches.far_permutations(10, seed=1))
        assert one is patches.far_permutations(10)
        with pytest.raises(ValueError, match="read-only"):
            one[0] = 0
        assert len(np.unique(patches.far_permutations(24, 4), axis=0)) == 24

    def test_bad_options(self):
        with pytest.raises(ValueError, match="count must be from 1 to 6 for 3 tiles, got 7"):
            patches.far_permutations(7, 3)
        with pytest.raises(ValueError, match="tiles must be from 2 to 9, got 10"):
            patches.far_permutations(7, 10)


class TestColours:
    x = RNG.random((4, 3, 5, 5, 3)).astype(np.float32)

    def test_standardize(self):
        got = np.asarray(patches.standardize(jnp.asarray(self.x)), np.float64)
        np.testing.assert_allclose(got.mean((2, 3)), 0, atol=1e-6)
        np.testing.assert_allclose(got.std((2, 3, 4)), 1, rtol=1e-4)
        cast = self.x * RNG.uniform(0.5, 2, (4, 3, 1, 1, 1)) + RNG.random((4, 3, 1, 1, 3))
        np.testing.assert_allclose(
            patches.standardize(jnp.asarray(cast, jnp.float32)), got, rtol=1e-3, atol=1e-3
        )
        flat = jnp.broadcast_to(jnp.asarray([0.2, 0.7, 0.4]), (1, 4, 4, 3))
        np.testing.assert_allclose(patches.standardize(flat), 0, atol=1e-3)
        assert patches.standardize(flat.astype(jnp.bfloat16)).dtype == jnp.bfloat16

    def test_drop_colors_keeps_one_channel_any_one(self):
        x = np.broadcast_to(self.x[:1, :1], (300, 2, 5, 5, 3))
        got = np.asarray(jax.jit(patches.drop_colors)(KEY, jnp.asarray(x)))
        same = (got == x).all((2, 3))
        np.testing.assert_array_equal(same.sum(-1), 1)
        kept = same.argmax(-1)
        assert stats.chisquare(np.bincount(kept.ravel(), minlength=3)).pvalue > 1e-3
        assert 0.2 < (kept[:, 0] == kept[:, 1]).mean() < 0.5
        only = np.take_along_axis(x, kept[:, :, None, None, None], axis=-1)
        noise = (got - only.mean((2, 3), keepdims=True))[
            ~np.broadcast_to(same[:, :, None, None], x.shape)
        ]
        scale = np.broadcast_to(only.std((2, 3), keepdims=True), x.shape)[..., :1].mean()
        assert abs(noise.mean()) < 0.1 * scale / 100
        assert noise.std() == pytest.approx(scale / 100, rel=0.05)

    def test_project_colors(self):
        x = jnp.asarray(self.x)
        got = np.asarray(patches.project_colors(x))
        np.testing.assert_allclose(got @ [-1, 2, -1], 0, atol=1e-6)
        np.testing.assert_allclose(got @ [1, 1, 1], self.x @ [1, 1, 1], rtol=1e-5)
        np.testing.assert_allclose(got @ [1, 0, -1], self.x @ [1, 0, -1], atol=1e-6)
        with pytest.raises(ValueError, match="defined for 1 or 3 channels, got 2"):
            patches.project_colors(x[..., :2])

    def test_one_channel_is_left_alone(self):
        x = jnp.asarray(self.x[..., :1])
        np.testing.assert_array_equal(patches.drop_colors(KEY, x), x)
        np.testing.assert_array_equal(patches.project_colors(x), x)
