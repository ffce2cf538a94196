"""Text from a causal model: one token after the other, drawn from what it says comes next."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from jssl import require


def restrict(
    logits: Float[Array, "n k"],
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Float[Array, "n k"]:
    """Logits over the temperature, minus infinity where a token is not to be drawn.

    Args:
      logits: of the next token.
      temperature: > 0; below 1 the likely tokens gain.
      top_k: only the so many most likely tokens, and those as likely as the last of them
        (Fan et al. 2018, arXiv 1805.04833).
      top_p: in (0, 1]: only the fewest most likely tokens that together have this probability
        (Holtzman et al. 2019, arXiv 1904.09751, section 3.1), of what top_k has left.

    Raises:
      ValueError: for an option out of range.
    """
    require.positive(temperature=temperature)
    logits = logits / temperature
    if top_k is not None:
        require.at_least(1, top_k=top_k)
        least = jax.lax.top_k(logits, min(top_k, logits.shape[1]))[0][:, -1:]
        logits = jnp.where(logits < least, -jnp.inf, logits)
    if top_p is not None:
        if not 0 < top_p <= 1:
            raise ValueError(f"top_p must be in (0, 1], got {top_p}")
        ordered = jnp.sort(logits, axis=1)[:, ::-1]
        chances = jax.nn.softmax(ordered, axis=1)
        # A token is in as long as those before it have not reached p.
        inside = jnp.cumsum(chances, axis=1) - chances < top_p
        least = jnp.min(jnp.where(inside, ordered, jnp.inf), axis=1, keepdims=True)
        logits = jnp.where(logits < least, -jnp.inf, logits)
    return logits


def generate(
    advance: Callable[[Any, Array, Array], tuple[Array, Any]],
    key: Key[Array, ""],
    prompt: Int[Array, "n p"],
    length: int,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Int[Array, "n {length}"]:
    """The tokens that follow a prompt; the i-th is drawn with ``fold_in(key, i)``.

    Args:
      advance: ``(cache, tokens [n t], at) -> (logits [n t k], cache)``: what comes after each of
        some tokens, of which the first stands at place ``at``; the cache is None at first.
      key: PRNG key.
      prompt: p >= 1 tokens.
      length: how many are to follow, at least 1.
      temperature, top_k, top_p: as in `restrict`; temperature 0 takes the most likely token.

    Raises:
      ValueError: for an option out of range, or without a prompt.
    """
    require.at_least(1, length=length, prompt=prompt.shape[1])

    def draw(i, logits):
        if temperature == 0:
            return jnp.argmax(logits, axis=1).astype(prompt.dtype)
        some = restrict(logits, temperature=temperature, top_k=top_k, top_p=top_p)
        drawn = jax.random.categorical(jax.random.fold_in(key, i), some, axis=1)
        return drawn.astype(prompt.dtype)

    logits, cache = advance(None, prompt, jnp.zeros((), jnp.int32))
    first = draw(0, logits[:, -1])

    def one(carry, i):
        cache, token = carry
        logits, cache = advance(cache, token[:, None], prompt.shape[1] + i - 1)
        token = draw(i, logits[:, -1])
        return (cache, token), token

    _, rest = jax.lax.scan(one, (cache, first), jnp.arange(1, length, dtype=jnp.int32))
    return jnp.concatenate([first[:, None], rest.T], axis=1)
