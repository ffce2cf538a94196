"""Two examples mixed into one, their labels in the same shares.

Every example is mixed with its neighbour in the batch. The order of a batch is drawn, so that is a
random other one, as a permutation would be; but a batch that lies over many devices stays there,
save for one example at each border.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jssl import require


def mixup(
    key: Key[Array, ""], x: Float[Array, "n *d"], targets: Float[Array, "n *k"], alpha: float
) -> tuple[Float[Array, "n *d"], Float[Array, "n *k"]]:
    """Convex combinations: lambda x_i + (1 - lambda) x_j, and the targets likewise.

    Args:
      key: PRNG key.
      x: [n ...], examples, of any kind whose sums make sense.
      targets: [n ...], shares of classes, or what is to be regressed.
      alpha: lambda is Beta(alpha, alpha), drawn for each example.

    Raises:
      ValueError: if alpha is not positive.

    Source: Zhang et al. 2017, arXiv 1710.09412, equation 1. The released code draws one lambda for
    a batch.
    """
    share = _shares(key, len(x), alpha)
    return _mix(x, share), _mix(targets, share)


def cutmix(
    key: Key[Array, ""], x: Float[Array, "n h w c"], targets: Float[Array, "n *k"], alpha: float
) -> tuple[Float[Array, "n h w c"], Float[Array, "n *k"]]:
    """A box of each image is another's; the targets are mixed by the areas.

    The box has sqrt(1 - lambda) of each side, rounded down to an even number of pixels, about a
    pixel drawn evenly over the image, and is cut off at its border; the share of the labels is
    that of the pixels.

    Args:
      key: PRNG key.
      x: [n h w c], images.
      targets: [n ...], shares of classes.
      alpha: lambda is Beta(alpha, alpha), drawn for each image; 1, evenly, in the paper.

    Raises:
      ValueError: if alpha is not positive.

    Source: Yun et al. 2019, arXiv 1905.04899, equations 1 and 2, and the released code, which
    draws one lambda and one box for a batch.
    """
    n, h, w = x.shape[:3]
    k_share, k_row, k_column = jax.random.split(key, 3)
    side = jnp.sqrt(1 - _shares(k_share, n, alpha))
    rows, columns = _within(k_row, h, side), _within(k_column, w, side)
    inside = rows[:, :, None] & columns[:, None, :]
    mixed = jnp.where(inside[..., None], jnp.roll(x, 1, axis=0), x)
    return mixed, _mix(targets, 1 - jnp.mean(inside.astype(jnp.float32), axis=(1, 2)))


def mixup_or_cutmix(
    key: Key[Array, ""],
    x: Float[Array, "n h w c"],
    targets: Float[Array, "n *k"],
    mixup_alpha: float,
    cutmix_alpha: float,
) -> tuple[Float[Array, "n h w c"], Float[Array, "n *k"]]:
    """One or the other for each image, evenly, as in DeiT's recipe (arXiv 2012.12877, table 9).

    An alpha of 0 leaves that one out; where both are 0 nothing is mixed.
    """
    require.at_least(0, mixup=mixup_alpha, cutmix=cutmix_alpha)
    k_choice, k_mixup, k_cutmix = jax.random.split(key, 3)
    blended = mixup(k_mixup, x, targets, mixup_alpha) if mixup_alpha else (x, targets)
    pasted = cutmix(k_cutmix, x, targets, cutmix_alpha) if cutmix_alpha else (x, targets)
    if not mixup_alpha or not cutmix_alpha:
        return blended if mixup_alpha else pasted
    first = jax.random.bernoulli(k_choice, 0.5, (len(x),))
    return tuple(jnp.where(_row(first, a), a, b) for a, b in zip(blended, pasted, strict=True))


def _shares(key: Array, n: int, alpha: float) -> Array:
    require.positive(alpha=alpha)
    return jax.random.beta(key, alpha, alpha, (n,), jnp.float32)


def _mix(x: Array, share: Array) -> Array:
    share = _row(share, x).astype(x.dtype)
    return share * x + (1 - share) * jnp.roll(x, 1, axis=0)


def _within(key: Array, size: int, side: Array) -> Array:
    """[n size], True from half a side before a pixel drawn evenly to half a side after it."""
    half = (size * side).astype(jnp.int32)[:, None] // 2
    middle = jax.random.randint(key, (len(side), 1), 0, size, jnp.int32)
    places = jnp.arange(size, dtype=jnp.int32)[None]
    return (places >= middle - half) & (places < middle + half)


def _row(values: Array, x: Array) -> Array:
    """[n] as [n 1 ... 1], so that the broadcast against x is in sight."""
    return values.reshape((-1,) + (1,) * (x.ndim - 1))
