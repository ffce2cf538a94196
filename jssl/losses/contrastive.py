"""Contrastive losses: an example's other view against everything else."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jssl import require
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
    logits, positive, _, accuracy = _among_both_views(z1, z2, temperature, axis_name)
    loss = jnp.mean(jax.nn.logsumexp(logits, axis=-1) - positive)
    return _over((loss, accuracy), axis_name)


def decoupled(
    z1: Float[Array, "n d"],
    z2: Float[Array, "n d"],
    temperature: float = 0.1,
    sigma: float | None = None,
    *,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """`ntxent` without the positive in the denominator: DCL, and DCLW where sigma is given.

    The negatives of each of the 2n views are both views of all other examples. DCLW weighs each
    positive by 2 less its von Mises-Fisher density over the batch's mean of it, so that positives
    that agree already count less; the weights have mean 1, and DCLW becomes DCL for large sigma.

    Args:
      z1: projections of the first views, any scale.
      z2: projections of the second views, row by row the partners of ``z1``.
      temperature: > 0.
      sigma: > 0, 0.5 in the paper; None for DCL. The weights are differentiated, since the paper
        stops no gradient there.
      axis_name: inside ``shard_map`` or ``pmap``: the axis over which the batch is split. The
        negatives are then those of the whole batch, and the weights relative to it.

    Returns:
      The mean over all 2n anchors; it may be negative.

    Raises:
      ValueError: if the temperature or sigma is not positive, or there is one example alone, which
        has no negatives.

    Source: Yeh et al. 2021, arXiv 2110.06848, equations 5 and 6.
    """
    return decoupled_accuracy(z1, z2, temperature, sigma, axis_name=axis_name)[0]


def decoupled_accuracy(
    z1: Float[Array, "n d"],
    z2: Float[Array, "n d"],
    temperature: float = 0.1,
    sigma: float | None = None,
    *,
    axis_name: str | None = None,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """`decoupled` and the share of anchors whose nearest other view is their partner, in [0, 1]."""
    if sigma is not None:
        require.positive(sigma=sigma)
    logits, positive, is_partner, accuracy = _among_both_views(z1, z2, temperature, axis_name)
    if logits.shape[1] < 4:
        raise ValueError("decoupled needs at least 2 examples, got 1, which has no negatives")
    negatives = jax.nn.logsumexp(jnp.where(is_partner, -jnp.inf, logits), axis=-1)
    if sigma is not None:
        density = positive * (temperature / sigma)
        whole = density if axis_name is None else jax.lax.all_gather(density, axis_name, tiled=True)
        share = jnp.exp(density - jax.nn.logsumexp(whole))  # 1 / len(whole) where all are alike
        positive = positive * (2 - len(whole) * share)
    return _over((jnp.mean(negatives - positive), accuracy), axis_name)


def _among_both_views(z1, z2, temperature, axis_name):
    """Both views of each example [2n] against both of all examples [2m].

    Returns the logits [2n 2m], those of a view with itself -inf, the positives' [2n], where they
    stand [2n 2m], and how many anchors have them as their highest.
    """
    require.positive(temperature=temperature)
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
    accuracy = _share(jax.lax.argmax(logits, 1, jnp.int32) == partner, logits)
    return logits, positive, partner[:, None] == column[None, :], accuracy


def infonce(
    q: Float[Array, "n d"],
    k: Float[Array, "n d"],
    queue: Float[Array, "m d"] | None = None,
    temperature: float = 0.2,
    *,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """Each query is to find its key by cosine similarity: the loss of MoCo. Keys have no gradient.

    Args:
      q: queries, any scale.
      k: keys, row by row the positives of ``q``, any scale.
      queue: negatives, of length one already; with None they are the keys of the batch's other
        examples.
      temperature: > 0; 0.07 in MoCo, 0.2 in MoCo v2 and, for a ViT, v3.
      axis_name: inside ``shard_map`` or ``pmap``: the axis over which the batch is split, but not
        the queue. Without queue the negatives are the keys of the whole batch.

    Returns:
      The mean over queries.

    Raises:
      ValueError: if the temperature is not positive.

    Source: He et al. 2019, arXiv 1911.05722, equation 1; without queue Chen et al. 2021,
    arXiv 2104.02057, equation 1.
    """
    return infonce_accuracy(q, k, queue, temperature, axis_name=axis_name)[0]


def infonce_accuracy(
    q: Float[Array, "n d"],
    k: Float[Array, "n d"],
    queue: Float[Array, "m d"] | None = None,
    temperature: float = 0.2,
    *,
    axis_name: str | None = None,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """`infonce` and the share of queries that are closest to their own key, in [0, 1]."""
    require.positive(temperature=temperature)
    k = jax.lax.stop_gradient(k)
    if queue is None:
        return _among_keys(q, k, temperature, axis_name)
    q, k = l2_normalize(q), l2_normalize(k)
    positive = jnp.sum(q * k, axis=-1) / temperature
    negatives = q @ jax.lax.stop_gradient(queue).astype(q.dtype).T / temperature
    loss = jnp.mean(jax.nn.softplus(jax.nn.logsumexp(negatives, axis=-1) - positive))
    return _over((loss, _share(positive > jnp.max(negatives, axis=-1), loss)), axis_name)


def nnclr(
    nn: Float[Array, "n d"],
    p: Float[Array, "n d"],
    temperature: float = 0.1,
    *,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """Each neighbour of a first view is to find the prediction of the second view: NNCLR's loss.

    Args:
      nn: the nearest neighbours of the first views, any scale; no gradient flows into them.
      p: predictions of the second views, any scale; those of the other examples are the negatives.
      temperature: > 0.
      axis_name: inside ``shard_map`` or ``pmap``: the axis over which the batch is split. The
        negatives are then those of the whole batch.

    Returns:
      The mean over examples of one direction.

    Raises:
      ValueError: if the temperature is not positive.

    Source: Dwibedi et al. 2021, arXiv 2104.14548, equation 3 and the pseudocode.
    """
    return nnclr_accuracy(nn, p, temperature, axis_name=axis_name)[0]


def nnclr_accuracy(
    nn: Float[Array, "n d"],
    p: Float[Array, "n d"],
    temperature: float = 0.1,
    *,
    axis_name: str | None = None,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """`nnclr` and the share of neighbours closest to their own prediction, in [0, 1]."""
    require.positive(temperature=temperature)
    return _among_keys(jax.lax.stop_gradient(nn), p, temperature, axis_name)


def _among_keys(q, k, temperature, axis_name):
    """Cross entropy of each query's own key among all of the batch, and how often it wins."""
    q, k = l2_normalize(q), l2_normalize(k)
    keys, own = k, jnp.arange(len(q), dtype=jnp.int32)
    if axis_name is not None:
        keys = jax.lax.all_gather(k, axis_name, tiled=True)
        own = own + jax.lax.axis_index(axis_name) * len(q)
    logits = q @ keys.T / temperature
    positive = jnp.sum(q * k, axis=-1) / temperature
    loss = jnp.mean(jax.nn.logsumexp(logits, axis=-1) - positive)
    accuracy = _share(jax.lax.argmax(logits, 1, jnp.int32) == own, loss)
    return _over((loss, accuracy), axis_name)


def _share(right, like):
    return jnp.mean(right.astype(like.dtype))


def _over(values, axis_name):
    return values if axis_name is None else jax.lax.pmean(values, axis_name)
