"""Losses that pull a prediction towards a target without negatives."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jssl.losses.geometry import at_least_float32, l2_normalize


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


def center_mse(
    z: Float[Array, "v n d"], global_views: int = 2, *, axis_name: str | None = None
) -> Float[Array, ""]:
    """Mean squared distance of every view's embedding to the mean of the global ones'.

    Args:
      z: embeddings of all views, the global ones first; the gradient flows into both sides.
      global_views: how many views are global, from 1 to v.
      axis_name: inside ``shard_map`` or ``pmap``: the axis over which the batch is split.

    Returns:
      The mean over views, batch and features, as in the released code.

    Raises:
      ValueError: if there are not that many views.

    Source: Balestriero & LeCun 2025, arXiv 2511.08544, algorithm 2.
    """
    if not 1 <= global_views <= len(z):
        raise ValueError(f"global_views must be from 1 to {len(z)}, got {global_views}")
    z = at_least_float32(z)
    center = jnp.mean(z[:global_views], axis=0, keepdims=True)
    loss = jnp.mean(jnp.square(z - center))
    return loss if axis_name is None else jax.lax.pmean(loss, axis_name)


def errors(
    predictions: Float[Array, "n k"], targets: Float[Array, "n k"], *, axis_name: str | None = None
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Mean squared and mean absolute error of what is known.

    Args:
      predictions: of the values.
      targets: NaN where a value is not known: it does not count, and has no gradient.
      axis_name: inside ``shard_map`` or ``pmap``: the axis over which the batch is split.

    Returns:
      The means over all examples' values that count, 0 where none does.
    """
    predictions, known = at_least_float32(predictions), ~jnp.isnan(targets)
    gap = jnp.where(known, predictions - targets.astype(predictions.dtype), 0)
    count = jnp.sum(known.astype(gap.dtype))
    sums = (jnp.sum(jnp.square(gap)), jnp.sum(jnp.abs(gap)), count)
    if axis_name is not None:
        sums = jax.lax.psum(sums, axis_name)
    square, absolute, count = sums
    count = jnp.maximum(count, 1)
    return square / count, absolute / count
