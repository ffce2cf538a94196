"""CPC: representation learning with contrastive predictive coding, of signals.

van den Oord, Li & Vinyals 2018, arXiv 1807.03748.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jssl import require
from jssl.losses.sequence import told_apart
from jssl.method import Array, Batch, Method, Out, Vars
from jssl.nn.audio import CPCEncoder
from jssl.nn.forward import start

AMONG = ("utterance", "batch")


class Predictor(nn.Module):
    """W_k of equation 3, one for each step ahead: contexts [n t c] -> predictions [k n t d]."""

    steps: int
    dim: int
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, c: Array) -> Array:
        """Predict."""
        init = nn.initializers.lecun_normal(in_axis=1, out_axis=2, batch_axis=0)
        shape = (self.steps, c.shape[-1], self.dim)
        return jnp.einsum("ntc,kcd->kntd", c, self.param("kernel", init, shape, self.param_dtype))


def cpc(
    encoder: nn.Module,
    prepare: Callable[[Batch], dict[str, Array]],
    *,
    steps: int = 12,
    among: str = "utterance",
    negatives: int = 128,
) -> Method:
    """Predict the next latents of a signal from the past, among others that might have come.

    Args:
      encoder: a `jssl.nn.audio.CPCEncoder`: latents z and the context c of the past.
      prepare: ``batch -> {"signal": [n t], "samples": [n]}``, of which samples are no padding.
      steps: latents ahead that are predicted, 1 to this; section 3.1.
      among: where the others come from, as in table 2: the "utterance" itself, all of whose frames
        are compared, which makes the speaker no help; or the "batch", of which some are drawn.
      negatives: how many frames are drawn of the batch, the same for all predictions.

    A prediction does not count where either end is padding. ``proxy_accuracy`` is the share of
    predictions nearest to what came; ``chance`` what guessing among their candidates scores.

    Raises:
      ValueError: if the encoder is not a CPCEncoder, or for an option out of range, or signals of
        no more frames than steps.
    """
    if not isinstance(encoder, CPCEncoder):
        raise ValueError(f"cpc needs a CPCEncoder encoder, got a {type(encoder).__name__}")
    require.one_of(AMONG, among=among)
    require.at_least(1, steps=steps, negatives=negatives)
    predictor = Predictor(steps, encoder.dim, encoder.param_dtype)

    def init(key, batch):
        k_encoder, k_predictor = jax.random.split(key)
        x = prepare(batch)
        params, _ = start(encoder, k_encoder, x)
        _, z, _ = jax.eval_shape(lambda: encoder.apply({"params": params}, x, latents=True))
        if z.shape[1] <= steps:
            raise ValueError(f"steps must be less than the {z.shape[1]} frames, got {steps}")
        c = jnp.zeros((1, 1, encoder.context), encoder.param_dtype)
        return Vars({"encoder": params, "predictor": predictor.init(k_predictor, c)["params"]}, {})

    def views(key, batch):
        return prepare(batch)

    def loss(params, state, views, key, step):
        features, z, real = encoder.apply(
            {"params": params["encoder"]}, views, train=True, latents=True
        )
        predicted = predictor.apply({"params": params["predictor"]}, features.tokens)
        n, t, d = z.shape
        own = jnp.arange(n * t, dtype=jnp.int32).reshape(n, t)
        others, place, there = z, own, real
        if among == "batch":
            # Of the frames that are no padding, each as likely as the other, none twice.
            drawn = jax.random.uniform(key, (n * t,), jnp.float32)
            drawn += real.reshape(-1).astype(drawn.dtype)
            _, chosen = jax.lax.top_k(drawn, min(negatives, n * t))
            others, place, there = (
                z.reshape(-1, d)[chosen][None],
                chosen[None],
                real.reshape(-1)[chosen][None],
            )
        means = []
        for k in range(1, steps + 1):
            asked = predicted[k - 1, :, :-k]
            positive = jnp.sum(asked * z[:, k:], axis=2)  # log f_k, equation 3
            logits = jnp.matmul(asked, others.swapaxes(1, 2))
            allowed = there[:, None] & (place[:, None] != own[:, k:, None])
            means.append(told_apart(positive, logits, allowed, real[:, k:]))  # equation 4
        value, accuracy, chance = (jnp.mean(jnp.stack(part)) for part in zip(*means, strict=True))
        return value, Out(state, {"loss": value, "proxy_accuracy": accuracy, "chance": chance})

    def after(params, state, step):
        return state

    def embed(params, state, batch):
        return encoder.apply({"params": params["encoder"]}, prepare(batch))

    return Method(init, views, loss, after, embed)
