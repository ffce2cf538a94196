"""How embeddings lie on the unit sphere: measures of collapse, cheap enough for every step."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jssl.losses.geometry import l2_normalize

HIGHEST = jax.lax.Precision.HIGHEST


def spread(z1: Float[Array, "n d"], z2: Float[Array, "n d"]) -> dict[str, Float[Array, ""]]:
    """What a joint-embedding method reports of its projections: where a collapse is seen first.

    ``alignment`` of the two views, ``uniformity`` of the first, and ``projection_spread``:
    `deviation` as a share of the even spread, about 1 where the sphere is filled, 0 at one point.
    """
    z1, z2 = jax.lax.stop_gradient((z1, z2))
    return {
        "alignment": alignment(z1, z2),
        "uniformity": uniformity(z1),
        "projection_spread": deviation(z1) * z1.shape[-1] ** 0.5,
    }


def token_spread(h: Float[Array, "n t d"]) -> dict[str, Float[Array, ""]]:
    """What a method whose teacher gives tokens to predict reports of them, as `spread` does.

    ``projection_spread`` place by place, over the examples: 0 at one point, and where a token
    tells its place and nothing of the image, which is as easy to predict.
    """
    each = jax.vmap(deviation, in_axes=1)(jax.lax.stop_gradient(h))
    return {"projection_spread": jnp.mean(each) * h.shape[-1] ** 0.5}


def deviation(z: Float[Array, "n d"]) -> Float[Array, ""]:
    """Mean over dimensions of the standard deviation of the l2-normalised embedding.

    From 0, where all examples fall on one point, to ``1 / sqrt(d)``, where they are spread evenly
    over the sphere (arXiv 2011.10566, section 4.1).
    """
    return jnp.mean(jnp.std(l2_normalize(z), axis=0))


def alignment(
    z1: Float[Array, "n d"], z2: Float[Array, "n d"], alpha: float = 2.0
) -> Float[Array, ""]:
    """Mean of ``||z1 - z2|| ** alpha`` over positive pairs on the unit sphere; 0 is perfect.

    Section 4.1 of arXiv 2005.10242. The embeddings are normalised here.
    """
    return jnp.mean(jnp.sum(jnp.square(l2_normalize(z1) - l2_normalize(z2)), axis=1) ** (alpha / 2))


def uniformity(z: Float[Array, "n d"], t: float = 2.0) -> Float[Array, ""]:
    """``log`` of the mean of ``exp(-t * ||a - b||^2)`` over distinct pairs; lower is more uniform.

    Section 4.1 of arXiv 2005.10242, from 0 for one point down to about ``-2 t``. The embedding is
    normalised here. Holds an [n n] matrix; give it some thousand examples.
    """
    z = l2_normalize(z)
    n = len(z)
    if n < 2:
        raise ValueError(f"uniformity needs at least 2 examples, got {n}")
    distance = 2 - 2 * jnp.dot(z, z.T, precision=HIGHEST)
    itself = jnp.eye(n, dtype=bool)
    logs = jnp.where(itself, -jnp.inf, -t * jnp.maximum(distance, 0))
    return jax.scipy.special.logsumexp(logs) - jnp.log(jnp.asarray(n * (n - 1), z.dtype))
