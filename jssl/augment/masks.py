"""Which tokens a model sees: random masks with static counts."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, Key


def random_mask(
    key: Key[Array, ""], n: int, tokens: int, ratio: float
) -> tuple[Int[Array, "n k"], Bool[Array, "n tokens"]]:
    """Hides a random part of the tokens of each example (MAE, arXiv 2111.06377, section 3).

    Args:
      key: PRNG key.
      n: number of examples.
      tokens: number of tokens (patches) of an example.
      ratio: share of hidden tokens, in (0, 1).

    Returns:
      keep: [n k] int32, ascending indices of the visible tokens, uniform over all subsets of
        k = int(tokens * (1 - ratio)), the count of the authors' code.
      mask: [n tokens] bool, True where a token is hidden.

    Raises:
      ValueError: if `ratio` is not in (0, 1), or leaves nothing visible or nothing hidden.
    """
    if not 0 < ratio < 1:
        raise ValueError(f"ratio must be in (0, 1), got {ratio}")
    k = int(tokens * (1 - ratio))
    if not 0 < k < tokens:
        raise ValueError(f"ratio must leave 1 to {tokens - 1} of {tokens} tokens, got {ratio}")
    order = jnp.argsort(jax.random.uniform(key, (n, tokens), jnp.float32), axis=1)
    keep = jnp.sort(order[:, :k], axis=1).astype(jnp.int32)
    seen = keep[:, :, None] == jnp.arange(tokens, dtype=jnp.int32)[None, None]
    return keep, ~seen.any(1)
