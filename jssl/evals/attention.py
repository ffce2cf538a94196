"""Where a vision transformer looks: its attention, and what of it comes through all layers."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jssl.evals.features import Embed
from jssl.method import Batch
from jssl.nn.vit import Block


def attention(embed: Embed, batch: Batch) -> Float[Array, "l n h t t"] | None:
    """How much each token (second to last axis) takes from each other (last), layer by layer.

    Args:
      embed: ``(batch) -> Features``, of a transformer without mask or rotary positions. One with
        stacked layers or that recomputes them cannot be looked into.
      batch: of n examples.

    Returns:
      [l n h t t] of l layers and h heads, each row summing to 1; None where no block was applied.
    """

    @jax.jit
    def run(batch):
        found = []

        def watch(call, args, kwargs, context):
            out = call(*args, **kwargs)
            module = context.module
            if module.name == "qkv" and isinstance(module.parent, Block):
                found.append(_weights(out, module.parent.heads))
            return out

        with nn.intercept_methods(watch):
            embed(batch)
        return jnp.stack(found) if found else None

    return run(batch)


def _weights(qkv: Array, heads: int) -> Array:
    """Softmax of the scaled products of queries and keys; equation 1 of arXiv 1706.03762."""
    n, t, width = qkv.shape
    qkv = qkv.reshape(n, t, 3, heads, width // (3 * heads))
    qkv = qkv.astype(np.promote_types(qkv.dtype, np.float32))
    scores = jnp.einsum("nthd,nshd->nhts", qkv[:, :, 0], qkv[:, :, 1])
    return jax.nn.softmax(scores * qkv.shape[-1] ** -0.5)


@jax.jit
def rollout(weights: Float[Array, "l n h t t"]) -> Float[Array, "n t t"]:
    """How much of each input token reaches each token of the last layer; rows sum to 1.

    The product over layers of half the mean over heads and half the identity, which stands for the
    residual connection; section 3 of Abnar and Zuidema 2020, arXiv 2005.00928.
    """
    mixed = 0.5 * jnp.mean(weights, axis=2) + 0.5 * jnp.eye(weights.shape[-1])[None, None].astype(
        weights.dtype
    )

    def through(reached, layer):
        return jnp.einsum("nts,nsu->ntu", layer, reached), None

    return jax.lax.scan(through, mixed[0], mixed[1:])[0]


def onto_patches(
    flow: Float[Array, "n t t"], grid: tuple[int, int], pool: str
) -> Float[Array, "n a b"]:
    """What the embedding takes from each patch: [n a b] on the grid, non-negative.

    Args:
      flow: weights from each token (second axis) to those that it takes from, perhaps with a class
        token in front.
      grid: rows and columns of patches.
      pool: whether the embedding is the class token ("cls") or the mean of the patches ("mean").

    Raises:
      ValueError: if the tokens do not fit the grid.
    """
    a, b = grid
    front = flow.shape[1] - a * b
    if front not in (0, 1) or (pool == "cls" and not front):
        raise ValueError(f"{flow.shape[1]} tokens do not fit a grid of {a} x {b}, pooled as {pool}")
    rows = flow[:, :1] if pool == "cls" else flow[:, front:]
    return jnp.mean(rows, axis=1)[:, front:].reshape(-1, a, b)
