"""TS2Vec: towards universal representation of time series.

Yue, Wang, Duan, Yang, Huang, Tong & Xu 2022, arXiv 2106.10466.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from jssl import require
from jssl.losses.hierarchical import hierarchical
from jssl.method import Array, Batch, Method, Out, Vars
from jssl.nn.forward import forward, start
from jssl.nn.series import DilatedConvs


def segments(key: Array, t: int) -> tuple[Array, Array, Array, Array]:
    """Bounds a1 <= a2 < b1 <= b2 of two overlapping segments [a1, b1) and [a2, b2), section 2.4.

    The overlap [a2, b1) has 2 to t steps, each number as likely.
    """
    k_length, k_left, k_before, k_after = jax.random.split(key, 4)
    length = jax.random.randint(k_length, (), 2, t + 1)
    a2 = jax.random.randint(k_left, (), 0, t - length + 1)
    b1 = a2 + length
    a1 = jax.random.randint(k_before, (), 0, a2 + 1)
    b2 = jax.random.randint(k_after, (), b1, t + 1)
    return a1, a2, b1, b2


def ts2vec(
    encoder: nn.Module,
    prepare: Callable[[Batch], dict[str, Array]],
    *,
    weight: float = 0.5,
    keep: float = 0.5,
) -> Method:
    """Features of the overlap of two segments, seen in two contexts, agree step by step.

    Args:
      encoder: a `jssl.nn.series.DilatedConvs`.
      prepare: ``batch -> {"series": [n t c], "observed": [n t c]}``, scaled.
      weight: of the instance-wise contrast against the temporal one, in [0, 1].
      keep: chance of each latent step to be kept, in [0, 1]; the others are masked (section 2.3).

    As in the released code all examples of a batch have segments of the same lengths, each at a
    place of its own, and ``embed`` is by the average of the weights of all steps. Segments are
    told by a mask here, so that shapes are static.

    Raises:
      ValueError: if the encoder is none of series, or for an option out of its range.
    """
    require.fraction(weight=weight, keep=keep)
    if not isinstance(encoder, DilatedConvs):
        raise ValueError(f"ts2vec needs a DilatedConvs encoder, got a {type(encoder).__name__}")

    def views(key, batch):
        x = prepare(batch)
        n, t = x["series"].shape[:2]
        if t < 2:
            raise ValueError(f"ts2vec needs windows of at least 2 steps, got {t}")
        k_segments, k_offset, k_keep = jax.random.split(key, 3)
        a1, a2, b1, b2 = segments(k_segments, t)
        offset = jax.random.randint(k_offset, (n,), -a1, t - b2 + 1)
        # Step i of a row is its step i + offset, which exists wherever a segment is.
        at = jnp.clip(offset[:, None] + jnp.arange(t)[None], 0, t - 1)
        moved = {k: jnp.take_along_axis(v, at[:, :, None], axis=1) for k, v in x.items()}
        kept = jax.random.bernoulli(k_keep, keep, (n, 2, t))
        return {**moved, "keep": kept, "bounds": jnp.stack([a1, a2, b1, b2])}

    def init(key, batch):
        params, state = start(encoder, key, prepare(batch))
        return Vars(params, {"average": jax.tree.map(jnp.copy, params), **state})

    def encode(params, views, key):
        """Features [n 2 t d] of both segments, the overlap's from step 0 on."""
        n, t = views["series"].shape[:2]
        a1, a2, b1, b2 = views["bounds"]
        step = jnp.arange(t)
        inside = jnp.stack([(step >= a1) & (step < b1), (step >= a2) & (step < b2)])
        inside = jnp.broadcast_to(inside[None], (n, 2, t)).reshape(2 * n, t)
        # Beside each other: a sharded batch stays where it is.
        x = {name: jnp.repeat(views[name], 2, axis=0) for name in ("series", "observed")}
        kept = views["keep"].reshape(2 * n, t)
        z, _ = forward(encoder, params, {}, x, key, inside=inside, keep=kept)
        return jnp.roll(z.tokens.reshape(n, 2, t, -1), -a2, axis=2)

    def loss(params, state, views, key, step):
        z = encode(params, views, key)
        _, a2, b1, _ = views["bounds"]
        value = hierarchical(z[:, 0], z[:, 1], b1 - a2, weight)
        return value, Out(state, {"loss": value})

    def after(params, state, step):
        # The mean of the weights of the beginning and of every step so far.
        share = 1 / (jnp.asarray(step, jnp.float32) + 2)
        average = jax.tree.map(
            lambda a, p: a + (p - a) * share.astype(p.dtype), state["average"], params
        )
        return {**state, "average": average}

    def embed(params, state, batch):
        return encoder.apply({"params": state["average"]}, prepare(batch), train=False)

    return Method(init, views, loss, after, embed)
