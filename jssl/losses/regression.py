"""Losses that pull a prediction towards a target without negatives."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jssl.losses.geometry import l2_normalize


def negative_cosine(
    p: Float[Array, "n d"], z: Float[Array, "n d"], *, axis_name: str | None = None
) -> Float[Array, ""]:
    """Mean negative cosine similarity, in [-1, 1], with a stop-gradient on the target.

    Args:
      p: predictions of the online branch.
      z: targets; no gradient flows into them.
      axis_name: inside ``shard_map`` or ``pmap``: the axis over which the batch is split.

    Squared lengths are bounded below by 1e-12, as in the released BYOL code.

    Source: Chen & He 2021, arXiv 2011.10566, equation 1 and algorithm 1 (SimSiam). BYOL's loss
    (Grill et al. 2020, arXiv 2006.07733, equation 2) is ``2 + 2 * negative_cosine(p, z)``.
    """
    z = jax.lax.stop_gradient(z)
    loss = -jnp.mean(jnp.sum(l2_normalize(p) * l2_normalize(z), axis=-1))
    return loss if axis_name is None else jax.lax.pmean(loss, axis_name)
