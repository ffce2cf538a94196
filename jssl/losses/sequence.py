"""Contrastive losses along a sequence: of each place what belongs there, among what might."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jssl.losses.geometry import at_least_float32


def told_apart(
    positive: Float[Array, "n t"],
    others: Float[Array, "n t m"],
    allowed: Bool[Array, "n t m"],
    counts: Bool[Array, "n t"],
    *,
    axis_name: str | None = None,
) -> tuple[Float[Array, ""], Float[Array, ""], Float[Array, ""]]:
    """Cross-entropy of the one that belongs to a place, among it and the others.

    Args:
      positive: its logit.
      others: those of the others.
      allowed: which of them take part.
      counts: which places are asked at all; the others have no gradient.
      axis_name: inside ``shard_map`` or ``pmap``: the axis over which the batch is split.

    Returns:
      The mean over the places that count; the share of them where the one that belongs is above
      all others; and the mean share that guessing would get. All 0 where no place counts.

    Source: van den Oord et al. 2018, arXiv 1807.03748, equation 4; Baevski et al. 2020, arXiv
    2006.11477, equation 3.
    """
    positive, others = at_least_float32(positive), at_least_float32(others)
    others = jnp.where(allowed, others, -jnp.inf)
    total = jax.nn.logsumexp(jnp.concatenate([positive[:, :, None], others], axis=2), axis=2)
    right = positive > jnp.max(others, axis=2)
    candidates = 1 + jnp.sum(allowed, axis=2, dtype=jnp.int32)
    sums = [
        jnp.sum(jnp.where(counts, values, 0))
        for values in (
            total - positive,
            right.astype(positive.dtype),
            1 / candidates.astype(positive.dtype),
            jnp.ones_like(positive),
        )
    ]
    if axis_name is not None:
        sums = jax.lax.psum(sums, axis_name)
    *sums, count = sums
    return tuple(jnp.where(count > 0, x / jnp.where(count > 0, count, 1), 0) for x in sums)
