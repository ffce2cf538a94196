"""Contrast of two views of time series, step by step, at every scale of time."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jssl import require


def hierarchical(
    z1: Float[Array, "n t d"],
    z2: Float[Array, "n t d"],
    length: Int[Array, ""] | int | None = None,
    weight: float = 0.5,
    *,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """Instance-wise and temporal contrast, again after each max-pooling of pairs of steps.

    Args:
      z1: the one view's features, at least float32.
      z2: the other's, of the same time steps.
      length: how many of the steps count, >= 1; the others change nothing. None for all.
      weight: of the instance-wise contrast, in [0, 1]; the temporal one has 1 - weight.
      axis_name: inside ``shard_map`` or ``pmap``: the axis over which the batch is split.

    Returns:
      The mean over the scales: those of lengths ``length``, ``length // 2``, ..., 1.

    Raises:
      ValueError: for a weight outside of [0, 1].

    Source: TS2Vec, Yue et al. 2022, arXiv 2106.10466, equations 1 to 3 and algorithm 1.
    """
    require.fraction(weight=weight)
    z = jnp.stack([z1, z2], axis=1)  # beside each other: a sharded batch stays where it is
    length = jnp.asarray(z.shape[2] if length is None else length, jnp.int32)
    total, scales = jnp.zeros((), z.dtype), jnp.zeros((), z.dtype)
    while True:
        value = weight * _instance(z, length, axis_name) + (1 - weight) * _temporal(z, length)
        total += jnp.where(length >= 1, value, 0)
        scales += (length >= 1).astype(z.dtype)
        t = z.shape[2] // 2
        if t == 0:
            break
        z = jnp.max(z[:, :, : 2 * t].reshape(*z.shape[:2], t, 2, z.shape[3]), axis=3)
        length = length // 2
    value = total / scales
    return value if axis_name is None else jax.lax.pmean(value, axis_name)


def _instance(z, length, axis_name):
    """Equation 2: at each step, the other view among both views of all examples."""
    n, first, others = z.shape[0], 0, z
    if axis_name is not None:
        first = n * jax.lax.axis_index(axis_name)
        others = jax.lax.all_gather(z, axis_name, tiled=True)
    logits = jnp.einsum("nvtd,mwtd->nvtmw", z, others)
    same = (first + jnp.arange(n, dtype=jnp.int32))[:, None] == jnp.arange(
        len(others), dtype=jnp.int32
    )[None]
    itself = same[:, None, None, :, None] & jnp.eye(2, dtype=bool)[None, :, None, None]
    return _mean(_entropy(logits, itself, z), length)


def _temporal(z, length):
    """Equation 1: in each example, the same step of the other view among all steps of both."""
    t = z.shape[2]
    logits = jnp.einsum("nvtd,nwsd->nvtsw", z, z)
    itself = jnp.eye(t, dtype=bool)[None, :, :, None] & jnp.eye(2, dtype=bool)[:, None, None]
    outside = (jnp.arange(t, dtype=jnp.int32) >= length)[None, None, :, None]
    return _mean(_entropy(logits, (itself | outside)[None], z), length)


def _entropy(logits, left_out, z):
    logits = jnp.where(left_out, jnp.finfo(logits.dtype).min, logits)
    positive = jnp.sum(z[:, 0] * z[:, 1], axis=-1)[:, None]
    return jax.nn.logsumexp(logits, axis=(3, 4)) - positive


def _mean(values, length):
    """Over examples, views and the steps that count."""
    n, v, t = values.shape
    counted = jnp.where((jnp.arange(t, dtype=jnp.int32) < length)[None, None], values, 0)
    return jnp.sum(counted) / (n * v * jnp.maximum(length, 1).astype(values.dtype))
