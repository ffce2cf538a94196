"""Transformers over tokens: BERT's encoder and GPT's decoder, and what lies between."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jssl import require
from jssl.method import Features
from jssl.nn.dtypes import at_least_float32, compute_dtype
from jssl.nn.norm import LayerNorm
from jssl.nn.positions import rotary_angles, sinusoids
from jssl.nn.vit import Transformer

POOLS = ("mean", "first", "last")
POSITIONS = ("learned", "sinusoidal", "rotary")


def segment_mask(segments: Int[Array, "n t"], causal: bool) -> Bool[Array, "n t t"]:
    """Who sees whom: tokens of the same segment, of those none that comes later if ``causal``.

    Padding (segment 0) sees padding alone.
    """
    seen = segments[:, :, None] == segments[:, None]
    if causal:
        t = segments.shape[1]
        seen &= jnp.tril(jnp.ones((t, t), bool))[None]
    return seen


def places(segments: Int[Array, "n t"]) -> Int[Array, "n t"]:
    """The place of each token in its own segment, from 0 on."""
    place = jnp.broadcast_to(jnp.arange(segments.shape[1], dtype=jnp.int32)[None], segments.shape)
    before = jnp.pad(segments, ((0, 0), (1, 0)))[:, :-1]
    first = jnp.where((place == 0) | (segments != before), place, 0)
    return place - jax.lax.cummax(first, axis=1)


class TextTransformer(nn.Module):
    """Transformer over packed documents -> `Features`; no token sees another document.

    ``tokens`` is [n t d], of all places; ``pooled`` the mean over those that are not padding
    (``pool="mean"``), the first of the row ("first") or the last that is not padding ("last").

    vocabulary: tokens are in [0, vocabulary); any other gives NaN.
    positions: counted anew in each document: "learned", a table of ``max_length`` places (Devlin
      et al. 2018, arXiv 1810.04805); "sinusoidal" (`sinusoids`); "rotary", of each head's queries
      and keys (`rotate`). Only the first has an end.
    causal: no token sees a later one.
    post_norm: see `jssl.nn.vit.Block`; the embeddings are normalised too, as in BERT.
    types: kinds of token, as sentence A and B in BERT, that have an embedding each; 0 for none.
    dropout: rate, also of the embeddings; 0.1 in BERT and GPT. See `jssl.nn.vit.Block`.
    drop_path, scan, remat: see `jssl.nn.vit.Transformer`.
    dtype: of the computation; None that of the parameters. Norms and softmax run in at least
      float32.

    All weights are drawn with deviation 0.02, as in BERT's and GPT-2's released code; BERT's are
    truncated normal, which is taken here for the blocks, and normal for the embeddings. GPT-2's
    smaller start of what is added to the residual stream is left out.
    """

    vocabulary: int
    dim: int
    depth: int
    heads: int
    mlp_ratio: float = 4.0
    positions: str = "learned"
    max_length: int = 512
    causal: bool = False
    post_norm: bool = False
    types: int = 0
    pool: str = "mean"
    dropout: float = 0.0
    drop_path: float = 0.0
    scan: bool = False
    remat: bool = False
    dtype: Any = None
    param_dtype: Any = jnp.float32

    def __post_init__(self) -> None:
        """Refuse what no network can be built from."""
        require.one_of(POOLS, pool=self.pool)
        require.one_of(POSITIONS, positions=self.positions)
        require.at_least(1, vocabulary=self.vocabulary, max_length=self.max_length)
        super().__post_init__()

    @nn.compact
    def __call__(
        self,
        x: dict[str, Array],
        train: bool = False,
        at: Int[Array, ""] | None = None,
        room: int = 0,
    ) -> Features:
        """Encode.

        Args:
          x: ``tokens`` [n t] int32; ``segments`` [n t] int32, the number of the document in the
            row, 0 for padding; ``types`` [n t] int32, in [0, types), where there are some, all 0
            if left out.
          train: whether anything is dropped.
          at: of a text that comes piece by piece, the place of the first of these tokens; what the
            blocks have to remember stands in the collection "cache" (`jssl.nn.vit.Block`). The
            encoder must be causal, and each row one document.
          room: then, the number of places of the whole text.

        Raises:
          ValueError: if there are more tokens than learned positions.
        """
        tokens, segments = x["tokens"], x["segments"]
        dtype = compute_dtype(self.dtype, jnp.zeros((), self.param_dtype), self.param_dtype)
        dtypes = {"dtype": dtype, "param_dtype": self.param_dtype}
        if at is None:
            place, mask = places(segments), segment_mask(segments, self.causal)
        else:
            place = at + jnp.broadcast_to(jnp.arange(tokens.shape[1])[None], tokens.shape)
            place = place.astype(jnp.int32)
            mask = jnp.arange(room, dtype=jnp.int32)[None, None] <= place[:, :, None]
        angles = None
        y = self._embedded("embed", self.vocabulary, tokens, dtype)
        if self.types:
            kinds = x["types"] if "types" in x else jnp.zeros_like(tokens)
            y += self._embedded("types", self.types, kinds, dtype)
        if self.positions == "learned":
            if max(tokens.shape[1], room) > self.max_length:
                raise ValueError(
                    f"max_length must be at least the {max(tokens.shape[1], room)} tokens of a "
                    f"row, got {self.max_length}"
                )
            y += self._embedded("positions", self.max_length, place, dtype)
        elif self.positions == "sinusoidal":
            # Section 3.4 of its paper: else the sinusoids, of size 1, would drown the tokens.
            y = y * self.dim**0.5 + sinusoids(place, self.dim).astype(dtype)
        else:
            angles = rotary_angles(place, self.dim // self.heads)
        if self.post_norm:
            y = LayerNorm(name="norm", **dtypes)(y)
        if self.dropout:
            y = nn.Dropout(self.dropout, deterministic=not train)(y)
        y = Transformer(
            self.depth,
            self.heads,
            self.mlp_ratio,
            self.drop_path,
            self.scan,
            self.remat,
            self.post_norm,
            self.dropout,
            0.02,
            name="transformer",
            **dtypes,
        )(y, train, mask=mask, angles=angles, at=at)
        y = at_least_float32(y)
        if self.pool == "mean":
            return Features(_mean(y, segments > 0), y)
        return Features(y[:, 0] if self.pool == "first" else _last(y, segments > 0), y)

    def _embedded(self, name: str, k: int, of: Array, dtype: Any) -> Array:
        init = nn.initializers.normal(0.02)
        table = self.param(name, init, (k, self.dim), self.param_dtype)
        return jnp.take(table.astype(dtype), of, axis=0)


def _mean(y: Array, real: Array) -> Array:
    count = jnp.maximum(jnp.sum(real.astype(y.dtype), axis=1), 1)
    return jnp.sum(jnp.where(real[:, :, None], y, 0), axis=1) / count[:, None]


def _last(y: Array, real: Array) -> Array:
    place = jnp.arange(real.shape[1], dtype=jnp.int32)[None]
    last = jnp.max(jnp.where(real, place, 0), axis=1)
    return jnp.take_along_axis(y, last[:, None, None], axis=1)[:, 0]


def tied_logits(encoder_params: Any, x: Float[Array, "n t d"]) -> Float[Array, "n t k"]:
    """Products with the token embeddings of a `TextTransformer`: the output layer is the input's.

    Source: Press & Wolf 2017, arXiv 1608.05859; so do BERT's and GPT-2's released code.
    """
    return x @ encoder_params["embed"].astype(x.dtype).T
