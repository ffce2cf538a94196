"""wav2vec 2.0: a framework for self-supervised learning of speech representations.

Baevski, Zhou, Mohamed & Auli 2020, arXiv 2006.11477.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jssl import require
from jssl.augment.spans import span_mask
from jssl.losses.geometry import l2_normalize
from jssl.losses.sequence import told_apart
from jssl.method import Array, Batch, Method, Out, Vars
from jssl.nn.wav2vec import GumbelQuantizer, Wav2Vec2Encoder


class Heads(nn.Module):
    """What is of training alone: the quantiser of the targets, a projection of either side."""

    dim: int
    groups: int
    entries: int
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, c: Array, z: Array, temperature: Array, key: Array):
        """Context [n t d] and latents [n t e] to both sides [n t dim], codes and probabilities."""
        quantizer = GumbelQuantizer(
            self.dim, self.groups, self.entries, self.param_dtype, name="quantizer"
        )
        q, codes, p = quantizer(z, temperature, key)
        side = [
            nn.Dense(self.dim, param_dtype=self.param_dtype, name=name)(x)
            for name, x in (("context", c), ("target", q))
        ]
        return *side, codes, p


def wav2vec2(
    encoder: nn.Module,
    prepare: Callable[[Batch], dict[str, Array]],
    *,
    mask_share: float = 0.065,
    mask_length: int = 10,
    distractors: int = 100,
    groups: int = 2,
    entries: int = 320,
    dim: int = 256,
    temperature: float = 0.1,
    diversity: float = 0.1,
    penalty: float = 10.0,
    gradient_scale: float = 0.1,
    gumbel: tuple[float, float, float] = (2.0, 0.5, 0.999995),
) -> Method:
    """Masked frames are told by their context from other masked frames of the same utterance.

    Args:
      encoder: a `jssl.nn.wav2vec.Wav2Vec2Encoder`.
      prepare: ``batch -> {"signal": [n t], "samples": [n]}``, of which samples are no padding.
      mask_share: of frames at which a masked span starts, mask_length: its frames; section 4.2.
      distractors: K of equation 3, drawn with replacement.
      groups, entries: G codebooks of V vectors; section 4.2.
      dim: of quantised frames and of both sides of the comparison.
      temperature: kappa of equation 3, > 0.
      diversity: alpha of equation 2.
      penalty: of the mean square of the convolutions' activations; section 4.2.
      gradient_scale: of the convolutions; section 4.2.
      gumbel: temperature of the quantiser's draws at first, at least, and its factor each step.

    ``perplexity`` is that of the mean probabilities over masked frames, summed over the groups.
    As in the released code the diversity loss is (G V - perplexity) / (G V) instead of equation
    4's negative entropy, and a distractor of the same codes as the target does not count.

    Raises:
      ValueError: if the encoder is not a Wav2Vec2Encoder, or for an option out of range.
    """
    if not isinstance(encoder, Wav2Vec2Encoder):
        raise ValueError(
            f"wav2vec2 needs a Wav2Vec2Encoder encoder, got a {type(encoder).__name__}"
        )
    require.positive(temperature=temperature, gumbel=min(gumbel))
    require.at_least(1, distractors=distractors, groups=groups, entries=entries, dim=dim)
    require.at_least(0, diversity=diversity, penalty=penalty)
    if dim % groups:
        raise ValueError(f"dim must be a multiple of groups, got {dim} and {groups}")
    heads = Heads(dim, groups, entries, encoder.param_dtype)
    first, least, factor = gumbel

    def views(key, batch):
        x = prepare(batch)
        return {"x": x, "mask": span_mask(key, encoder.real(x), mask_share, mask_length)}

    def init(key, batch):
        k_views, k_encoder, k_heads = jax.random.split(key, 3)
        seen = views(k_views, batch)
        given = {"mask": seen["mask"], "latents": True}
        (features, z, _), variables = encoder.init_with_output(k_encoder, seen["x"], **given)
        drawn = heads.init(k_heads, features.tokens, z, jnp.ones(()), k_heads)
        return Vars({"encoder": variables["params"], "heads": drawn["params"]}, {})

    def loss(params, state, views, key, step):
        k_encoder, k_gumbel, k_others = jax.random.split(key, 3)
        mask = views["mask"]
        features, z, square = encoder.apply(
            {"params": params["encoder"]},
            views["x"],
            train=True,
            mask=mask,
            latents=True,
            scale=gradient_scale,
            rngs={"dropout": k_encoder},
        )
        tau = jnp.maximum(first * factor ** step.astype(jnp.float32), least)
        c, q, codes, p = heads.apply({"params": params["heads"]}, features.tokens, z, tau, k_gumbel)
        others = _others(k_others, mask, distractors)
        similar = jnp.einsum("ntd,nsd->nts", l2_normalize(c), l2_normalize(q)) / temperature
        differ = jnp.any(codes[:, :, None] != codes[:, None], axis=3) & mask[:, None]
        allowed = jnp.take_along_axis(differ, others, axis=2)
        logits = jnp.take_along_axis(similar, others, axis=2)
        positive = jnp.diagonal(similar, axis1=1, axis2=2)
        contrast, accuracy, chance = told_apart(positive, logits, allowed, mask)  # equation 3
        weights = mask[:, :, None, None].astype(p.dtype)
        mean = jnp.sum(weights * p, axis=(0, 1)) / jnp.maximum(jnp.sum(weights), 1)
        perplexity = jnp.sum(jnp.exp(-jnp.sum(mean * jnp.log(mean + 1e-7), axis=1)))
        spread = 1 - perplexity / (groups * entries)
        value = contrast + diversity * spread + penalty * square  # equation 2
        metrics = {"loss": value, "proxy_accuracy": accuracy, "chance": chance}
        return value, Out(state, metrics | {"contrast": contrast, "perplexity": perplexity})

    def after(params, state, step):
        return state

    def embed(params, state, batch):
        return encoder.apply({"params": params["encoder"]}, prepare(batch))

    return Method(init, views, loss, after, embed)


def _others(key: Array, mask: Array, count: int) -> Array:
    """For each masked frame of [n t] so many other masked ones of its row, places [n t count]."""
    n, t = mask.shape
    places = jnp.argsort(~mask, axis=1).astype(jnp.int32)  # the masked ones first, in order
    rank = jnp.cumsum(mask, axis=1, dtype=jnp.int32)[:, :, None] - 1
    there = jnp.sum(mask, axis=1, dtype=jnp.int32)[:, None, None]
    u = jax.random.uniform(key, (n, t, count), jnp.float32)
    drawn = (u * jnp.maximum(there - 1, 1).astype(jnp.float32)).astype(jnp.int32)
    drawn = jnp.minimum(drawn + (drawn >= rank).astype(jnp.int32), t - 1)
    return jnp.take_along_axis(places, drawn.reshape(n, -1), axis=1).reshape(n, t, count)
