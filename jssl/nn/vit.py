"""Vision transformers (Dosovitskiy et al. 2021, arXiv 2010.11929) and their blocks."""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jssl.method import Features
from jssl.nn.dtypes import at_least_float32, compute_dtype
from jssl.nn.norm import LayerNorm
from jssl.nn.positions import grid_of, patchify, resize_grid, rotate, sincos2d

POOLS = ("cls", "mean")
POSITIONS = ("sincos2d", "learned")


class Block(nn.Module):
    """A transformer block: attention, then a perceptron with GELU, both residual.

    Layer norm comes before each of the two, or after each sum (``post_norm``; Vaswani et al. 2017,
    arXiv 1706.03762, section 3.1).

    Weights are Xavier uniform, with query, key and value as one matrix, and biases zero, as in
    MAE's released code; ``deviation`` draws them from a truncated normal instead. GELU is the exact
    one. With a ``drop_path`` rate each example skips each of the two branches by that chance
    (stochastic depth, Huang et al. 2016, arXiv 1603.09382); ``dropout`` is that of the attention's
    weights and of what both branches return, as in BERT's released code. For both ``apply`` wants
    an rng called "dropout".
    """

    heads: int
    mlp_ratio: float = 4.0
    post_norm: bool = False
    dropout: float = 0.0
    deviation: float | None = None
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "n t d"],
        train: bool = False,
        drop_path: float | Float[Array, ""] | None = None,
        mask: Bool[Array, "n t s"] | None = None,
        angles: Float[Array, "n t a"] | None = None,
        at: Int[Array, ""] | None = None,
    ) -> Float[Array, "n t d"]:
        """Apply the block.

        Args:
          x: [n t d].
          train: whether the block is dropped.
          drop_path: the rate in [0, 1), None for none.
          mask: True where a token (second axis) sees another (third); None where all see all.
          angles: of rotary positions (`jssl.nn.positions.rotate`), None for none.
          at: the place of the first of these tokens in a text that comes piece by piece; keys and
            values of all [n s] places, s of them as in the mask, are kept in the collection
            "cache". None where the text is whole.
        """
        n, t, d = x.shape
        if d % self.heads:
            raise ValueError(f"dim must be a multiple of heads, got dim {d} and {self.heads} heads")
        if not train:
            drop_path = None
        dtype = compute_dtype(self.dtype, x, self.param_dtype)
        dtypes = {"dtype": dtype, "param_dtype": self.param_dtype}
        norm1, norm2 = LayerNorm(name="norm1", **dtypes), LayerNorm(name="norm2", **dtypes)
        y = x if self.post_norm else norm1(x)
        dense = functools.partial(_dense, deviation=self.deviation, **dtypes)
        qkv = dense(3 * d, name="qkv")(y).reshape(n, t, 3, self.heads, d // self.heads)
        q, k, v = qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]
        if angles is not None:
            q, k = rotate(q, angles), rotate(k, angles)
        if at is not None:
            k, v = self._kept("k", k, at, mask), self._kept("v", v, at, mask)
        drop = nn.Dropout(self.dropout, deterministic=not train) if self.dropout else _all
        y = attention(q, k, v, mask, drop if train and self.dropout else None)
        y = drop(dense(d, name="out")(y.reshape(n, t, d)))
        x = x.astype(dtype) + self._drop(y, drop_path)
        if self.post_norm:
            x = norm1(x)
        y = x if self.post_norm else norm2(x)
        y = dense(int(d * self.mlp_ratio), name="fc1")(y)
        y = drop(dense(d, name="fc2")(nn.gelu(y, approximate=False)))
        x = x + self._drop(y, drop_path)
        return norm2(x) if self.post_norm else x

    def _kept(self, name: str, new: Array, at: Array, mask: Array) -> Array:
        n, _, *rest = new.shape
        kept = self.variable("cache", name, jnp.zeros, (n, mask.shape[-1], *rest), new.dtype)
        kept.value = jax.lax.dynamic_update_slice_in_dim(kept.value, new, at, axis=1)
        return kept.value

    def _drop(self, y: Array, rate: Any) -> Array:
        if rate is None:
            return y
        kept = jax.random.bernoulli(self.make_rng("dropout"), 1 - rate, (y.shape[0], 1, 1))
        return jnp.where(kept, y / jnp.asarray(1 - rate, y.dtype), jnp.zeros((), y.dtype))


def attention(
    q: Float[Array, "n t h d"],
    k: Float[Array, "n s h d"],
    v: Float[Array, "n s h d"],
    mask: Bool[Array, "n t s"] | None = None,
    drop: Callable[[Array], Array] | None = None,
) -> Float[Array, "n t h d"]:
    """Scaled dot-product attention, softmax in float32, or in float64 for float64.

    ``mask`` is True where a token t sees a token s; each must see one. ``drop`` is what is done to
    the weights [n h t s].
    """
    mask = None if mask is None else mask[:, None]
    # jax's own drops no weights, and rounds the softmax of float64 to float32.
    if q.dtype == jnp.float64 or drop is not None:
        scores = at_least_float32(jnp.einsum("nthd,nshd->nhts", q, k)) / q.shape[-1] ** 0.5
        if mask is not None:
            scores = jnp.where(mask, scores, -jnp.inf)
        weights = jax.nn.softmax(scores).astype(v.dtype)
        weights = weights if drop is None else drop(weights)
        return jnp.einsum("nhts,nshd->nthd", weights, v)
    with jax.numpy_dtype_promotion("standard"):  # it mixes dtypes on purpose
        return jax.nn.dot_product_attention(q, k, v, mask=mask)


def _dense(features: int, deviation: float | None = None, **fields: Any) -> nn.Dense:
    drawn = nn.initializers
    init = drawn.xavier_uniform() if deviation is None else drawn.truncated_normal(deviation)
    return nn.Dense(features, kernel_init=init, **fields)


def _all(y: Array) -> Array:
    return y


class Transformer(nn.Module):
    """A stack of blocks and a last layer norm: [n t d] -> [n t d]. Encoder and decoder alike.

    post_norm, dropout, deviation: see `Block`; with post-norm its last norm is the stack's.
    drop_path: rate of the last block; it grows linearly from 0 at the first.
    scan: one traced block, run by ``nn.scan``: compiles in constant time. Its parameters stand
      under ``blocks`` with a leading depth axis, instead of ``blocks_0``, ``blocks_1``, ...
      Stacked parameters give the same outputs. No partitioning metadata is attached to the axis.
    remat: recompute each block in the backward pass instead of keeping its inside.
    """

    depth: int
    heads: int
    mlp_ratio: float = 4.0
    drop_path: float = 0.0
    scan: bool = False
    remat: bool = False
    post_norm: bool = False
    dropout: float = 0.0
    deviation: float | None = None
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "n t d"],
        train: bool = False,
        blocks: bool = False,
        mask: Bool[Array, "n t s"] | None = None,
        angles: Float[Array, "n t a"] | None = None,
        at: Int[Array, ""] | None = None,
    ) -> Float[Array, "n t d"] | tuple[Float[Array, "n t d"], Float[Array, "l n t d"]]:
        """Apply all blocks and the norm; with ``blocks`` also return what each block returned.

        ``mask``, ``angles`` and ``at`` are those of `Block`.
        """
        for rate in ("drop_path", "dropout"):
            if not 0 <= getattr(self, rate) < 1:
                raise ValueError(f"{rate} must be in [0, 1), got {getattr(self, rate)}")
        dtype = compute_dtype(self.dtype, x, self.param_dtype)
        dtypes = {"dtype": dtype, "param_dtype": self.param_dtype}
        x = x.astype(dtype)
        rates = None
        if train and self.drop_path:
            rates = jnp.linspace(0.0, self.drop_path, self.depth, dtype=jnp.float32)
        options = (self.heads, self.mlp_ratio, self.post_norm, self.dropout, self.deviation)
        block = Block
        if self.remat:
            # Inside a scan nothing can be merged with the recomputation anyway.
            block = nn.remat(Block, prevent_cse=not self.scan, static_argnums=(2,))
        if self.scan:
            layer = block(*options, name="blocks", **dtypes)

            def one(layer, x, rate):
                x = layer(x, train, rate, mask, angles, at)
                return x, x if blocks else None

            x, outputs = nn.scan(
                one,
                variable_axes={"params": 0, "cache": 0},
                split_rngs={"params": True, "dropout": True},
                length=self.depth,
            )(layer, x, rates)
        else:
            outputs = []
            for i in range(self.depth):
                layer = block(*options, name=f"blocks_{i}", **dtypes)
                x = layer(x, train, None if rates is None else rates[i], mask, angles, at)
                outputs.append(x)
            outputs = jnp.stack(outputs) if blocks else None
        y = x if self.post_norm else LayerNorm(name="norm", **dtypes)(x)
        return (y, outputs) if blocks else y


class ViT(nn.Module):
    """Vision transformer encoder: [n h w c] normalised images, any channels -> `Features`.

    ``tokens`` is [n t d], the patches after the last norm, without the class token; ``pooled`` is
    the class token (``pool="cls"``) or the mean of the tokens ("mean").

    patch: side of a patch; an image that it does not divide raises ValueError.
    positions: "sincos2d", fixed and made for the grid at hand (`sincos2d`), or "learned", a table
      [h w d] of the grid seen at ``init``, interpolated for any other. The class token has none.
    drop_path, scan, remat: see `Transformer`.
    dtype: of the computation; None promotes input and parameters. Norms and softmax run in at
      least float32.
    """

    dim: int
    depth: int
    heads: int
    patch: int = 16
    mlp_ratio: float = 4.0
    pool: str = "cls"
    cls_token: bool = True
    positions: str = "sincos2d"
    drop_path: float = 0.0
    scan: bool = False
    remat: bool = False
    dtype: Any = None
    param_dtype: Any = jnp.float32

    def __post_init__(self) -> None:
        """Refuse what no network can be built from."""
        for name, value, choices in (
            ("pool", self.pool, POOLS),
            ("positions", self.positions, POSITIONS),
        ):
            if value not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
        if self.pool == "cls" and not self.cls_token:
            raise ValueError('pool="cls" needs cls_token=True, got False; or choose pool="mean"')
        super().__post_init__()

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "n h w c"],
        train: bool = False,
        keep: Int[Array, "n k"] | None = None,
        mask: Bool[Array, "n t"] | None = None,
        blocks: bool = False,
    ) -> Features | tuple[Features, Float[Array, "l n t d"]]:
        """Encode; ``keep`` and ``mask`` are two ways to hide patches.

        Args:
          x: [n h w c].
          train: whether blocks are dropped.
          keep: [n k], the indices of the patches to see; the rest cost nothing. Then ``tokens`` is
            [n k d], in the order of ``keep``. An index outside the grid gives NaN.
          mask: [n t], True where a learned mask token stands for the patch (not for its position).
            ``init`` makes the parameter ``mask_token`` only if it is given one.
          blocks: also return the patches after each block, before the last norm, [l n t d].
        """
        grid = grid_of(x.shape[1:3], self.patch)
        dtype = compute_dtype(self.dtype, x, self.param_dtype)
        dtypes = {"dtype": dtype, "param_dtype": self.param_dtype}
        x = _dense(self.dim, name="embed", **dtypes)(patchify(x, self.patch))
        if mask is not None:
            init = nn.initializers.normal(0.02)
            token = self.param("mask_token", init, (self.dim,), self.param_dtype).astype(x.dtype)
            x = jnp.where(mask[:, :, None], token[None, None], x)
        x = x + self._positions(*grid).astype(x.dtype)[None]
        if keep is not None:
            x = jnp.take_along_axis(x, keep[:, :, None], axis=1)
        if self.cls_token:
            init = nn.initializers.normal(0.02)
            cls = self.param("cls", init, (1, 1, self.dim), self.param_dtype).astype(x.dtype)
            x = jnp.concatenate([jnp.broadcast_to(cls, (x.shape[0], 1, self.dim)), x], axis=1)
        x = Transformer(
            self.depth,
            self.heads,
            self.mlp_ratio,
            self.drop_path,
            self.scan,
            self.remat,
            name="transformer",
            **dtypes,
        )(x, train, blocks)
        x, outputs = x if blocks else (x, None)
        x = at_least_float32(x)
        tokens = x[:, 1:] if self.cls_token else x
        features = Features(x[:, 0] if self.pool == "cls" else tokens.mean(1), tokens)
        if not blocks:
            return features
        return features, at_least_float32(outputs[:, :, 1:] if self.cls_token else outputs)

    def _positions(self, h: int, w: int) -> Array:
        if self.positions == "sincos2d":
            return sincos2d(h, w, self.dim)
        # The stored table keeps the grid of `init`, whatever the grid at hand.
        if self.has_variable("params", "positions"):
            h0, w0 = self.get_variable("params", "positions").shape[:2]
        else:
            h0, w0 = h, w
        init = nn.initializers.normal(0.02)
        table = self.param("positions", init, (h0, w0, self.dim), self.param_dtype)
        return resize_grid(table, h, w).reshape(h * w, self.dim)
