"""A codebook: vectors quantised to the nearest of k codes, which follow what they stand for."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from jssl import require
from jssl.nn.dtypes import at_least_float32

HIGHEST = jax.lax.Precision.HIGHEST


class Codebook(NamedTuple):
    """The codes, which no gradient moves.

    vectors: [k d], e of the paper.
    sizes: [k], N of the paper: a moving average of how many vectors of a batch a code stands for.
      Its m, the average of their sum, is sizes times vectors.
    """

    vectors: Array
    sizes: Array


def start(key: Key[Array, ""], k: int, d: int, dtype: Any = jnp.float32) -> Codebook:
    """Codes drawn from a normal distribution, of no size: the first `follow` puts all on data.

    Args:
      key: of the draw.
      k: number of codes.
      d: their dimension.
      dtype: at least float32.

    Raises:
      ValueError: if k or d is not positive.
    """
    require.at_least(1, k=k, d=d)
    dtype = np.promote_types(dtype, np.float32)
    return Codebook(jax.random.normal(key, (k, d), dtype), jnp.zeros(k, dtype))


def nearest(vectors: Float[Array, "k d"], z: Float[Array, "*n d"]) -> Int[Array, "*n"]:
    """Of each vector the code at the least Euclidean distance, int32; the first of equals.

    Source: van den Oord et al. 2017, arXiv 1711.00937, equation 1.
    """
    z = at_least_float32(z)
    norms = jnp.sum(vectors * vectors, axis=1)
    flat = z.reshape(-1, z.shape[-1])
    scores = jnp.dot(flat, vectors.T, precision=HIGHEST) - norms[None] / 2
    return jax.lax.argmax(scores, 1, jnp.int32).reshape(z.shape[:-1])


def straight_through(z: Float[Array, "*n d"], q: Float[Array, "*n d"]) -> Float[Array, "*n d"]:
    """The value of ``q`` with the gradient of ``z``.

    Source: van den Oord et al. 2017, arXiv 1711.00937, section 3.2.
    """
    return z + jax.lax.stop_gradient(q - z)


def follow(
    codebook: Codebook,
    z: Float[Array, "n d"],
    codes: Int[Array, " n"],
    key: Key[Array, ""],
    *,
    decay: float = 0.99,
    dead: float = 0.1,
) -> Codebook:
    """The codebook after a batch: every code goes towards the mean of what it stands for.

    A code whose size falls below ``dead`` times its even share n / k begins anew, with an even
    share to its name, on a vector of the batch: else most codes of a new codebook would never be
    nearest to anything. No gradient flows.

    Args:
      codebook: as it was.
      z: the batch's vectors.
      codes: as `nearest` gives them.
      key: for the choice of the vectors.
      decay: gamma of the paper, the share kept.
      dead: 0 revives none, nor does it place those of `start`.

    Source: van den Oord et al. 2017, arXiv 1711.00937, appendix A.1; reviving after
    Dhariwal et al. 2020, arXiv 2005.00341, section 3.1, which gives a code no share to live on.
    """
    z = jax.lax.stop_gradient(at_least_float32(z))
    n, k = len(z), len(codebook.sizes)
    mine = _one_hot(codes, k, z.dtype)
    counts, sums = jnp.sum(mine, axis=0), jnp.dot(mine.T, z, precision=HIGHEST)
    old = codebook.sizes
    sizes = decay * old + (1 - decay) * counts
    moments = (decay * old)[:, None] * codebook.vectors + (1 - decay) * sums
    lost = sizes < dead * n / k
    # One from each of k equal stretches of the batch: different ones, where there are enough.
    places = (jnp.arange(k, dtype=z.dtype) + jax.random.uniform(key, (k,), z.dtype)) * (n / k)
    fresh = z[jnp.minimum(places.astype(jnp.int32), n - 1)]
    held = (sizes > 0) & ~lost
    means = moments / jnp.where(held, sizes, 1)[:, None]
    vectors = jnp.where(held[:, None], means, codebook.vectors)
    return Codebook(
        jnp.where(lost[:, None], fresh, vectors), jnp.where(lost, n / k, sizes).astype(old.dtype)
    )


def perplexity(codes: Int[Array, "*n"], k: int) -> Float[Array, ""]:
    """``exp`` of the entropy of how often each code is used: from 1, one for all, to k."""
    shares = jnp.mean(_one_hot(codes.reshape(-1), k, jnp.float32), axis=0)
    return jnp.exp(jnp.sum(jax.scipy.special.entr(shares)))


def _one_hot(codes, k, dtype):
    return (codes[:, None] == jnp.arange(k, dtype=codes.dtype)[None]).astype(dtype)
