"""BERT's masks and sentence pairs: counts, shares, and what they may never do."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.augment import tokens

MASK, K = 3, 50
CLS, SEP, PAD = 1, 2, 0


def rows(n, t, seed=0):
    rng = np.random.default_rng(seed)
    text = jnp.asarray(rng.integers(5, K, (n, t)), jnp.int32)
    maskable = jnp.asarray(rng.random((n, t)) < 0.9)
    return text, maskable.at[0].set(False).at[1, 1:].set(False).at[1, 0].set(True)


@functools.partial(jax.jit, static_argnames="ratio")
def masked(key, text, maskable, starts=None, ratio=0.15):
    options = {"mask_token": MASK, "vocabulary": K, "ratio": ratio, "starts": starts}
    return tokens.bert_mask(key, text, maskable, **options)


@pytest.mark.parametrize("ratio", [0.15, 0.5])
def test_counts_are_the_rounded_share_and_at_least_one(ratio):
    text, maskable = rows(64, 40)
    out = masked(jax.random.key(0), text, maskable, ratio=ratio)
    there = np.asarray(maskable).sum(1)
    expected = np.minimum(
        np.maximum(np.round(there.astype(np.float32) * np.float32(ratio)), 1), there
    )
    assert expected[0] == 0
    assert expected[1] == 1
    np.testing.assert_array_equal(out.mask.sum(1), expected)
    assert not np.any(out.mask & ~maskable)
    np.testing.assert_array_equal(out.tokens[~out.mask], text[~out.mask])


def test_shares_are_80_10_10():
    text, maskable = rows(2000, 64)
    out = jax.tree.map(np.asarray, masked(jax.random.key(1), text, maskable))
    now, was = out.tokens[out.mask], np.asarray(text)[out.mask]
    n = len(now)
    kept = 0.1 + 0.1 / K
    for share, expected in (((now == MASK).mean(), 0.8 + 0.1 / K), ((now == was).mean(), kept)):
        assert abs(share - expected) < 4 * (expected * (1 - expected) / n) ** 0.5
    random = now[(now != MASK) & (now != was)]
    counts = np.bincount(random, minlength=K)[5:]
    assert counts.min() > 0.5 * counts.mean()
    assert set(random) >= set(range(K)) - {MASK}


def test_every_token_is_as_likely():
    text = jnp.zeros((4000, 8), jnp.int32)
    mask = masked(jax.random.key(2), text, jnp.ones((4000, 8), bool), ratio=0.25).mask
    np.testing.assert_allclose(mask.mean(0), 0.25, atol=4 * (0.25 * 0.75 / 4000) ** 0.5)


def test_whole_words_are_hidden_whole_or_not_at_all():
    text, maskable = rows(200, 40)
    starts = jnp.asarray(np.random.default_rng(3).random((200, 40)) < 0.6)
    mask = np.asarray(masked(jax.random.key(3), text, maskable, starts).mask)
    counts = np.asarray(tokens.mask_counts(maskable, 0.15))
    partly = 0
    for row, can, begins, count in zip(mask, np.asarray(maskable), starts, counts, strict=True):
        words, last = [], False
        for i in range(40):
            if can[i] and (begins[i] or not last):
                words.append([])
            if can[i]:
                words[-1].append(i)
            last = can[i]
        hidden = [row[word].all() for word in words]
        assert hidden == [row[word].any() for word in words]
        assert row.sum() <= count
        # No word that is left would still have found room.
        left = [len(word) for word, h in zip(words, hidden, strict=True) if not h]
        assert all(row.sum() + size > count for size in left)
        partly += row.sum() < count
    assert partly < 40


def test_words_of_one_token_are_tokens():
    text, maskable = rows(64, 40)
    mask = masked(jax.random.key(4), text, maskable, jnp.ones((64, 40), bool)).mask
    np.testing.assert_array_equal(mask.sum(1), tokens.mask_counts(maskable, 0.15))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ratio": 0.0}, r"ratio must be in \(0, 1\), got 0.0"),
        ({"mask_token": 50}, r"mask_token must be in \[0, 50\), got 50"),
        ({"vocabulary": 0}, "vocabulary must be at least 1, got 0"),
    ],
)
def test_bad_options(options, message):
    text, maskable = rows(2, 8)
    with pytest.raises(ValueError, match=message):
        tokens.bert_mask(
            jax.random.key(0), text, maskable, **({"mask_token": 3, "vocabulary": K} | options)
        )


def packed(n, t, seed=0):
    """Rows whose tokens tell where they stand: 100 * row + column, and random documents."""
    rng = np.random.default_rng(seed)
    text = (100 * (1 + np.arange(n))[:, None] + np.arange(t)[None]).astype(np.int32)
    segments = 1 + np.cumsum(rng.random((n, t)) < 0.08, axis=1)
    lengths = np.where(rng.random(n) < 0.2, rng.integers(3, t + 1, n), t)
    segments[np.arange(t)[None] >= lengths[:, None]] = 0
    return jnp.asarray(text), jnp.asarray(segments, jnp.int32)


@jax.jit
def paired(key, text, segments):
    marks = {"cls_token": CLS, "sep_token": SEP, "pad_token": PAD}
    return tokens.sentence_pairs(key, text, segments, **marks)


def test_pairs_are_two_stretches_of_one_document_each():
    n, t = 400, 30
    text, segments = packed(n, t)
    pairs = jax.tree.map(np.asarray, paired(jax.random.key(0), text, segments))
    segments = np.asarray(segments)
    labels = []
    for i in range(n):
        row = pairs.tokens[i]
        seps = np.flatnonzero(row == SEP)
        assert row[0] == CLS
        assert len(seps) == 2
        a, b = row[1 : seps[0]], row[seps[0] + 1 : seps[1]]
        assert np.all(row[seps[1] + 1 :] == PAD)
        np.testing.assert_array_equal(pairs.segments[i], np.arange(t) <= seps[1])
        types = (np.arange(t) > seps[0]) & (np.arange(t) <= seps[1])
        np.testing.assert_array_equal(pairs.types[i], types)
        np.testing.assert_array_equal(pairs.special[i], row < 100)
        if pairs.label[i] < 0:
            continue
        labels.append(pairs.label[i])
        for part in (a, b):
            where = part // 100 - 1, part % 100
            assert len(part) > 0
            assert len(set(where[0])) == 1
            assert np.all(np.diff(part) == 1)
            assert len(set(segments[where])) == 1
        assert a[0] // 100 - 1 == i
        if pairs.label[i] == 1:
            assert b[0] == a[-1] + 1
            assert segments[i, b[0] % 100] == segments[i, a[-1] % 100]
        else:
            assert b[0] // 100 != a[0] // 100
    assert len(labels) > 0.7 * n
    assert 0.4 < np.mean(labels) < 0.6


def test_a_row_without_two_neighbours_has_no_label():
    text, segments = packed(4, 12)
    segments = segments.at[0].set(0).at[0, 0].set(1)
    segments = segments.at[1].set(jnp.arange(1, 13, dtype=jnp.int32))
    for seed in range(4):
        assert list(paired(jax.random.key(seed), text, segments).label[:2]) == [-1, -1]


def test_a_single_row_has_no_label_and_a_short_one_no_room():
    assert list(paired(jax.random.key(0), *packed(1, 12)).label) == [-1]
    with pytest.raises(ValueError, match="rows of at least 5 tokens, got 4"):
        paired(jax.random.key(0), *packed(2, 4))
