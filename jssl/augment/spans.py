"""Which frames of a signal are hidden: spans, as wav2vec 2.0 and HuBERT draw them."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Key

from jssl import require


def span_mask(
    key: Key[Array, ""], real: Bool[Array, "n t"], share: float, length: int, fewest: int = 2
) -> Bool[Array, "n t"]:
    """Hides spans of frames, each of a length, that may overlap.

    Args:
        key: PRNG key.
        real: which frames are not padding; they stand first, and no others are hidden.
        share: of an example's real frames, those at which a span starts, in [0, 1]. Where that is
            no whole number, it is rounded up or down by chance, so that it is right on average.
        length: of a span. In an example of fewer frames all are hidden.
        fewest: how many spans start at least, as far as there are places for them.

    Returns:
        True where a frame is hidden. The starts are drawn without replacement, all places at which
        a span fits being as likely.

    Source: Baevski et al. 2020, arXiv 2006.11477, section 3.1; rounding and ``fewest`` are those of
    the released code, which then takes hidden frames back until all examples have as many; here
    they keep them.
    """
    require.fraction(share=share)
    require.at_least(1, length=length, fewest=fewest)
    k_count, k_start = jax.random.split(key)
    n, t = real.shape
    frames = jnp.sum(real, axis=1, dtype=jnp.int32, keepdims=True)
    count = share * frames.astype(jnp.float32) + jax.random.uniform(k_count, (n, 1), jnp.float32)
    count = jnp.maximum(count.astype(jnp.int32), fewest)
    at = jnp.arange(t, dtype=jnp.int32)[None]
    drawn = jax.random.uniform(k_start, (n, t), jnp.float32)
    fits = at <= jnp.maximum(frames - length, 0)
    order = jnp.argsort(jnp.where(fits, drawn, 2.0), axis=1)
    starts = (jnp.argsort(order, axis=1).astype(jnp.int32) < count) & fits
    begun = jnp.cumsum(starts, axis=1, dtype=jnp.int32)
    over = jnp.pad(begun, ((0, 0), (length, 0)))[:, :t]
    return (begun > over) & real
