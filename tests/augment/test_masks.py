"""Random masks: counts, agreement of indices and mask, uniformity over subsets."""

import itertools

import jax
import numpy as np
import pytest
from scipy import stats

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
