"""Blocks of patches hidden from some examples, of a share that is drawn anew for each."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Key

from jssl import require
from jssl.augment.masks import block_mask


def sometimes_blocks(
    key: Key[Array, ""],
    n: int,
    grid: tuple[int, int],
    *,
    probability: float = 0.5,
    ratio: float = 0.3,
    variation: float = 0.2,
) -> Bool[Array, "n t"]:
    """`block_mask` of some examples, of a share drawn anew for each; of the others nothing.

    Args:
      key: PRNG key.
      n: number of examples.
      grid: rows and columns of patches.
      probability: of an example to be masked at all.
      ratio: the mean share of hidden patches in those.
      variation: the share is uniform within this of ``ratio``; the count is rounded down.

    Raises:
      ValueError: if the probability or a share is out of range.

    Source: Zhou et al. 2021, arXiv 2111.07832, section 3.3; the least area of a block is that of
    the released code.
    """
    low, high = ratio - variation, ratio + variation
    require.fraction(probability=probability, least_ratio=low, greatest_ratio=high)
    k_some, k_ratio, k_blocks = jax.random.split(key, 3)
    some = jax.random.uniform(k_some, (n,), jnp.float32) < probability
    share = jax.random.uniform(k_ratio, (n,), jnp.float32, low, high)
    count = jnp.where(some, (share * (grid[0] * grid[1])).astype(jnp.int32), 0)
    least = max((min(grid) // 3) ** 2, 1)
    return block_mask(k_blocks, n, grid, count, min_patches=least)
