"""Sketched isotropic Gaussian regularisation: how far embeddings are from a standard normal."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from jssl import require
from jssl.losses.geometry import at_least_float32

HIGHEST = jax.lax.Precision.HIGHEST


def sigreg(
    z: Float[Array, "n d"],
    key: Key[Array, ""],
    directions: int = 256,
    *,
    t_max: float = 5.0,
    points: int = 17,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """Mean of `epps_pulley` over random one-dimensional projections: 0 for N(0, I) alone.

    Args:
      z: embeddings, neither normalised nor centred.
      key: draws the directions; the same on every device.
      directions: how many. They are to be drawn anew at every step.
      t_max, points: as in `epps_pulley`.
      axis_name: inside ``shard_map`` or ``pmap``: the axis over which the batch is split.

    Raises:
      ValueError: if there is no direction, or as `epps_pulley` says.

    Source: Balestriero & LeCun 2025, arXiv 2511.08544, algorithm 1.
    """
    require.at_least(1, directions=directions)
    z = at_least_float32(z)
    a = unit_directions(key, z.shape[1], directions, z.dtype)
    x = jnp.dot(z, a, precision=HIGHEST)
    return jnp.mean(epps_pulley(x, t_max, points, axis_name=axis_name))


def unit_directions(
    key: Key[Array, ""], d: int, count: int, dtype: DTypeLike = jnp.float32
) -> Float[Array, "d m"]:
    """Columns drawn uniformly from the unit sphere in d dimensions."""
    a = jax.random.normal(key, (d, count), dtype)
    return a / jnp.linalg.norm(a, axis=0, keepdims=True)


def epps_pulley(
    x: Float[Array, "n m"],
    t_max: float = 5.0,
    points: int = 17,
    *,
    axis_name: str | None = None,
) -> Float[Array, " m"]:
    """Test statistic of each column against the standard normal (Epps & Pulley 1983).

    n times the integral over t in [-t_max, t_max] of ``|phi(t) - exp(-t^2 / 2)|^2 exp(-t^2 / 2)``,
    phi being the empirical characteristic function, by the trapezoidal rule. About 1 for samples of
    N(0, 1), whatever their number, and at most of order n.

    Args:
      x: n samples of each of m variables.
      t_max: > 0. 5 in the paper; the released package takes 3.
      points: of the rule, over the whole range, odd and at least 3: 17 in the paper. The released
        package takes 17 on the positive half, which is 33 here.
      axis_name: as in `sigreg`. The characteristic function is then that of the whole batch.

    Raises:
      ValueError: if the range or the number of points is none of these.
    """
    half, weights = quadrature(t_max, points)
    x = at_least_float32(x)
    t = jnp.asarray(half, x.dtype)
    normal = jnp.exp(-t * t / 2)
    phase = x[:, :, None] * t[None, None]
    n, real, imaginary = len(x), jnp.mean(jnp.cos(phase), axis=0), jnp.mean(jnp.sin(phase), axis=0)
    if axis_name is not None:
        n = n * jax.lax.axis_size(axis_name)
        real, imaginary = jax.lax.pmean((real, imaginary), axis_name)
    error = jnp.square(real - normal[None]) + jnp.square(imaginary)
    return n * jnp.sum(error * (normal * jnp.asarray(weights, x.dtype))[None], axis=1)


def quadrature(t_max: float, points: int) -> tuple[np.ndarray, np.ndarray]:
    """Points >= 0 and weights of the trapezoidal rule for an even function over [-t_max, t_max].

    Raises:
      ValueError: if t_max is not positive, or the number of points not odd and at least 3.
    """
    require.positive(t_max=t_max)
    if points < 3 or points % 2 == 0:
        raise ValueError(f"points must be odd and at least 3, got {points}")
    half = np.linspace(0, t_max, points // 2 + 1)
    weights = np.full_like(half, 2 * half[1])
    weights[[0, -1]] = half[1]
    return half, weights
