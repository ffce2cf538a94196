"""Packing loses no token, mixes no documents, pads the end alone."""

import numpy as np
import pytest

from jssl.data.packing import pack


@pytest.mark.parametrize("length", [1, 7, 64])
def test_packing_keeps_every_token_in_order(length):
    rng = np.random.default_rng(0)
    documents = [rng.integers(1, 99, size) for size in (5, 0, 1, 30, 7, 2, 64, 3)]
    tokens, segments = pack(documents, length, pad=99)
    real = segments > 0
    np.testing.assert_array_equal(tokens[real], np.concatenate(documents))
    assert np.all(tokens[~real] == 99)
    assert (~real).sum() == real.size - 112 < length
    owners = np.repeat(np.arange(8), [len(d) for d in documents])
    owner = np.full(real.size, -1)
    owner[:112] = owners
    for own, row in zip(owner.reshape(segments.shape), segments, strict=True):
        there = row[row > 0]
        assert there[0] == 1
        assert np.all(np.diff(there) >= 0)
        same = own[:, None] == own[None]
        np.testing.assert_array_equal(same, row[:, None] == row[None])


def test_nothing_to_pack():
    with pytest.raises(ValueError, match="no token to pack"):
        pack([np.array([], int)], 8)
    with pytest.raises(ValueError, match="length must be at least 1, got 0"):
        pack([np.array([1])], 0)
