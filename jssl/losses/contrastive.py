"""Contrastive losses: an example's other view against everything else.

``loss_impl``: "dense" makes the matrix of logits, "ring" never does (`jssl.losses.ring`), with the
same value and gradient; "auto" takes the ring where the dense logits would pass 1 GiB on a device.
NNCLR's is dense alone.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jssl import require
from jssl.losses import ring
from jssl.losses.geometry import l2_normalize


def ntxent(
    z1: Float[Array, "n d"],
    z2: Float[Array, "n d"],
    temperature: float = 0.1,
    *,
    axis_name: str | None = None,
    loss_impl: str = "auto",
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
    return ntxent_accuracy(z1, z2, temperature, axis_name=axis_name, loss_impl=loss_impl)[0]


def ntxent_accuracy(
    z1: Float[Array, "n d"],
    z2: Float[Array, "n d"],
    temperature: float = 0.1,
    *,
    axis_name: str | None = None,
    loss_impl: str = "auto",
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """`ntxent` and the share of anchors whose nearest other view is their partner, in [0, 1]."""
    total, positive, accuracy = _among_both_views(z1, z2, temperature, axis_name, loss_impl)
    return _over((jnp.mean(total - positive), accuracy), axis_name)


def decoupled(
    z1: Float[Array, "n d"],
    z2: Float[Array, "n d"],
    temperature: float = 0.1,
    sigma: float | None = None,
    *,
    axis_name: str | None = None,
    loss_impl: str = "auto",
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
    options = {"axis_name": axis_name, "loss_impl": loss_impl}
    return decoupled_accuracy(z1, z2, temperature, sigma, **options)[0]


def decoupled_accuracy(
    z1: Float[Array, "n d"],
    z2: Float[Array, "n d"],
    temperature: float = 0.1,
    sigma: float | None = None,
    *,
    axis_name: str | None = None,
    loss_impl: str = "auto",
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """`decoupled` and the share of anchors whose nearest other view is their partner, in [0, 1]."""
    if sigma is not None:
        require.positive(sigma=sigma)
    if len(z1) * (1 if axis_name is None else jax.lax.axis_size(axis_name)) < 2:
        raise ValueError("decoupled needs at least 2 examples, got 1, which has no negatives")
    negatives, positive, accuracy = _among_both_views(
        z1, z2, temperature, axis_name, loss_impl, without_partner=True
    )
    if sigma is not None:
        density = positive * (temperature / sigma)
        whole = density if axis_name is None else jax.lax.all_gather(density, axis_name, tiled=True)
        share = jnp.exp(density - jax.nn.logsumexp(whole))  # 1 / len(whole) where all are alike
        positive = positive * (2 - len(whole) * share)
    return _over((jnp.mean(negatives - positive), accuracy), axis_name)


def _among_both_views(z1, z2, temperature, axis_name, loss_impl, without_partner=False):
    """Both views of each example [2n] against both of all examples [2m].

    Returns the log-sum-exp of each view's logits with all others (or all but its partner), its
    positive logit, and how many have that as their highest.
    """
    require.positive(temperature=temperature)
    z1, z2 = l2_normalize(z1), l2_normalize(z2)
    # Beside each other on a new axis, not behind each other: under jit with a sharded batch
    # every example then stays on its device.
    anchors = jnp.stack([z1, z2], axis=1).reshape(2 * len(z1), -1)
    positive = jnp.repeat(jnp.sum(z1 * z2, axis=-1), 2) / temperature
    own = _own(anchors, axis_name)
    partner = own ^ 1
    if ring.wanted(loss_impl, anchors, axis_name=axis_name):
        total, nearest = ring.among_others(
            anchors * temperature**-0.5, without_partner, axis_name=axis_name
        )
        return total, positive, _share(nearest == partner, total)

    others = _gathered(anchors, axis_name)
    column = jnp.arange(len(others), dtype=jnp.int32)[None, :]
    logits = anchors @ others.T / temperature
    logits = jnp.where(own[:, None] == column, -jnp.inf, logits)
    accuracy = _share(jax.lax.argmax(logits, 1, jnp.int32) == partner, logits)
    if without_partner:
        logits = jnp.where(partner[:, None] == column, -jnp.inf, logits)
    return jax.nn.logsumexp(logits, axis=-1), positive, accuracy


def infonce(
    q: Float[Array, "n d"],
    k: Float[Array, "n d"],
    queue: Float[Array, "m d"] | None = None,
    temperature: float = 0.2,
    *,
    axis_name: str | None = None,
    loss_impl: str = "auto",
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
    return infonce_accuracy(q, k, queue, temperature, axis_name=axis_name, loss_impl=loss_impl)[0]


def infonce_accuracy(
    q: Float[Array, "n d"],
    k: Float[Array, "n d"],
    queue: Float[Array, "m d"] | None = None,
    temperature: float = 0.2,
    *,
    axis_name: str | None = None,
    loss_impl: str = "auto",
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """`infonce` and the share of queries that are closest to their own key, in [0, 1]."""
    require.positive(temperature=temperature)
    k = jax.lax.stop_gradient(k)
    q, k = l2_normalize(q), l2_normalize(k)
    columns = None if queue is None else len(queue)
    in_a_ring = ring.wanted(loss_impl, q, columns, axis_name=axis_name)
    if queue is None and not in_a_ring:
        return _among_keys(q, k, temperature, axis_name)
    positive = jnp.sum(q * k, axis=-1) / temperature
    if queue is None:
        total, _, nearest = ring.among_keys(q / temperature, k, axis_name=axis_name)
        loss, right = jnp.mean(total - positive), nearest == _own(q, axis_name)
        return _over((loss, _share(right, loss)), axis_name)
    queue = jax.lax.stop_gradient(queue).astype(q.dtype)
    if in_a_ring:
        total, peak, _ = ring.among_keys(q / temperature, queue, whole=True, axis_name=axis_name)
    else:
        negatives = q @ queue.T / temperature
        total, peak = jax.nn.logsumexp(negatives, axis=-1), jnp.max(negatives, axis=-1)
    loss = jnp.mean(jax.nn.softplus(total - positive))
    return _over((loss, _share(positive > peak, loss)), axis_name)


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
    nn, p = l2_normalize(jax.lax.stop_gradient(nn)), l2_normalize(p)
    return _among_keys(nn, p, temperature, axis_name)


def clip(
    a: Float[Array, "n d"],
    b: Float[Array, "n d"],
    scale: float | Float[Array, ""],
    *,
    axis_name: str | None = None,
    loss_impl: str = "auto",
) -> Float[Array, ""]:
    """Each a is to find its b among all of the batch, and each b its a: the loss of CLIP.

    Args:
      a: embeddings of one modality, any scale.
      b: embeddings of the other, row by row the partners of ``a``.
      scale: of the cosines, the inverse temperature: exp of what CLIP learns, at most 100 there.
      axis_name: inside ``shard_map`` or ``pmap``: the axis over which the batch is split. The
        negatives are then those of the whole batch.

    Returns:
      The mean over examples and both directions.

    Source: Radford et al. 2021, arXiv 2103.00020, figure 3.
    """
    return clip_accuracy(a, b, scale, axis_name=axis_name, loss_impl=loss_impl)[0]


def clip_accuracy(
    a: Float[Array, "n d"],
    b: Float[Array, "n d"],
    scale: float | Float[Array, ""],
    *,
    axis_name: str | None = None,
    loss_impl: str = "auto",
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """`clip` and the share of embeddings, of both, that are closest to their partner, in [0, 1]."""
    a, b, positive = _scaled(a, b, scale)
    own = _own(a, axis_name)
    if ring.wanted(loss_impl, a, axis_name=axis_name):
        *totals, nearest_b, nearest_a = ring.both_ways(a, b, axis_name=axis_name)
    else:
        logits = _both_logits(a, b, axis_name)
        totals = [jax.nn.logsumexp(x, axis=-1) for x in logits]
        nearest_b, nearest_a = (jax.lax.argmax(x, 1, jnp.int32) for x in logits)
    loss = jnp.mean((totals[0] + totals[1]) / 2 - positive)
    return _over((loss, _both_right(nearest_b, nearest_a, own, loss)), axis_name)


def siglip(
    a: Float[Array, "n d"],
    b: Float[Array, "n d"],
    scale: float | Float[Array, ""],
    bias: float | Float[Array, ""],
    *,
    axis_name: str | None = None,
    loss_impl: str = "auto",
) -> Float[Array, ""]:
    """Of every pair by itself, whether it belongs together: the loss of SigLIP.

    Args:
      a: embeddings of one modality, any scale.
      b: embeddings of the other, row by row the partners of ``a``.
      scale: of the cosines: exp of what SigLIP learns, 10 at first there.
      bias: added to the logits, -10 at first there, since nearly all pairs are negatives.
      axis_name: inside ``shard_map`` or ``pmap``: the axis over which the batch is split. The
        negatives are then those of the whole batch.

    Returns:
      The sum over all pairs divided by the number of examples.

    Source: Zhai et al. 2023, arXiv 2303.15343, algorithm 1.
    """
    return siglip_accuracy(a, b, scale, bias, axis_name=axis_name, loss_impl=loss_impl)[0]


def siglip_accuracy(
    a: Float[Array, "n d"],
    b: Float[Array, "n d"],
    scale: float | Float[Array, ""],
    bias: float | Float[Array, ""],
    *,
    axis_name: str | None = None,
    loss_impl: str = "auto",
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """`siglip` and the share of embeddings, of both, closest to their partner, in [0, 1]."""
    a, b, _ = _scaled(a, b, scale)
    own, bias = _own(a, axis_name), jnp.asarray(bias, a.dtype)
    if ring.wanted(loss_impl, a, axis_name=axis_name):
        sums, nearest_b, nearest_a = ring.sigmoids(a, b, bias, axis_name=axis_name)
    else:
        logits, from_b = _both_logits(a, b, axis_name)
        nearest_b, nearest_a = (jax.lax.argmax(x, 1, jnp.int32) for x in (logits, from_b))
        column = jnp.arange(logits.shape[1], dtype=jnp.int32)
        logits = logits + bias
        # -log sigmoid(z x) = softplus(-z x), z = 1 for partners and -1 for all others.
        signed = jnp.where(own[:, None] == column[None, :], -logits, logits)
        sums = jnp.sum(jax.nn.softplus(signed), axis=-1)
    loss = jnp.mean(sums)
    return _over((loss, _both_right(nearest_b, nearest_a, own, loss)), axis_name)


def _scaled(a, b, scale):
    """Cosines times scale as a product: its two factors, and the logits of the partners."""
    a, b = l2_normalize(a), l2_normalize(b)
    a = a * jnp.asarray(scale, a.dtype)
    return a, b, jnp.sum(a * b, axis=-1)


def _both_logits(a, b, axis_name):
    """Those of each a with all b, and of each b with all a."""
    if axis_name is None:
        logits = a @ b.T
        return logits, logits.T
    return a @ _gathered(b, axis_name).T, b @ _gathered(a, axis_name).T


def _both_right(nearest_b, nearest_a, own, like):
    return (_share(nearest_b == own, like) + _share(nearest_a == own, like)) / 2


def _among_keys(q, k, temperature, axis_name):
    """Cross entropy of each query's own key among all of the batch, and how often it wins."""
    logits = q @ _gathered(k, axis_name).T / temperature
    positive = jnp.sum(q * k, axis=-1) / temperature
    loss = jnp.mean(jax.nn.logsumexp(logits, axis=-1) - positive)
    accuracy = _share(jax.lax.argmax(logits, 1, jnp.int32) == _own(q, axis_name), loss)
    return _over((loss, accuracy), axis_name)


def _own(x, axis_name):
    """The rows' places in the whole batch."""
    own = jnp.arange(len(x), dtype=jnp.int32)
    return own if axis_name is None else own + jax.lax.axis_index(axis_name) * len(x)


def _gathered(x, axis_name):
    return x if axis_name is None else jax.lax.all_gather(x, axis_name, tiled=True)


def _share(right, like):
    return jnp.mean(right.astype(like.dtype))


def _over(values, axis_name):
    return values if axis_name is None else jax.lax.pmean(values, axis_name)
