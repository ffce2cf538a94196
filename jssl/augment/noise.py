"""Corruption of images, to be undone: pure functions ``(key, x, level) -> (noisy, corrupted)``.

Images are [n h w c] floats in [0, 1] with any number of channels; noise may lead out of that range.
``corrupted`` [n h w c] is True at the values that were drawn to be corrupted: each channel of each
pixel for itself, by the toss of a coin.

Source: Vincent et al. 2010, "Stacked denoising autoencoders", JMLR 11, section on types of
corruption. The paper corrupts a fixed number of values an example, which a coin does on average.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from jssl import require

Noisy = tuple[Float[Array, "n h w c"], Bool[Array, "n h w c"]]


def gaussian(key: Key[Array, ""], x: Float[Array, "n h w c"], level: float) -> Noisy:
    """Adds noise of deviation ``level`` > 0 to every value."""
    require.positive(level=level)
    noise = level * jax.random.normal(key, x.shape, jnp.float32)
    return x + noise.astype(x.dtype), jnp.ones(x.shape, bool)


def masking(key: Key[Array, ""], x: Float[Array, "n h w c"], level: float) -> Noisy:
    """Sets a share ``level`` in [0, 1] of the values to 0."""
    require.fraction(level=level)
    corrupted = jax.random.uniform(key, x.shape, jnp.float32) < level
    return jnp.where(corrupted, jnp.zeros_like(x), x), corrupted


def salt_and_pepper(key: Key[Array, ""], x: Float[Array, "n h w c"], level: float) -> Noisy:
    """Sets a share ``level`` in [0, 1] of the values to 0 or 1, as often the one as the other."""
    require.fraction(level=level)
    u = jax.random.uniform(key, x.shape, jnp.float32)
    corrupted = u < level
    return jnp.where(corrupted, (u < level / 2).astype(x.dtype), x), corrupted


NOISES = {"gaussian": gaussian, "masking": masking, "salt_and_pepper": salt_and_pepper}
