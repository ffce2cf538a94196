"""Losses of classification: the class is a pseudo-label, or what was done to the example."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jssl.losses.geometry import at_least_float32


def cross_entropy_accuracy(
    logits: Float[Array, "n k"],
    labels: Int[Array, " n"],
    weights: Float[Array, " n"] | None = None,
    *,
    axis_name: str | None = None,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Cross-entropy of classes, and the share of examples that are told right.

    Args:
      logits: of the classifier.
      labels: of each example the class, in [0, k), or -1 where it is not known: such an example
        does not count, and has no gradient.
      weights: >= 0, of the examples in the mean; by default all the same.
      axis_name: inside ``shard_map`` or ``pmap``: the axis over which the batch is split.

    Returns:
      The weighted mean over the examples that count, divided by their weights' sum, and the share
      of them whose highest logit stands at the label. Where none counts, what knowing nothing
      gives: log k and 1 / k, without gradient.

    Source: Caron et al. 2018, arXiv 1807.05520, equation 1; Gidaris et al. 2018, arXiv 1803.07728,
    equation 3.
    """
    logits = at_least_float32(logits)
    k, known = logits.shape[1], labels >= 0
    weights = jnp.ones_like(logits[:, 0]) if weights is None else weights.astype(logits.dtype)
    weights = jnp.where(known, weights, 0)
    log_p = jax.nn.log_softmax(logits, axis=1)
    entropy = -jnp.take_along_axis(log_p, jnp.maximum(labels, 0)[:, None], axis=1)[:, 0]
    right = (jax.lax.argmax(logits, 1, labels.dtype) == labels) & known
    sums = (
        jnp.sum(jnp.where(known, weights * entropy, 0)),
        jnp.sum(weights),
        jnp.sum(right.astype(logits.dtype)),
        jnp.sum(known.astype(logits.dtype)),
    )
    if axis_name is not None:
        sums = jax.lax.psum(sums, axis_name)
    total, weight, hits, count = sums
    chance = jnp.asarray(1 / k, logits.dtype)
    loss = jnp.where(weight > 0, total / jnp.where(weight > 0, weight, 1), -jnp.log(chance))
    return loss, jnp.where(count > 0, hits / jnp.where(count > 0, count, 1), chance)
