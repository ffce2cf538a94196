"""Cosine similarity: unit vectors, and nearest neighbours a bounded part at a time."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int


def unit(x: Float[Array, "*n d"]) -> Float[Array, "*n d"]:
    """Vectors scaled to length one, in float32 or wider; zeros stay zeros."""
    x = x.astype(np.promote_types(x.dtype, np.float32))
    length = jnp.linalg.norm(x, axis=-1, keepdims=True)
    return x / jnp.maximum(length, jnp.finfo(x.dtype).tiny)


def parts(x: Array, size: int) -> Array:
    """[n ...] to [parts, size, ...] of nearly ``size`` each, padded with zeros at the end."""
    count = math.ceil(len(x) / size)
    size = math.ceil(len(x) / count)
    padding = ((0, count * size - len(x)),) + ((0, 0),) * (x.ndim - 1)
    return jnp.pad(x, padding).reshape(count, size, *x.shape[1:])


@partial(jax.jit, static_argnames=("k", "query_part", "part"))
def nearest(
    x: Float[Array, "n d"],
    queries: Float[Array, "m d"],
    k: int,
    count: int | Int[Array, ""] | None = None,
    *,
    query_part: int = 256,
    part: int = 65536,
) -> tuple[Float[Array, "m k"], Int[Array, "m k"]]:
    """The ``k`` most similar rows of ``x`` to each query: similarities, falling, and row numbers.

    Of equals the one that comes first. ``query_part`` by ``part`` similarities at a time, so memory
    stays bounded. Rows of ``x`` from ``count`` on are padding and never found.
    """
    bank, size = parts(unit(x), part), math.ceil(len(x) / math.ceil(len(x) / part))
    starts = jnp.arange(len(bank), dtype=jnp.int32) * size
    count = len(x) if count is None else count

    def search(queries):
        def nearer(best, piece):
            rows, start = piece
            at = start + jnp.arange(size, dtype=jnp.int32)
            # TPUs round to bfloat16 unless asked, which reorders near neighbours.
            similarity = jnp.dot(queries, rows.T, precision=jax.lax.Precision.HIGHEST)
            similarity = jnp.where((at < count)[None, :], similarity, -jnp.inf)
            top, found = jax.lax.top_k(similarity, min(k, size))
            merged = jnp.concatenate([best[0], top], axis=1)
            at = jnp.concatenate([best[1], start + found], axis=1)
            top, found = jax.lax.top_k(merged, k)
            return (top, jnp.take_along_axis(at, found, axis=1)), None

        none = (
            jnp.full((len(queries), k), -jnp.inf, queries.dtype),
            jnp.zeros((len(queries), k), jnp.int32),
        )
        return jax.lax.scan(nearer, none, (bank, starts))[0]

    found = jax.lax.map(search, parts(unit(queries), query_part))
    return jax.tree.map(lambda leaf: leaf.reshape(-1, k)[: len(queries)], found)
