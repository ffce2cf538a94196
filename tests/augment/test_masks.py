"""Masks: exact counts, what may overlap and what may not, and the distributions as stated."""

import functools
import itertools
import math

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage, stats

from jssl.augment import masks

KEY = jax.random.key(0)


@pytest.mark.parametrize(
    ("tokens", "ratio", "visible"), [(196, 0.75, 49), (64, 0.6, 25), (5, 0.5, 2), (100, 0.9, 9)]
)
def test_counts(tokens, ratio, visible):
    """The authors' int(tokens * (1 - ratio)), rounding included: 9 of 100 at ratio 0.9."""
    keep, mask = jax.jit(masks.random_mask, static_argnums=(1, 2, 3))(KEY, 30, tokens, ratio)
    assert keep.shape == (30, visible)
    assert keep.dtype == np.int32
    assert mask.dtype == bool
    assert (np.diff(keep, axis=1) > 0).all()
    for indices, hidden in zip(np.asarray(keep), np.asarray(mask), strict=True):
        np.testing.assert_array_equal(np.flatnonzero(~hidden), indices)


def test_subsets_are_uniform():
    n, tokens = 20_000, 6
    keep, _ = masks.random_mask(KEY, n, tokens, 0.5)
    subsets = list(itertools.combinations(range(tokens), 3))
    counts = np.zeros(len(subsets))
    for row in np.asarray(keep).tolist():
        counts[subsets.index(tuple(row))] += 1
    assert stats.chisquare(counts).pvalue > 1e-3


def test_key():
    one, _ = masks.random_mask(KEY, 8, 20, 0.5)
    np.testing.assert_array_equal(one, masks.random_mask(KEY, 8, 20, 0.5)[0])
    assert not np.array_equal(one, masks.random_mask(jax.random.key(1), 8, 20, 0.5)[0])


@pytest.mark.parametrize("ratio", [0.0, 1.0, -0.5, 1.5])
def test_ratio_out_of_range(ratio):
    with pytest.raises(ValueError, match=rf"ratio must be in \(0, 1\), got {ratio}"):
        masks.random_mask(KEY, 2, 16, ratio)


@pytest.mark.parametrize("ratio", [0.95, 1e-18])
def test_nothing_visible_or_hidden(ratio):
    with pytest.raises(ValueError, match="ratio must leave 1 to 15 of 16 tokens"):
        masks.random_mask(KEY, 2, 16, ratio)


SEEDS = st.integers(0, 2**32 - 1)
# Few shapes, each compiled once; many keys.
some = hypothesis.settings(max_examples=25, deadline=None, derandomize=True, database=None)


@functools.cache
def jitted(name, *args, **options):
    return jax.jit(lambda key: getattr(masks, name)(key, *args, **options))


def draw(name, seed, *args, **options):
    return jax.tree.map(np.asarray, jitted(name, *args, **options)(jax.random.key(seed)))


def box(mask):
    """Top, left, height and width of what is True, if that is all of a box."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    top, left = rows[0], columns[0]
    height, width = rows[-1] - top + 1, columns[-1] - left + 1
    assert mask[top : top + height, left : left + width].all()
    return top, left, height, width


class TestAligned:
    @some
    @hypothesis.given(SEEDS, st.sampled_from([(8, 8, 0.6, 2), (6, 9, 0.5, 3), (4, 6, 0.6, 1)]))
    def test_whole_squares_and_their_count(self, seed, case):
        rows, columns, ratio, side = case
        mask = draw("aligned_mask", seed, 5, (rows, columns), ratio, side)
        assert mask.shape == (5, rows * columns)
        tiles = mask.reshape(5, rows // side, side, columns // side, side).swapaxes(2, 3)
        tiles = tiles.reshape(5, -1, side * side)
        np.testing.assert_array_equal(tiles.all(-1), tiles.any(-1))
        # The released code's ceil(squares * ratio).
        squares = rows * columns // side**2
        np.testing.assert_array_equal(tiles.all(-1).sum(1), math.ceil(squares * ratio))

    def test_squares_of_one_patch_are_the_random_mask(self):
        _, expected = masks.random_mask(KEY, 7, 24, 0.6)
        np.testing.assert_array_equal(masks.aligned_mask(KEY, 7, (4, 6), 0.6, 1), expected)

    @pytest.mark.parametrize("side", [0, 3, 4])
    def test_squares_must_tile_the_grid(self, side):
        with pytest.raises(ValueError, match=f"divide the grid of 8x6 patches, got {side}"):
            masks.aligned_mask(KEY, 2, (8, 6), 0.5, side)


def algorithm_1(rng, h, w, count, min_patches, aspect):
    """BEiT's, patch by patch; the last block is cut to the count, its upper rows first."""
    mask = np.zeros((h, w), bool)
    while mask.sum() < count:
        area = min_patches + rng.random() * (count - mask.sum() - min_patches)
        ratio = np.exp(rng.uniform(np.log(aspect), -np.log(aspect)))
        a = int(np.clip(round(np.sqrt(area * ratio)), 1, h))
        b = int(np.clip(round(np.sqrt(area / ratio)), 1, w))
        top, left = rng.integers(h - a + 1), rng.integers(w - b + 1)
        for i, j in itertools.product(range(top, top + a), range(left, left + b)):
            mask[i, j] |= mask.sum() < count
    return mask


def neighbours(mask):
    """Mean number of hidden pairs of neighbours: the more, the larger the blocks."""
    return ((mask[:, 1:] & mask[:, :-1]).sum() + (mask[:, :, 1:] & mask[:, :, :-1]).sum()) / len(
        mask
    )


class TestBlocks:
    CASES = ((14, 14, 75, 16), (8, 8, 25, 4), (5, 9, 44, 1), (8, 8, 3, 16), (8, 8, 0, 4))

    @some
    @hypothesis.given(SEEDS, st.sampled_from(CASES))
    def test_exactly_so_many_are_hidden(self, seed, case):
        h, w, count, least = case
        mask = draw("block_mask", seed, 16, (h, w), count, min_patches=least)
        assert mask.shape == (16, h * w)
        np.testing.assert_array_equal(mask.sum(1), count)

    def test_a_count_of_its_own_for_each_example(self):
        counts = jnp.asarray([0, 1, 20, 63, 64], jnp.int32)
        mask = jax.jit(lambda c: masks.block_mask(KEY, 5, (8, 8), c))(counts)
        np.testing.assert_array_equal(mask.sum(1), counts)

    def test_like_the_algorithm(self):
        """Where it hides, and how much of that hangs together, against numpy, patch by patch."""
        n, h, w, count = 4000, 8, 8, 25
        rng = np.random.default_rng(0)
        expected = np.stack([algorithm_1(rng, h, w, count, 4, 0.3) for _ in range(n)])
        got = draw("block_mask", 0, n, (h, w), count, min_patches=4).reshape(n, h, w)
        # A share of 0.4 has a deviation of 0.008 among 4000, a difference of two 0.011.
        np.testing.assert_allclose(got.mean(0), expected.mean(0), atol=0.045)
        np.testing.assert_allclose(neighbours(got), neighbours(expected), rtol=0.01)
        scattered = draw("random_mask", 0, n, h * w, 1 - count / h / w)[1].reshape(n, h, w)
        assert neighbours(got) > 1.5 * neighbours(~scattered)

    def test_a_block_of_the_full_count_is_one_square_at_a_uniform_place(self):
        n = 5000
        mask = draw("block_mask", 0, n, (7, 6), 9, min_patches=9, aspect=1.0).reshape(n, 7, 6)
        corners = np.asarray([box(m) for m in mask])
        np.testing.assert_array_equal(corners[:, 2:], 3)
        assert corners[:, :2].min() == 0
        counts = np.zeros((5, 4))
        np.add.at(counts, (corners[:, 0], corners[:, 1]), 1)
        assert stats.chisquare(counts.ravel()).pvalue > 1e-3

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"count": 65}, "count must be from 0 to 64 patches, got 65"),
            ({"count": 9, "aspect": 0.0}, r"aspect must be in \(0, 1\], got 0.0"),
            ({"count": 9, "min_patches": 0}, "min_patches must be at least 1, got 0"),
        ],
    )
    def test_errors(self, options, message):
        with pytest.raises(ValueError, match=message):
            masks.block_mask(KEY, 2, (8, 8), **options)


class TestMultiBlock:
    CASES = (((8, 8), 0.3, 4), ((6, 9), 0.5, 2), ((8, 8), 0.8, 6))

    @some
    @hypothesis.given(SEEDS, st.sampled_from(CASES))
    def test_context_and_targets_never_overlap(self, seed, case):
        grid, share, m = case
        t = grid[0] * grid[1]
        blocks = draw("multi_block", seed, 8, grid, context=share, targets=m)
        assert blocks.context.shape == (8, round(share * t))
        assert blocks.targets.shape == blocks.valid.shape
        assert blocks.targets.shape[:2] == (8, m)
        assert blocks.context.dtype == blocks.targets.dtype == np.int32
        assert (np.diff(blocks.context, axis=1) > 0).all()
        assert blocks.context.min() >= 0
        assert blocks.context.max() < t
        for context, targets, valid in zip(*blocks, strict=True):
            for target, real in zip(targets, valid, strict=True):
                count = real.sum()
                assert real[:count].all()
                assert (np.diff(target[:count]) > 0).all()
                assert not np.isin(target[real], context).any()
                if count:
                    np.testing.assert_array_equal(target, np.resize(target[:count], len(target)))

    def test_targets_are_whole_blocks_of_the_stated_sizes(self):
        n, side = 2000, 14
        blocks = draw("multi_block", 1, n, (side, side))
        assert (blocks.valid.sum(2) == blocks.valid.shape[2]).any()  # none is longer than need be
        mask = np.zeros((n, 4, side * side), bool)
        np.put_along_axis(mask, blocks.targets, True, axis=2)
        boxes = np.asarray([box(m.reshape(side, side)) for m in mask.reshape(n * 4, -1)])
        height, width = boxes[:, 2], boxes[:, 3]
        np.testing.assert_array_equal(height * width, blocks.valid.sum(2).ravel())
        rng = np.random.default_rng(0)
        area, ratio = rng.uniform(0.15, 0.2, 10**5) * side**2, rng.uniform(0.75, 1.5, 10**5)
        expected = np.round(np.sqrt(area * ratio)), np.round(np.sqrt(area / ratio))
        for got, want in ((height, expected[0]), (width, expected[1])):
            for value in np.unique(want):
                np.testing.assert_allclose((got == value).mean(), (want == value).mean(), atol=0.03)
        # Places are uniform among those where the block fits.
        top = boxes[height == 6, 0]
        assert stats.chisquare(np.bincount(top, minlength=side - 5)).pvalue > 1e-3

    def test_the_context_is_a_random_part_of_its_block(self):
        n = 2000
        options = {"target_scale": (1 / 64, 1 / 64), "context_scale": (0.25, 0.25)}
        context = draw("multi_block", 0, n, (8, 8), context=10 / 64, **options).context
        row, column = context // 8, context % 8
        for at in (row, column):
            assert (at.max(1) - at.min(1)).max() == 3
        # With no block to speak of, any token that no target has is as likely as another.
        options = {"target_scale": (1 / 64, 1 / 64), "context_scale": (1.0, 1.0), "targets": 1}
        context = draw("multi_block", 0, n, (8, 8), context=10 / 64, **options).context
        assert stats.chisquare(np.bincount(context.ravel(), minlength=64)).pvalue > 1e-3

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"context": 1.0}, "context must leave 1 to 63 of 64 tokens, got 1.0"),
            ({"targets": 0}, "targets must be at least 1, got 0"),
            ({"target_scale": (0.2, 0.1)}, "a scale must be a range"),
            ({"target_aspect": (0.0, 1.0)}, "an aspect ratio must be a range above 0"),
        ],
    )
    def test_errors(self, options, message):
        with pytest.raises(ValueError, match=message):
            masks.multi_block(KEY, 2, (8, 8), **options)


class TestPixels:
    @pytest.mark.parametrize(("size", "side"), [((32, 32), 0.5), ((9, 12), 0.34)])
    def test_the_middle(self, size, side):
        mask = np.asarray(masks.central_region(3, size, side))
        assert mask.shape == (3, *size)
        for m in mask:
            top, left, height, width = box(m)
            assert (height, width) == (round(side * size[0]), round(side * size[1]))
            assert abs(top - (size[0] - top - height)) <= 1
            assert abs(left - (size[1] - left - width)) <= 1

    @some
    @hypothesis.given(
        SEEDS,
        st.sampled_from(["random_regions", "random_strokes"]),
        st.sampled_from([((16, 16), 0.25), ((12, 20), 0.5)]),
    )
    def test_exactly_so_many_pixels(self, seed, name, case):
        size, share = case
        mask = draw(name, seed, 4, size, share=share)
        assert mask.shape == (4, *size)
        np.testing.assert_array_equal(mask.sum((1, 2)), round(share * size[0] * size[1]))
        assert len({m.tobytes() for m in mask}) == 4

    def test_regions_hang_together_and_lie_anywhere(self):
        mask = draw("random_regions", 0, 2000, (16, 16))
        np.testing.assert_allclose(mask.mean(0), 0.25, atol=0.06)

        def pieces(mask):
            return np.mean([ndimage.label(m)[1] for m in mask])

        few, many = (pieces(draw("random_regions", 0, 50, (16, 16), points=p)) for p in (4, 12))
        noise = np.random.default_rng(0).random((50, 16, 16)) < 0.25
        assert 2 * few < many < pieces(noise)

    def test_a_stroke_is_one_piece(self):
        corners = np.ones((3, 3))
        for m in draw("random_strokes", 0, 50, (24, 24), strokes=1, share=0.2):
            assert ndimage.label(m, corners)[1] == 1

    def test_strokes_are_the_pixels_nearest_to_a_line(self):
        a, b = np.asarray([[2.0, 3.0]]), np.asarray([[9.0, 6.0]])
        got = masks._distance(jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32), (12, 10))
        along = a + np.linspace(0, 1, 2001)[:, None] * (b - a)
        middle = np.stack(np.indices((12, 10)), -1) + 0.5
        expected = ((middle[:, :, None] - along) ** 2).sum(-1).min(-1)
        np.testing.assert_allclose(got[0], expected, atol=1e-4)

    @pytest.mark.parametrize("name", ["random_regions", "random_strokes"])
    @pytest.mark.parametrize("share", [0.0, 1.0, 1e-4])
    def test_share_out_of_range(self, name, share):
        with pytest.raises(ValueError, match=r"share must be in \(0, 1\) and hide a pixel, got"):
            getattr(masks, name)(KEY, 2, (8, 8), share=share)

    def test_side_out_of_range(self):
        with pytest.raises(ValueError, match=r"side must be in \(0, 1\], got 1.5"):
            masks.central_region(2, (8, 8), 1.5)


MASKS = {
    "aligned_mask": ((4, 6), 0.5, 2),
    "block_mask": ((4, 6), 9),
    "multi_block": ((4, 6),),
    "random_regions": ((8, 8),),
    "random_strokes": ((8, 8),),
}


@pytest.mark.parametrize("name", MASKS)
def test_a_key_is_a_mask(name):
    one, again, other = (draw(name, seed, 16, *MASKS[name]) for seed in (3, 3, 4))
    assert jax.tree.all(jax.tree.map(np.array_equal, one, again))
    assert not jax.tree.all(jax.tree.map(np.array_equal, one, other))


def test_masks_are_the_same_under_x64(x64):
    plain = jitted.__wrapped__("multi_block", 8, (8, 8), context=0.3, targets=4)(jax.random.key(0))
    with jax.enable_x64(False):
        expected = draw("multi_block", 0, 8, (8, 8), context=0.3, targets=4)
    jax.tree.map(np.testing.assert_array_equal, plain, expected)
