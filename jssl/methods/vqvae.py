"""VQ-VAE: neural discrete representation learning.

Van den Oord, Vinyals & Kavukcuoglu 2017, arXiv 1711.00937.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jssl import require
from jssl.method import Array, Batch, Codes, Method, Out, Vars
from jssl.nn import codebook
from jssl.nn.dtypes import at_least_float32
from jssl.nn.forward import forward, start
from jssl.nn.positions import grid_of, unpatchify


class Decoder(nn.Module):
    """Codes to pixels: two residual blocks, then the map doubles until a cell is a pixel.

    As in section 4.1, but that the map is doubled by a 3x3 convolution whose channels become 2x2
    pixels, which can do all that a 4x4 transposed one of stride 2 does.
    """

    channels: int
    width: int
    doublings: int
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, q):
        """[n h w d] to [n h*s w*s channels], s being 2 ** doublings."""

        def conv(features, side, name):
            dtypes = {"dtype": self.dtype, "param_dtype": self.param_dtype}
            return nn.Conv(features, (side, side), name=name, **dtypes)

        x = conv(self.width, 3, "start")(q)
        for i in range(2):
            y = conv(self.width, 3, f"block{i + 1}_conv3")(nn.relu(x))
            x = x + conv(self.width, 1, f"block{i + 1}_conv1")(nn.relu(y))
        for i in range(self.doublings):
            last = i + 1 == self.doublings
            width = self.channels if last else self.width // 2
            x = conv(4 * width, 3, "pixels" if last else f"double{i + 1}")(nn.relu(x))
            n, h, w, d = x.shape
            x = unpatchify(x.reshape(n, h * w, d), 2, (2 * h, 2 * w))
        return x


def vqvae(
    encoder: nn.Module,
    view: Callable[[Array, Batch], Array],
    prepare: Callable[[Batch], Array],
    restore: Callable[[Array], Array],
    *,
    patch: int = 4,
    k: int = 512,
    dim: int = 64,
    width: int = 128,
    beta: float = 0.25,
    decay: float = 0.99,
    dead: float = 0.1,
) -> Method:
    """An autoencoder through a grid of discrete codes: a tokenizer for others.

    Args:
      encoder: has one token for every cell, as a ResNet that halves the image log2(patch) times,
        or a ViT of that patch.
      view: ``(key, batch) -> [n h w c]``, one random view.
      prepare: ``batch -> [n h w c]``, the unaugmented images, normalised as the view is.
      restore: normalised images back to [0, 1].
      patch: side of a cell in pixels, a power of two.
      k: number of codes.
      dim: their dimension; the encoder's tokens are projected to it.
      width: of the decoder.
      beta: weight of the commitment loss.
      decay: share of the codebook's moving averages kept at each step.
      dead: share of an even use below which a code begins anew (`jssl.nn.codebook.follow`).

    ``embed`` gives the encoder's features, before they are projected and quantised. ``perplexity``
    is that of the codes of a batch: 1 where the codebook has collapsed, at best k.

    Raises:
      ValueError: if an option is out of range, or the encoder's tokens are not one for every cell.
    """
    require.at_least(1, k=k, dim=dim)
    require.at_least(2, width=width)
    require.at_least(0, beta=beta)
    require.fraction(decay=decay, dead=dead)
    if patch < 2 or patch & (patch - 1):
        raise ValueError(f"patch must be 2, 4, 8 or another power of two, got {patch}")
    dtypes = {"dtype": encoder.dtype, "param_dtype": encoder.param_dtype}
    project = nn.Dense(dim, **dtypes)

    def decoder(channels):
        return Decoder(channels, width, patch.bit_length() - 1, **dtypes)

    def quantize(params, state, tokens, images):
        """Vectors of the cells [n h w d], their codes, and the vectors of those."""
        h, w = grid = grid_of(images.shape[1:3], patch)
        n, *shape, d = tokens.shape
        if tuple(shape) not in (grid, (h * w,)):
            raise ValueError(
                f"vqvae needs an encoder with {h}x{w} tokens, one for every {patch} pixels of "
                f"{h * patch}x{w * patch}; this one has {'x'.join(map(str, shape))}"
            )
        z = project.apply({"params": params["project"]}, tokens.reshape(n, *grid, d))
        z, vectors = at_least_float32(z), state["codebook"].vectors
        codes = codebook.nearest(jax.lax.stop_gradient(vectors), z)
        return z, codes, vectors[codes]

    def paint(params, q):
        channels = params["decoder"]["pixels"]["bias"].size // 4
        return at_least_float32(decoder(channels).apply({"params": params["decoder"]}, q))

    def init(key, batch):
        keys, images = jax.random.split(key, 4), prepare(batch)
        params, stats = start(encoder, keys[0], images)
        tokens = encoder.apply({"params": params, **stats}, images, train=False).tokens
        params = {"encoder": params, "project": project.init(keys[1], tokens)["params"]}
        book = codebook.start(keys[2], k, dim, encoder.param_dtype)
        state = {"stats": stats, "codebook": book}
        _, _, q = quantize(params, state, tokens, images)
        params["decoder"] = decoder(images.shape[-1]).init(keys[3], q)["params"]
        return Vars(params, state)

    def loss(params, state, images, key, step):
        k_encoder, k_codebook = jax.random.split(key)
        out, stats = forward(encoder, params["encoder"], state["stats"], images, k_encoder)
        z, codes, q = quantize(params, state, out.tokens, images)
        # Equation 3; its second term is what the codebook's moving averages are for.
        pred = paint(params, codebook.straight_through(z, q))
        reconstruction = jnp.mean((pred - at_least_float32(images)) ** 2)
        commitment = jnp.mean((z - jax.lax.stop_gradient(q)) ** 2)
        value = reconstruction + beta * commitment
        flat = z.reshape(-1, dim), codes.reshape(-1)
        book = codebook.follow(state["codebook"], *flat, k_codebook, decay=decay, dead=dead)
        metrics = {"loss": value, "reconstruction": reconstruction, "commitment": commitment}
        metrics |= {"perplexity": codebook.perplexity(codes, k)}
        return value, Out({"stats": stats, "codebook": book}, metrics)

    def after(params, state, step):
        return state

    def features(params, state, images):
        variables = {"params": params["encoder"], **state["stats"]}
        return encoder.apply(variables, images, train=False)

    def tokenize(params, state, images):
        return quantize(params, state, features(params, state, images).tokens, images)[1]

    def embed(params, state, batch):
        return features(params, state, prepare(batch))

    def encode(params, state, batch):
        return tokenize(params, state, prepare(batch))

    def decode(params, state, codes):
        return restore(paint(params, state["codebook"].vectors[codes]))

    def reconstruct(params, state, images, key):
        codes = tokenize(params, state, images)
        return {"original": restore(images), "reconstruction": decode(params, state, codes)}

    return Method(init, view, loss, after, embed, reconstruct, codes=Codes(k, encode, decode))
