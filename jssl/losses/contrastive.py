"""Contrastive losses: an example's other view against everything else."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jssl.losses.geometry import l2_normalize


def ntxent(
    z1: Float[Array, "n d"],
    z2: Float[Array, "n d"],
    temperature: float = 0.1,
    *,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """Normalised temperature-scaled cross entropy, the loss of SimCLR.

    Each of the 2n views is to find its partner among the other 2n - 1 by cosine similarity.

    Args:
      z1: projections of the first views, any scale.
      z2: projections of the second views, row by row the partners of ``z1``.
      temperature: > 0; the paper uses 0.1 on ImageNet and 0.5 on CIFAR-10.
      axis_name: inside ``shard_map`` or ``pmap``: the axis over which the batch is split. The
        negatives are then those of the whole batch.

    Returns:
      The mean over all 2n anchors, as in the paper (the released code adds the two halves'
      means, which is twice this).

    Raises:
      ValueError: if the temperature is not positive.

    Source: Chen et al. 2020, arXiv 2002.05709, equation 1 and algorithm 1.
    """
    return ntxent_accuracy(z1, z2, temperature, axis_name=axis_name)[0]


def ntxent_accuracy(
    z1: Float[Array, "n d"],
    z2: Float[Array, "n d"],
    temperature: float = 0.1,
    *,
    axis_name: str | None = None,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """`ntxent` and the share of anchors whose nearest other view is their partner, in [0, 1]."""
    if temperature <= 0:
        raise ValueError(f"temperature must be > 0, got {temperature}")
    z1, z2 = l2_normalize(z1), l2_normalize(z2)
    # Beside each other on a new axis, not behind each other: under jit with a sharded batch
    # every example then stays on its device.
    anchors = jnp.stack([z1, z2], axis=1).reshape(2 * len(z1), -1)
    others, own = anchors, jnp.arange(len(anchors), dtype=jnp.int32)
    if axis_name is not None:
        others = jax.lax.all_gather(anchors, axis_name, tiled=True)
        own = own + jax.lax.axis_index(axis_name) * len(anchors)
    partner = own ^ 1

    logits = anchors @ others.T / temperature
    column = jnp.arange(len(others), dtype=jnp.int32)
    logits = jnp.where(own[:, None] == column[None, :], -jnp.inf, logits)
    positive = jnp.repeat(jnp.sum(z1 * z2, axis=-1), 2) / temperature
    loss = jnp.mean(jax.nn.logsumexp(logits, axis=-1) - positive)
    accuracy = jnp.mean((jax.lax.argmax(logits, 1, jnp.int32) == partner).astype(loss.dtype))
    if axis_name is not None:
        loss, accuracy = jax.lax.pmean((loss, accuracy), axis_name)
    return loss, accuracy
