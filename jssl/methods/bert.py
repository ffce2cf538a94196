"""BERT: pre-training of deep bidirectional transformers for language understanding.

Devlin, Chang, Lee & Toutanova 2018, arXiv 1810.04805.
"""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jssl.augment.tokens import bert_mask, sentence_pairs
from jssl.losses import classification, reconstruction
from jssl.method import Array, Batch, Language, Method, Out, Vars
from jssl.nn.forward import forward, start
from jssl.nn.norm import LayerNorm
from jssl.nn.text import TextTransformer, tied_logits


class Transform(nn.Module):
    """What the released code puts between the encoder and the output layer, both heads' alike.

    ``hidden``: dense, GELU and layer norm of each hidden token; ``pooled``: dense and tanh of the
    first, then two classes.
    """

    dim: int
    next_sentence: bool
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, hidden: Array, first: Array) -> tuple[Array, Array | None]:
        """Hidden tokens [n p d] and the first one [n d] to [n p d], and logits [n 2] or None."""
        dtypes = {"dtype": self.dtype, "param_dtype": self.param_dtype}

        def dense(width, name):
            # Appendix A.2 has no word on it; the released code draws all weights so.
            normal = nn.initializers.truncated_normal(0.02)
            return nn.Dense(width, kernel_init=normal, name=name, **dtypes)

        hidden = nn.gelu(dense(self.dim, "transform")(hidden), approximate=False)
        hidden = LayerNorm(name="norm", **dtypes)(hidden)
        if not self.next_sentence:
            return hidden, None
        return hidden, dense(2, "next")(jnp.tanh(dense(self.dim, "pooler")(first)))


def bert(
    encoder: nn.Module,
    prepare: Callable[[Batch], dict[str, Array]],
    *,
    mask_token: int,
    cls_token: int,
    sep_token: int,
    pad_token: int,
    word_starts: Sequence[bool] | None,
    mask_ratio: float = 0.15,
    whole_words: bool = False,
    next_sentence: bool = True,
) -> Method:
    """Masked prediction of tokens, and whether one stretch of text follows another.

    Args:
      encoder: a `jssl.nn.text.TextTransformer` that is not causal, with types=2 where sentences
        come in pairs; its embeddings are the output layer too.
      prepare: ``batch -> {"tokens": [n t], "segments": [n t]}``, documents packed into rows.
      mask_token, cls_token, sep_token, pad_token: the special tokens of the tokenizer.
      word_starts: [k], whether a token of the vocabulary begins a word; None if not known.
      mask_ratio: share of tokens to predict, in (0, 1).
      whole_words: hide all tokens of a word or none; see `jssl.augment.tokens.bert_mask`.
      next_sentence: pairs of sentences, half of them random (`jssl.augment.tokens.sentence_pairs`);
        False masks the rows as they are.

    The metric ``proxy_accuracy`` is that of the hidden tokens, ``next_accuracy`` that of the pairs;
    ``chance`` is the share of the most frequent token among those hidden. Dropout is the
    encoder's.

    Raises:
      ValueError: if the encoder does not fit, or words are asked for whose starts are not known.
    """
    if not isinstance(encoder, TextTransformer) or encoder.causal:
        raise ValueError(
            f"bert needs a TextTransformer encoder with causal=False, such as bert_tiny, got a "
            f"{type(encoder).__name__}"
            + (" with causal=True" if isinstance(encoder, TextTransformer) else "")
        )
    if next_sentence and encoder.types != 2:
        raise ValueError(f"encoder.types must be 2 for next_sentence=True, got {encoder.types}")
    if whole_words and word_starts is None:
        raise ValueError("whole_words=True needs a tokenizer that tells where words begin")
    k = encoder.vocabulary
    heads = Transform(encoder.dim, next_sentence, encoder.dtype, encoder.param_dtype)

    def views(key, batch):
        k_pairs, k_mask = jax.random.split(key)
        x = prepare(batch)
        tokens, more = x["tokens"], {"segments": x["segments"]}
        special = (x["segments"] == 0) | (tokens == cls_token) | (tokens == sep_token)
        if next_sentence:
            marks = {"cls_token": cls_token, "sep_token": sep_token, "pad_token": pad_token}
            pairs = sentence_pairs(k_pairs, tokens, x["segments"], **marks)
            tokens, special = pairs.tokens, pairs.special
            more = {"segments": pairs.segments, "types": pairs.types, "next": pairs.label}
        starts = jnp.asarray(word_starts, bool)[tokens] if whole_words else None
        masked = bert_mask(
            k_mask,
            tokens,
            ~special,
            mask_token=mask_token,
            vocabulary=k,
            ratio=mask_ratio,
            starts=starts,
        )
        return more | {"tokens": masked.tokens, "mask": masked.mask, "labels": tokens}

    def hidden_places(mask):
        """Where the hidden tokens are, as many places as there can be of them, the others last."""
        most = max(1, round(mask_ratio * mask.shape[1]) + 1)
        return jnp.argsort(~mask, axis=1, stable=True)[:, :most]

    def init(key, batch):
        k_encoder, k_heads, k_views = jax.random.split(key, 3)
        first = views(k_views, batch)
        params, _ = start(encoder, k_encoder, first)
        y = encoder.apply({"params": params}, first, train=False).tokens
        params = {"encoder": params, "heads": heads.init(k_heads, y, y[:, 0])["params"]}
        return Vars(params | {"bias": jnp.zeros(k, encoder.param_dtype)}, {})

    def told(params, y, first):
        hidden, follows = heads.apply({"params": params["heads"]}, y, first)
        logits = tied_logits(params["encoder"], hidden)
        return logits + params["bias"].astype(logits.dtype)[None, None], follows

    def loss(params, state, views, key, step):
        y = forward(encoder, params["encoder"], {}, views, key)[0].tokens
        at = hidden_places(views["mask"])
        mask = jnp.take_along_axis(views["mask"], at, axis=1)
        labels = jnp.take_along_axis(views["labels"], at, axis=1)
        asked = jnp.take_along_axis(y, at[:, :, None], axis=1)
        logits, follows = told(params, asked, y[:, 0])
        # Section 3.1, Task #1: cross-entropy of the chosen tokens alone, kept ones among them.
        value, accuracy = reconstruction.masked_cross_entropy(logits, labels, mask)
        counts = jnp.zeros(k, value.dtype).at[labels].add(mask.astype(value.dtype))
        chance = jnp.max(counts) / jnp.maximum(jnp.sum(counts), 1)
        metrics = {"proxy_accuracy": accuracy, "chance": chance}
        if next_sentence:
            # Task #2; appendix A.2: the loss is the sum of the two means.
            more, right = classification.cross_entropy_accuracy(follows, views["next"])
            metrics |= {"mask_loss": value, "next_loss": more, "next_accuracy": right}
            value += more
        return value, Out(state, metrics | {"loss": value})

    def after(params, state, step):
        return state

    def embed(params, state, batch):
        return encoder.apply({"params": params["encoder"]}, prepare(batch), train=False)

    def logits(params, state, batch):
        y = embed(params, state, batch).tokens
        return told(params, y, y[:, 0])[0]

    return Method(init, views, loss, after, embed, language=Language(logits))
