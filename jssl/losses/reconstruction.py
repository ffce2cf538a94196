"""Losses of self-prediction: the hidden part of the input is the target."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jssl.losses.classification import cross_entropy_accuracy
from jssl.losses.geometry import at_least_float32


def patch_statistics(
    patches: Float[Array, "n t d"], epsilon: float = 1e-6
) -> tuple[Float[Array, "n t 1"], Float[Array, "n t 1"]]:
    """Mean and deviation of each patch, in float32 or wider.

    The variance divides by d - 1 and epsilon is added to it before the root, as in MAE's released
    code.
    """
    patches = at_least_float32(patches)
    variance = jnp.var(patches, axis=-1, keepdims=True, ddof=1)
    return jnp.mean(patches, axis=-1, keepdims=True), jnp.sqrt(variance + epsilon)


def normalize_patches(patches: Float[Array, "n t d"]) -> Float[Array, "n t d"]:
    """Each patch minus its mean, over its deviation (`patch_statistics`): MAE's better target.

    Source: He et al. 2021, arXiv 2111.06377, section 3 ("Reconstruction target").
    """
    mean, std = patch_statistics(patches)
    return (at_least_float32(patches) - mean) / std


def local_statistics(
    images: Float[Array, "n h w c"], window: int, epsilon: float = 1e-6
) -> tuple[Float[Array, "n h w c"], Float[Array, "n h w c"]]:
    """Mean and deviation of the square around each pixel, a channel, in float32 or wider.

    Args:
      images: as the loss sees them.
      window: side of the square in pixels, odd; at the border it is what of it lies inside.
      epsilon: added to the variance, which divides by the count - 1, before the root.

    Source: the target normalisation of SimMIM's released code, models/simmim.py norm_targets.
    """
    images = at_least_float32(images)

    def total(x):
        # Along one axis, then along the other.
        for axis in (1, 2):
            shape = tuple(window if i == axis else 1 for i in range(4))
            x = jax.lax.reduce_window(x, 0.0, jax.lax.add, shape, (1, 1, 1, 1), "SAME")
        return x

    count = total(jnp.ones((1, *images.shape[1:3], 1), images.dtype))
    mean = total(images) / count
    # Of the difference to the whole image's mean: squares of like numbers do not cancel.
    center = jnp.mean(images, axis=(1, 2), keepdims=True)
    squares = total((images - center) ** 2) - count * (mean - center) ** 2
    return mean, jnp.sqrt(jnp.maximum(squares, 0) / (count - 1) + epsilon)


def masked_mse(
    pred: Float[Array, "n t d"],
    target: Float[Array, "n t d"],
    mask: Bool[Array, "n t"],
    *,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """Mean squared error over the hidden patches of the whole batch.

    Args:
      pred: predicted patches.
      target: true patches.
      mask: True where a patch was hidden and counts. At least one must be.
      axis_name: inside ``shard_map`` or ``pmap``: the axis over which the batch is split.

    Source: He et al. 2021, arXiv 2111.06377, section 3.
    """
    error = (at_least_float32(pred) - at_least_float32(target)) ** 2
    return _masked_mean(error, mask, axis_name)


def masked_l1(
    pred: Float[Array, "n t d"],
    target: Float[Array, "n t d"],
    mask: Bool[Array, "n t"],
    *,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """Mean absolute error where ``mask`` is True, over the whole batch; see `masked_mse`.

    Source: Xie et al. 2021, arXiv 2111.09886, equation 1.
    """
    error = jnp.abs(at_least_float32(pred) - at_least_float32(target))
    return _masked_mean(error, mask, axis_name)


def masked_smooth_l1(
    pred: Float[Array, "n t d"],
    target: Float[Array, "n t d"],
    mask: Bool[Array, "n t"],
    beta: float = 1.0,
    *,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """Mean over the features and hidden places of the batch of an error e, with a stop-gradient.

    ``e ** 2 / (2 beta)`` up to ``|e| = beta``, from there ``|e| - beta / 2``.

    Args:
      pred: predicted features.
      target: those of the teacher; no gradient flows into them.
      mask: True where a place counts. At least one must.
      beta: where the square ends, > 0.
      axis_name: inside ``shard_map`` or ``pmap``: the axis over which the batch is split.

    Source: Baevski et al. 2022, arXiv 2202.03555, equation 2; the released code of Assran et al.
    2023, arXiv 2301.08243.
    """
    e = jnp.abs(at_least_float32(pred) - jax.lax.stop_gradient(at_least_float32(target)))
    return _masked_mean(jnp.where(e < beta, e**2 / (2 * beta), e - beta / 2), mask, axis_name)


def layer_norm(
    x: Float[Array, "*n d"], axis: int = -1, epsilon: float = 1e-5
) -> Float[Array, "*n d"]:
    """Layer norm without parameters, in float32 or wider: what data2vec and I-JEPA predict.

    Over another axis, such as that of an image's patches, it is known as instance norm.
    """
    x = at_least_float32(x)
    variance = jnp.var(x, axis=axis, keepdims=True)
    return (x - jnp.mean(x, axis=axis, keepdims=True)) * jax.lax.rsqrt(variance + epsilon)


def _masked_mean(error: Array, mask: Array, axis_name: str | None) -> Array:
    error = jnp.mean(error, axis=-1)
    total, count = jnp.sum(jnp.where(mask, error, 0)), jnp.sum(mask.astype(error.dtype))
    if axis_name is not None:
        total, count = jax.lax.psum((total, count), axis_name)
    return total / count


def masked_cross_entropy(
    logits: Float[Array, "n t k"],
    labels: Int[Array, "n t"],
    mask: Bool[Array, "n t"],
    *,
    axis_name: str | None = None,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Cross-entropy of the hidden tokens of the whole batch, and the share that is told right.

    Args:
      logits: of each token's k classes.
      labels: true classes, in [0, k); those of visible tokens do not matter.
      mask: True where a token was hidden and counts.
      axis_name: inside ``shard_map`` or ``pmap``: the axis over which the batch is split.

    Source: Bao et al. 2021, arXiv 2106.08254, equation 2.
    """
    asked = jnp.where(mask, labels, -1).reshape(-1)
    return cross_entropy_accuracy(logits.reshape(-1, logits.shape[-1]), asked, axis_name=axis_name)


def emphasized_mse(
    pred: Float[Array, "n h w c"],
    target: Float[Array, "n h w c"],
    corrupted: Bool[Array, "n h w c"] | None = None,
    alpha: float = 1.0,
    beta: float = 1.0,
    *,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """Mean squared error of all values, weighted ``alpha`` where corrupted and else ``beta``.

    Without ``corrupted`` all values weigh the same.

    Source: Vincent et al. 2010, "Stacked denoising autoencoders", JMLR 11, squared loss with an
    emphasis on corrupted dimensions; there the sum over an example's values.
    """
    error = (at_least_float32(pred) - at_least_float32(target)) ** 2
    if corrupted is not None:
        error = jnp.where(corrupted, alpha * error, beta * error)
    value = jnp.mean(error)
    return value if axis_name is None else jax.lax.pmean(value, axis_name)


def soft_cross_entropy(
    logits: Float[Array, "n t k"],
    targets: Float[Array, "n t k"],
    weights: Float[Array, "n t"],
    mask: Bool[Array, "n t"],
    *,
    axis_name: str | None = None,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Weighted cross-entropy with distributions as targets, and the share that is told right.

    Args:
      logits: of k classes at each place.
      targets: a distribution over them.
      weights: of the places; their mean is meant to be 1, so that no sum of them divides.
      mask: True where a place counts.
      axis_name: inside ``shard_map`` or ``pmap``: the axis over which the batch is split.

    Returns:
      The mean over the places that count, and the share of them whose highest logit stands at the
      likeliest class. Where none counts, what knowing nothing gives: log k and 1 / k.

    Source: Zhang, Isola & Efros 2016, arXiv 1603.08511, equation 2; there the sum over an image.
    """
    logits, targets = at_least_float32(logits), at_least_float32(targets)
    entropy = -jnp.sum(targets * jax.nn.log_softmax(logits, axis=-1), axis=-1)
    right = jnp.argmax(logits, axis=-1) == jnp.argmax(targets, axis=-1)
    sums = (
        jnp.sum(jnp.where(mask, weights.astype(entropy.dtype) * entropy, 0)),
        jnp.sum((right & mask).astype(entropy.dtype)),
        jnp.sum(mask.astype(entropy.dtype)),
    )
    if axis_name is not None:
        sums = jax.lax.psum(sums, axis_name)
    total, hits, count = sums
    chance, known = jnp.asarray(1 / logits.shape[-1], entropy.dtype), jnp.maximum(count, 1)
    some = count > 0
    return jnp.where(some, total / known, -jnp.log(chance)), jnp.where(some, hits / known, chance)


def rarity_weights(prior: Float[Array, " k"], uniform: float = 0.5) -> Float[Array, " k"]:
    """Weights of classes, the rarer the higher; under the prior their mean is 1.

    Args:
      prior: how often each class is.
      uniform: lambda in [0, 1], share of the uniform distribution mixed in: at 1 all weights are 1.

    Source: Zhang, Isola & Efros 2016, arXiv 1603.08511, equation 4.
    """
    weights = 1 / ((1 - uniform) * prior + uniform / len(prior))
    return weights / jnp.sum(prior * weights)
