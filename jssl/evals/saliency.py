"""Which pixels an embedding hangs on: by covering them, and by its gradient."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from jssl import require
from jssl.evals import cosine

# Pictures [n h w c] in [0, 1] to embeddings [n d].
Encode = Callable[[Float[Array, "n h w c"]], Float[Array, "n d"]]


def occlusion(
    encode: Encode,
    images: Float[Array, "n h w c"],
    *,
    size: int,
    stride: int,
    fill: Float[Array, " c"],
) -> Float[Array, "n h w"]:
    """How far the embedding moves when a patch is covered, by cosine distance, in [0, 2].

    Of each pixel the mean over the patches that cover it. A square of ``size`` pixels and the
    colour ``fill`` slides by ``stride`` pixels, and is flush with the right and lower edge at last.
    Zeiler and Fergus 2014 (arXiv 1311.2901), section 4.2, who watch a class instead.

    Raises:
      ValueError: if the patch is larger than the image, or size or stride are below 1.
    """
    h, w = images.shape[1:3]
    require.at_least(1, size=size, stride=stride)
    if size > min(h, w):
        raise ValueError(f"size must be at most {min(h, w)}, the side of the image, got {size}")
    tops, lefts = (sorted({*range(0, side - size, stride), side - size}) for side in (h, w))
    covered = np.zeros((len(tops) * len(lefts), h, w), bool)
    for i, (top, left) in enumerate((top, left) for top in tops for left in lefts):
        covered[i, top : top + size, left : left + size] = True
    moved = _moved(jax.tree_util.Partial(encode), images, jnp.asarray(covered), fill)
    times = jnp.asarray(covered.sum(axis=0), moved.dtype)
    return jnp.einsum("pn,phw->nhw", moved, covered.astype(moved.dtype)) / times[None]


@jax.jit
def _moved(encode, images, covered, fill):
    whole = cosine.unit(encode(images))
    colour = fill[None, None, None].astype(images.dtype)

    def distance(patch):
        shown = jnp.where(patch[None, :, :, None], colour, images)
        return 1 - jnp.sum(whole * cosine.unit(encode(shown)), axis=-1)

    return jax.lax.map(distance, covered)


@partial(jax.jit, static_argnames=("samples",))
def _smooth(encode, images, toward, key, noise, samples):
    def along(x):
        return jnp.sum(encode(x) * toward)

    def add(total, key):
        shift = noise * jax.random.normal(key, images.shape, images.dtype)
        return total + jax.grad(along)(images + shift), None

    total, _ = jax.lax.scan(add, jnp.zeros_like(images), jax.random.split(key, samples))
    return total / samples


def smooth_gradient(
    encode: Encode,
    images: Float[Array, "n h w c"],
    toward: Float[Array, "n d"],
    key: Key[Array, ""],
    *,
    samples: int = 25,
    noise: float = 0.15,
) -> Float[Array, "n h w"]:
    """How steeply a pixel moves the embedding along a direction of its own, >= 0.

    SmoothGrad (Smilkov et al. 2017, arXiv 1706.03825), equation 1: the gradient of the product of
    embedding and ``toward``, its mean over images with normal noise, then the largest absolute
    value over channels. There is no class here: ``toward`` is the embedding itself less the mean of
    others, so the map tells what makes this image unlike those. With the embedding alone it is the
    gradient of half its squared norm.

    Args:
      encode: images to embeddings.
      images: in [0, 1].
      toward: a direction for each image, of any length.
      key: of the noise.
      samples: how many noisy images.
      noise: deviation, as a share of the range of values of [0, 1]; 0.1 to 0.2 in the paper.

    Raises:
      ValueError: if there is no sample or the noise is negative.
    """
    require.at_least(1, samples=samples)
    if noise < 0:
        raise ValueError(f"noise must be >= 0, got {noise}")
    gradient = _smooth(jax.tree_util.Partial(encode), images, toward, key, noise, samples)
    return jnp.max(jnp.abs(gradient), axis=-1)
