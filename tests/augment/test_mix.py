"""Mixup and CutMix."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.augment import mix

N, SIDE = 64, 12
KEY = jax.random.key(0)
# Image i is all i, its target is class i: what was mixed can be read off both.
IMAGES = jnp.broadcast_to(jnp.arange(N, dtype=jnp.float32)[:, None, None, None], (N, SIDE, SIDE, 3))
TARGETS = jnp.eye(N)


def mixed(function, *alphas, key=KEY, x=IMAGES, targets=TARGETS):
    made = jax.jit(lambda key, x, targets: function(key, x, targets, *alphas))(key, x, targets)
    return map(np.asarray, made)


def test_mixup_is_a_convex_combination_with_the_neighbour_by_a_share_of_its_own():
    images, targets = mixed(mix.mixup, 0.5)
    i, j = np.arange(N), np.arange(N) - 1
    share = targets[i, i]
    np.testing.assert_allclose(targets[i, j], 1 - share, atol=1e-6)
    np.testing.assert_allclose(targets.sum(1), 1, atol=1e-6)
    value = share * i + (1 - share) * (j % N)
    np.testing.assert_allclose(
        images, value[:, None, None, None] + 0 * images, rtol=1e-5, atol=1e-5
    )
    assert len(np.unique(share)) == N
    # Beta(0.5, 0.5): mean 1/2, variance 1/8.
    many = np.asarray(mix._shares(KEY, 20_000, 0.5))
    np.testing.assert_allclose([many.mean(), many.var()], [0.5, 0.125], atol=0.01)


def test_cutmix_pastes_a_box_and_shares_the_label_by_its_pixels():
    images, targets = mixed(mix.cutmix, 1.0)
    for i in range(N):
        pasted = images[i, :, :, 0] != i
        rows, columns = pasted.any(1), pasted.any(0)
        np.testing.assert_array_equal(pasted, rows[:, None] & columns[None])
        for side in (rows, columns):  # one run of pixels
            assert np.abs(np.diff(side.astype(int))).sum() + side[0] + side[-1] in (0, 2)
        assert set(np.unique(images[i][pasted])) <= {(i - 1) % N}
        np.testing.assert_allclose(targets[i, i], 1 - pasted.mean(), atol=1e-6)
        np.testing.assert_allclose(targets[i, i - 1], pasted.mean(), atol=1e-6)
    assert len(np.unique(targets[np.arange(N), np.arange(N)])) > 10


def test_the_box_is_that_of_the_released_code():
    """`rand_bbox`: half of int(side * sqrt(1 - lambda)) to both sides of the middle, cut off."""
    share = np.linspace(0, 0.99, 40, dtype=np.float32)
    got = np.asarray(mix._within(KEY, SIDE, jnp.sqrt(1 - jnp.asarray(share))))
    middle = np.asarray(jax.random.randint(KEY, (40, 1), 0, SIDE))[:, 0]
    for i in range(40):
        cut = int(SIDE * np.sqrt(np.float32(1) - share[i]))
        first, last = np.clip([middle[i] - cut // 2, middle[i] + cut // 2], 0, SIDE)
        expected = np.zeros(SIDE, bool)
        expected[first:last] = True
        np.testing.assert_array_equal(got[i], expected)


def test_of_both_each_image_has_one_and_of_none_nothing():
    images, targets = mixed(mix.mixup_or_cutmix, 1.0, 1.0)
    values = [set(np.unique(image)) for image in images]
    pasted = [found <= {i, (i - 1) % N} for i, found in enumerate(values)]
    assert 0.25 < np.mean(pasted) < 0.75
    np.testing.assert_allclose(targets.sum(1), 1, atol=1e-6)
    images, targets = mixed(mix.mixup_or_cutmix, 0.0, 0.0)
    np.testing.assert_array_equal(images, IMAGES)
    np.testing.assert_array_equal(targets, TARGETS)


def test_what_has_no_label_brings_none_along():
    targets = np.asarray(mix._mix(TARGETS.at[3].set(0), jnp.full(N, 0.7)))
    assert targets[3, 2] == targets[3].sum() > 0
    assert targets[4, 4] == targets[4].sum() < 1


def test_dtypes_are_kept_and_bad_alphas_refused():
    narrow = IMAGES.astype(jnp.bfloat16)
    images, targets = jax.eval_shape(
        lambda *a: mix.mixup_or_cutmix(*a, 0.8, 1.0), KEY, narrow, TARGETS
    )
    assert (images.dtype, targets.dtype) == (jnp.bfloat16, jnp.float32)
    with pytest.raises(ValueError, match=r"alpha must be > 0, got -1"):
        mix.mixup(KEY, IMAGES, TARGETS, -1)
    with pytest.raises(ValueError, match=r"cutmix must be at least 0, got -1"):
        mix.mixup_or_cutmix(KEY, IMAGES, TARGETS, 1.0, -1)
