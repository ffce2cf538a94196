"""GPT: improving language understanding by generative pre-training; one token after the other.

Radford, Narasimhan, Salimans & Sutskever 2018; its successor GPT-2 by Radford et al. 2019.
"""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp

from jssl.losses import reconstruction
from jssl.method import Array, Batch, Language, Method, Out, Vars
from jssl.nn.forward import forward, start
from jssl.nn.text import TextTransformer, tied_logits


def gpt(encoder: nn.Module, prepare: Callable[[Batch], dict[str, Array]]) -> Method:
    """Next token: each is predicted from those before it in its document.

    Args:
      encoder: a causal `jssl.nn.text.TextTransformer`; its embeddings are the output layer too.
      prepare: ``batch -> {"tokens": [n t], "segments": [n t]}``, documents packed into rows.

    The last token of a document, and of a row, predicts nothing. The loss is in nats a token;
    ``chance`` is the share of the most frequent token among those asked for. Dropout is the
    encoder's.

    Raises:
      ValueError: if the encoder is not a causal TextTransformer.
    """
    if not isinstance(encoder, TextTransformer) or not encoder.causal:
        raise ValueError(
            f"gpt needs a TextTransformer encoder with causal=True, such as gpt_tiny, got a "
            f"{type(encoder).__name__}"
            + (" with causal=False" if isinstance(encoder, TextTransformer) else "")
        )

    def init(key, batch):
        params, _ = start(encoder, key, prepare(batch))
        return Vars({"encoder": params}, {})

    def views(key, batch):
        return prepare(batch)

    def loss(params, state, views, key, step):
        tokens, segments = views["tokens"], views["segments"]
        features, _ = forward(encoder, params["encoder"], {}, views, key)
        logits = tied_logits(params["encoder"], features.tokens[:, :-1])
        labels = tokens[:, 1:]
        asked = (segments[:, 1:] == segments[:, :-1]) & (segments[:, 1:] > 0)
        # Section 3.1, equation 1: the mean instead of the sum.
        value, accuracy = reconstruction.masked_cross_entropy(logits, labels, asked)
        counts = (
            jnp.zeros(encoder.vocabulary, value.dtype).at[labels].add(asked.astype(value.dtype))
        )
        chance = jnp.max(counts) / jnp.maximum(jnp.sum(counts), 1)
        return value, Out(state, {"loss": value, "proxy_accuracy": accuracy, "chance": chance})

    def after(params, state, step):
        return state

    def embed(params, state, batch):
        return encoder.apply({"params": params["encoder"]}, prepare(batch), train=False)

    def logits(params, state, batch):
        return tied_logits(params["encoder"], embed(params, state, batch).tokens)

    def advance(params, cache, tokens, at, room):
        x = {"tokens": tokens, "segments": jnp.ones_like(tokens)}
        variables = {"params": params["encoder"]} | ({} if cache is None else {"cache": cache})
        y, kept = encoder.apply(variables, x, at=at, room=room, mutable="cache")
        return tied_logits(params["encoder"], y.tokens), kept["cache"]

    return Method(init, views, loss, after, embed, language=Language(logits, advance))
