"""SimCSE: simple contrastive learning of sentence embeddings, without labels.

Gao, Yao & Chen 2021, arXiv 2104.08821.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from jssl import require
from jssl.losses import classification, geometry, spread
from jssl.method import Array, Batch, Method, Out, PyTree, Vars
from jssl.nn.forward import forward, start
from jssl.nn.text import TextTransformer


class Sentence(nn.Module):
    """An encoder and a dense layer with tanh on its pooled features, as on BERT's [CLS]."""

    encoder: nn.Module

    @nn.compact
    def __call__(self, x: PyTree, train: bool = False) -> Array:
        """What the encoder takes to [n d]."""
        net = self.encoder
        normal = nn.initializers.truncated_normal(0.02)
        dense = nn.Dense(
            net.dim, kernel_init=normal, name="head", dtype=net.dtype, param_dtype=net.param_dtype
        )
        return jnp.tanh(dense(net(x, train=train).pooled))


def simcse(
    encoder: nn.Module,
    prepare: Callable[[Batch], dict[str, Array]],
    *,
    temperature: float = 0.05,
) -> Method:
    """Tell a sentence, encoded with one dropout mask, from its batch, encoded with another.

    Args:
      encoder: a `jssl.nn.text.TextTransformer` with dropout > 0, which is all that tells the two
        apart: section 3 has 0.1. The paper starts from BERT or RoBERTa and takes their [CLS]; the
        tokens here have none, and `pool` of the encoder says what stands for the sentence.
      prepare: ``batch -> {"tokens": [n t], "segments": [n t]}``, a sentence a row.
      temperature: > 0; section 4.1.

    The head is of training alone; ``embed`` leaves it out, as section 4.1 does without labels.

    Raises:
      ValueError: if the encoder is none of texts or has no dropout, or for the temperature.
    """
    require.positive(temperature=temperature)
    if not isinstance(encoder, TextTransformer):
        raise ValueError(f"simcse needs a TextTransformer encoder, got a {type(encoder).__name__}")
    if not encoder.dropout:
        raise ValueError(f"encoder.dropout must be > 0 for simcse, got {encoder.dropout}")
    net = Sentence(encoder)

    def init(key, batch):
        return Vars(*start(net, key, prepare(batch)))

    def views(key, batch):
        return prepare(batch)

    def loss(params, state, views, key, step):
        # Beside each other: a sharded batch stays where it is, and each row has its own mask.
        twice = jax.tree.map(lambda x: jnp.repeat(x, 2, axis=0), views)
        h, state = forward(net, params, state, twice, key)
        h = geometry.l2_normalize(h).reshape(len(h) // 2, 2, -1)
        # Equation 4; both sides have a gradient.
        logits = h[:, 0] @ h[:, 1].T / temperature
        labels = jnp.arange(len(h), dtype=jnp.int32)
        value, accuracy = classification.cross_entropy_accuracy(logits, labels)
        metrics = {"loss": value, "proxy_accuracy": accuracy}
        return value, Out(state, metrics | spread.spread(h[:, 0], h[:, 1]))

    def after(params, state, step):
        return state

    def embed(params, state, batch):
        return encoder.apply({"params": params["encoder"]}, prepare(batch), train=False)

    return Method(init, views, loss, after, embed)
