"""Losses of classification: the class is a pseudo-label, or what was done to the example."""

import math

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


def shared_cross_entropy_accuracy(
    logits: Float[Array, "n k"],
    targets: Float[Array, "n k"],
    smoothing: float = 0.0,
    *,
    axis_name: str | None = None,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """`cross_entropy_accuracy` where an example may be shared by several classes.

    Args:
      logits: of the classifier.
      targets: >= 0, of each example the shares of the classes; the one class has all of it where
        examples are not mixed. They sum to what the example counts in the mean, 1 or 0.
      smoothing: in [0, 1], the part of each example's sum that is spread evenly over the classes.
      axis_name: inside ``shard_map`` or ``pmap``: the axis over which the batch is split.

    Returns:
      The mean cross-entropy, and the mean share, without smoothing, of the class whose logit is the
      highest. Where none counts, log k and 1 / k, without gradient.

    Source: Szegedy et al. 2015, arXiv 1512.00567, section 7 (smoothing); the accuracy of mixed
    examples is that of mixup's released code (Zhang et al. 2017, arXiv 1710.09412).
    """
    logits = at_least_float32(logits)
    k, targets = logits.shape[1], targets.astype(logits.dtype)
    counts = jnp.sum(targets, axis=1, keepdims=True)
    smooth = (1 - smoothing) * targets + smoothing * counts / k
    told = jax.lax.argmax(logits, 1, jnp.int32)[:, None]
    sums = (
        -jnp.sum(smooth * jax.nn.log_softmax(logits, axis=1)),
        jnp.sum(jnp.take_along_axis(targets, told, axis=1)),
        jnp.sum(counts),
    )
    if axis_name is not None:
        sums = jax.lax.psum(sums, axis_name)
    total, hits, count = sums
    chance = jnp.asarray(1 / k, logits.dtype)
    safe = jnp.where(count > 0, count, 1)
    loss = jnp.where(count > 0, total / safe, -jnp.log(chance))
    return loss, jnp.where(count > 0, hits / safe, chance)


def binary_cross_entropy_accuracy(
    logits: Float[Array, "n k"],
    targets: Float[Array, "n k"],
    smoothing: float = 0.0,
    *,
    axis_name: str | None = None,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Cross-entropy of many labels that each stand for themselves, and the share told right.

    Args:
      logits: of each label being there.
      targets: in [0, 1], whether it is; NaN where that is not known: that label does not count,
        and has no gradient.
      smoothing: in [0, 1], how far every target is taken to 1/2.
      axis_name: inside ``shard_map`` or ``pmap``: the axis over which the batch is split.

    Returns:
      The means over all examples' labels that count. Where none does, log 2 and 1/2.
    """
    logits = at_least_float32(logits)
    known = ~jnp.isnan(targets)
    targets = jnp.where(known, targets, 0).astype(logits.dtype)
    smooth = (1 - smoothing) * targets + smoothing / 2
    entropy = jax.nn.softplus(logits) - smooth * logits
    right = (logits > 0) == (targets > 0.5)
    sums = tuple(jnp.sum((x & known).astype(logits.dtype)) for x in (right, known))
    sums += (jnp.sum(jnp.where(known, entropy, 0)),)
    if axis_name is not None:
        sums = jax.lax.psum(sums, axis_name)
    hits, count, total = sums
    safe = jnp.where(count > 0, count, 1)
    nothing = jnp.asarray(math.log(2), logits.dtype)
    loss = jnp.where(count > 0, total / safe, nothing)
    return loss, jnp.where(count > 0, hits / safe, jnp.asarray(0.5, logits.dtype))
