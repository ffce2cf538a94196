"""Blocks of a random share: how many examples are masked, and how much of each."""

import jax
import numpy as np
import pytest
from scipy import stats

from jssl.augment import blocks

KEY = jax.random.key(0)


def test_probability_and_shares():
    """iBOT's: half of the views; of those a share uniform from 0.1 to 0.5, rounded down."""
    draw = jax.jit(blocks.sometimes_blocks, static_argnums=(1, 2))
    mask = np.asarray(draw(KEY, 4000, (8, 8)))
    count = mask.sum(1)
    assert stats.binomtest(int((count > 0).sum()), 4000, 0.5).pvalue > 1e-3
    counts = np.bincount(count[count > 0], minlength=33)
    assert counts[:6].sum() == 0
    assert len(counts) == 33
    # floor of a number uniform from 6.4 to 32
    shares = np.diff(np.clip(np.arange(6, 34), 6.4, 32)) / 25.6
    assert stats.chisquare(counts[6:32], shares[:-1] * (count > 0).sum()).pvalue > 1e-3


def test_blocks_not_scattered_patches():
    """Neighbours share their fate far more often than at random."""
    mask = np.asarray(blocks.sometimes_blocks(KEY, 500, (8, 8), probability=1.0)).reshape(-1, 8, 8)
    both = (mask[:, :, 1:] & mask[:, :, :-1]).mean()
    assert both > 2 * (mask.mean((1, 2)) ** 2).mean()


def test_never_and_always():
    assert not np.asarray(blocks.sometimes_blocks(KEY, 20, (4, 4), probability=0.0)).any()
    half = blocks.sometimes_blocks(KEY, 20, (4, 4), probability=1.0, ratio=0.5, variation=0.0)
    np.testing.assert_array_equal(np.asarray(half).sum(1), 8)


def test_bad_options():
    with pytest.raises(ValueError, match=r"probability must be in \[0, 1\], got 1.5"):
        blocks.sometimes_blocks(KEY, 2, (4, 4), probability=1.5)
    with pytest.raises(ValueError, match=r"least_ratio must be in \[0, 1\], got -0.1"):
        blocks.sometimes_blocks(KEY, 2, (4, 4), ratio=0.1)
