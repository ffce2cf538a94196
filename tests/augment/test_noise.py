"""Noise: how much is corrupted, and into what."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jssl.augment.noise import NOISES

X = jnp.asarray(np.random.default_rng(0).uniform(0.2, 0.8, (8, 13, 9, 2)), jnp.float32)


def corrupt(noise, level, x=X, seed=0):
    return jax.jit(NOISES[noise], static_argnums=2)(jax.random.key(seed), x, level)


@pytest.mark.parametrize("noise", ["masking", "salt_and_pepper"])
def test_a_share_is_corrupted_and_the_rest_is_as_it_was(noise):
    noisy, corrupted = map(np.asarray, corrupt(noise, 0.3))
    assert stats.binomtest(int(corrupted.sum()), corrupted.size, 0.3).pvalue > 1e-4
    np.testing.assert_array_equal(noisy[~corrupted], np.asarray(X)[~corrupted])
    # Each channel for itself.
    assert (corrupted[..., 0] != corrupted[..., 1]).mean() > 0.2
    assert (corrupted != np.asarray(corrupt(noise, 0.3, seed=1)[1])).any()
    assert corrupt(noise, 0.0)[1].sum() == 0
    assert corrupt(noise, 1.0)[1].all()


def test_masked_values_are_zero_and_salt_is_as_frequent_as_pepper():
    noisy, corrupted = map(np.asarray, corrupt("masking", 0.3))
    np.testing.assert_array_equal(noisy[corrupted], 0)
    noisy, corrupted = map(np.asarray, corrupt("salt_and_pepper", 0.3))
    assert set(np.unique(noisy[corrupted])) == {0, 1}
    salt = int(noisy[corrupted].sum())
    assert stats.binomtest(salt, int(corrupted.sum()), 0.5).pvalue > 1e-4


def test_gaussian_noise_is_gaussian():
    noisy, corrupted = corrupt("gaussian", 0.2)
    assert corrupted.all()
    added = np.asarray(noisy - X, np.float64).ravel()
    assert stats.kstest(added / 0.2, "norm").pvalue > 1e-4


@pytest.mark.parametrize("noise", NOISES)
def test_dtype_is_kept(noise):
    noisy, corrupted = corrupt(noise, 0.3, X.astype(jnp.bfloat16))
    assert noisy.dtype == jnp.bfloat16
    assert corrupted.dtype == bool


@pytest.mark.parametrize(("noise", "level"), [("gaussian", 0.0), ("masking", 1.5)])
def test_bad_level(noise, level):
    with pytest.raises(ValueError, match="level must be"):
        NOISES[noise](jax.random.key(0), X, level)
