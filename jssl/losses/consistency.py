"""Losses of few labels: what is said of one view of an unlabelled example, asked of another."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jssl.losses.geometry import at_least_float32


def pseudo_labels(
    logits: Float[Array, "n k"],
) -> tuple[Int[Array, " n"], Float[Array, " n"]]:
    """The most likely class of each example and its probability, without gradient.

    Source: Lee 2013, equation 2.
    """
    p = jax.nn.softmax(jax.lax.stop_gradient(at_least_float32(logits)), axis=1)
    return jax.lax.argmax(p, 1, jnp.int32), p.max(1)


def confident_cross_entropy(
    logits: Float[Array, "n k"],
    labels: Int[Array, " n"],
    counts: Array,
    *,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """Cross-entropy of pseudo-labels where they count, divided by all examples, counted or not.

    So the loss is small as long as little is sure.

    Args:
      logits: of the view that is to follow.
      labels: pseudo-labels, in [0, k) where they count.
      counts: [n] bool.
      axis_name: inside ``shard_map`` or ``pmap``: the axis over which the batch is split.

    Source: Sohn et al. 2020, arXiv 2001.07685, equation 4.
    """
    log_p = jax.nn.log_softmax(at_least_float32(logits), axis=1)
    entropy = -jnp.take_along_axis(log_p, jnp.maximum(labels, 0)[:, None], axis=1)[:, 0]
    value = jnp.mean(jnp.where(counts, entropy, 0))
    return value if axis_name is None else jax.lax.pmean(value, axis_name)


def squared(
    logits: Float[Array, "n k"],
    targets: Float[Array, "n k"],
    *,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """Mean squared difference of the class probabilities, over classes and examples.

    The gradient flows into both: stop that of a teacher.

    Source: Laine & Aila 2016, arXiv 1610.02242, algorithm 1; Tarvainen & Valpola 2017,
    arXiv 1703.01780, section 2.
    """
    p, q = (jax.nn.softmax(at_least_float32(x), axis=1) for x in (logits, targets))
    value = jnp.mean(jnp.square(p - q))
    return value if axis_name is None else jax.lax.pmean(value, axis_name)


def flexible_thresholds(selected: Int[Array, " m"], k: int, threshold: float) -> Float[Array, " k"]:
    """The threshold of each class: lower for those that are learned less well.

    Args:
      selected: of each unlabelled example of the set the class last told with more confidence than
        ``threshold``, -1 where there was none yet.
      k: number of classes.
      threshold: tau, that of a class that is learned best.

    Source: Zhang et al. 2021, arXiv 2110.08263, sections 3.1 to 3.3: counts of what is learned,
    warm-up, and the convex mapping x / (2 - x).
    """
    counts = jnp.sum(selected[None, :] == jnp.arange(k, dtype=selected.dtype)[:, None], axis=1)
    unused = len(selected) - jnp.sum(counts)
    # Warm-up: as long as most examples are unused, no class counts as learned.
    most = jnp.maximum(jnp.max(counts), unused)
    learned = counts.astype(jnp.float32) / most.astype(jnp.float32)
    return threshold * learned / (2 - learned)
