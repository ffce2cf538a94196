"""Multinomial logistic regression on the device: convex, full batch, many regularisers at once.

The objective is ``mean cross-entropy + l2 / 2 * ||W||^2`` over standardised features, with the bias
unpenalised. Two things make it quick:

- *The basis.* In the principal axes of the features the second derivative is nearly diagonal: along
  an axis of variance ``v`` it is at most ``v / 2 + l2`` (Boehning 1992, "Multinomial logistic
  regression algorithm"). Dividing the unknowns by its root evens out the curvature, whatever the
  spectrum of the features. A rotation changes neither the penalty nor the optimum, and with
  fewer examples than features it leaves only as many unknowns as examples.
- *The line search.* Along a direction the logits are ``z + t v``, so a trial step costs a softmax
  and no product with the features; Newton's method on ``t`` needs one or two.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int

HIGHEST = jax.lax.Precision.HIGHEST  # TPUs would round the products to bfloat16
CURVATURE = 0.5  # of the cross-entropy in the logits, at most
SLOPE = 0.5  # a step is taken when the slope has fallen to this share of the first
TRIALS = 12  # steps tried in one line search


class Fit(NamedTuple):
    """Classifiers ``(x - mean) / scale @ weights + bias``, one for each of ``c`` regularisers."""

    mean: Float[Array, "*b d"]
    scale: Float[Array, "*b d"]
    weights: Float[Array, "*b c d k"]
    bias: Float[Array, "*b c k"]
    iterations: Int[Array, "*b c"]
    gradient_norm: Float[Array, "*b c"]


class _Axes(NamedTuple):
    mean: Array  # [d]
    scale: Array  # [d]
    axes: Array  # [d r]
    coordinates: Array  # [r n]
    variance: Array  # [r]
    share: Array  # [n], of each example in a mean


class _Trial(NamedTuple):
    step: Array
    low: Array  # here the objective still falls
    high: Array  # here it rises
    taken: Array
    tried: Array
    probabilities: Array  # [k n]
    value: Array


class _State(NamedTuple):
    unknowns: Array  # [k r+1], scaled; the last column is the bias
    logits: Array  # [k n]
    gradient: Array  # [k r+1]
    value: Array
    history: optax.OptState
    iteration: Array


@partial(jax.jit, static_argnames=("num_classes", "tolerance", "max_iterations"))
def fit(
    x: Float[Array, "n d"],
    y: Int[Array, " n"],
    l2: Float[Array, " c"],
    mask: Bool[Array, " n"] | None = None,
    *,
    num_classes: int,
    tolerance: float = 1e-3,
    max_iterations: int = 200,
) -> Fit:
    """Fit one classifier for each regulariser in ``l2`` (> 0), all in one vmapped L-BFGS.

    Features are centred and divided by their standard deviation; a constant one is only centred.
    A solve ends when the norm of the preconditioned gradient, about the root of twice the distance
    from the optimum in nats, is at most ``tolerance``, or at ``max_iterations``. In float32 or
    wider. Memory is that of some ``c * n * num_classes`` and two ``n * d`` numbers. ``mask`` is
    True for the examples that take part, by default all.
    """
    x = x.astype(np.promote_types(x.dtype, np.float32))
    space = _principal(x, jnp.ones(len(x), bool) if mask is None else mask)
    targets = jax.nn.one_hot(y, num_classes, axis=0, dtype=x.dtype)

    def one(l2):
        return _solve(space, targets, l2, tolerance, max_iterations)

    weights, bias, iterations, norm = jax.vmap(one)(l2.astype(x.dtype))
    weights = jnp.einsum("dr,ckr->cdk", space.axes, weights, precision=HIGHEST)
    return Fit(space.mean, space.scale, weights, bias, iterations, norm)


@jax.jit
def predict(fit: Fit, x: Float[Array, "n d"]) -> Int[Array, "c n"]:
    """The most likely class of each example, for each regulariser."""
    x = (x.astype(fit.mean.dtype) - fit.mean[None, :]) / fit.scale[None, :]
    logits = jnp.einsum("nd,cdk->cnk", x, fit.weights, precision=HIGHEST)
    return jnp.argmax(logits + fit.bias[:, None, :], axis=-1)


def _principal(x: Array, mask: Array) -> _Axes:
    """Standardised features and their coordinates along their principal axes."""
    n, d = x.shape
    count = jnp.sum(mask, dtype=x.dtype)
    x = jnp.where(mask[:, None], x, 0)
    mean = jnp.sum(x, axis=0) / count
    centred = jnp.where(mask[:, None], x - mean[None, :], 0)
    deviation = jnp.sqrt(jnp.sum(jnp.square(centred), axis=0) / count)
    # Below this a deviation is the rounding of the mean, not a property of the data.
    rounding = 10 * jnp.finfo(x.dtype).eps * jnp.max(jnp.abs(x), axis=0)
    varies = deviation > rounding
    scale = jnp.where(varies, deviation, 1)
    standard = jnp.where(varies[None, :], centred / scale[None, :], 0)
    share = mask.astype(x.dtype) / count
    if n < d:
        left, singular, right = _svd(standard)
        coordinates = singular[:, None] * left.T
        return _Axes(mean, scale, right.T, coordinates, jnp.square(singular) / count, share)
    variance, axes = _eigh(jnp.dot(standard.T, standard, precision=HIGHEST) / count)
    coordinates = jnp.dot(axes.T, standard.T, precision=HIGHEST)
    return _Axes(mean, scale, axes, coordinates, jnp.maximum(variance, 0), share)


# One matrix at a time, even under vmap: two batched LAPACK calls that run at once, each waiting for
# threads that the other holds, block jaxlib 0.10.2 for ever on a machine of two cores.
@jax.custom_batching.sequential_vmap
def _svd(x: Array) -> tuple[Array, Array, Array]:
    return jnp.linalg.svd(x, full_matrices=False)


@jax.custom_batching.sequential_vmap
def _eigh(x: Array) -> tuple[Array, Array]:
    return jnp.linalg.eigh(x)


def _solve(space: _Axes, targets: Array, l2: Array, tolerance: float, max_iterations: int):
    """L-BFGS from zero for one regulariser: weights [k r], bias [k], iterations, gradient norm.

    Everything is class-major, so that a softmax reduces over a leading axis.
    """
    features, share, dtype = space.coordinates, space.share, space.coordinates.dtype
    (k, n), r = targets.shape, len(features)
    # The bias is the weight of one more feature, always 1 and not penalised.
    features = jnp.concatenate([features, jnp.ones((1, n), dtype)])
    variance = jnp.append(space.variance, 1)
    penalty = l2 * jnp.append(jnp.ones(r, dtype), 0)
    stretch = jax.lax.rsqrt(CURVATURE * variance + penalty)[None, :]
    penalty = penalty[None, :] * jnp.square(stretch)  # of the scaled unknowns

    def logits(unknowns):
        return jnp.dot(unknowns * stretch, features, precision=HIGHEST)

    def gradient(unknowns, probabilities):
        residual = (probabilities - targets) * share[None, :]
        return jnp.dot(residual, features.T, precision=HIGHEST) * stretch + penalty * unknowns

    def improve(state):
        ascent, history = quasi_newton.update(state.gradient, state.history, state.unknowns)
        change = logits(-ascent)
        quadratic = (
            0.5 * jnp.vdot(state.unknowns, penalty * state.unknowns),
            -jnp.vdot(state.unknowns, penalty * ascent),
            jnp.vdot(ascent, penalty * ascent),
        )
        slope = -jnp.vdot(state.gradient, ascent)
        found = _search(state.logits, change, targets, share, quadratic, slope, state.value)
        unknowns = state.unknowns - found.step * ascent
        return _State(
            unknowns,
            state.logits + found.step * change,
            gradient(unknowns, found.probabilities),
            found.value,
            history,
            state.iteration + 1,
        )

    def unfinished(state):
        far = jnp.vdot(state.gradient, state.gradient) > tolerance**2
        return far & (state.iteration < max_iterations)

    quasi_newton = optax.scale_by_lbfgs(memory_size=10)
    start, flat = jnp.zeros((k, r + 1), dtype), jnp.zeros((k, n), dtype)
    even, value = jnp.full_like(flat, 1 / k), jnp.log(jnp.asarray(k, dtype))
    state = _State(
        start, flat, gradient(start, even), value, quasi_newton.init(start), jnp.int32(0)
    )
    state = jax.lax.while_loop(unfinished, improve, state)
    solution = state.unknowns * stretch
    return solution[:, :-1], solution[:, -1], state.iteration, jnp.linalg.norm(state.gradient)


def _search(logits, change, targets, share, penalty, slope, value) -> _Trial:
    """A step along ``change`` by Newton's method on the slope, kept inside a shrinking bracket.

    The objective is convex, so its slope tells on which side the optimum lies; unlike differences
    of values, slopes keep their meaning down to the rounding of float32. The penalty is given by
    its terms in 1, t and t^2 / 2, the first slope and value are known.
    """

    def attempt(trial):
        step = trial.step
        probabilities, loss = _softmax(logits + step * change, targets, share)
        weighted = probabilities * change
        mean = jnp.sum(weighted, axis=0)
        each = jnp.sum(weighted - targets * change, axis=0)
        now = jnp.vdot(share, each) + penalty[1] + step * penalty[2]
        each = jnp.sum(weighted * change, axis=0) - jnp.square(mean)
        bend = jnp.vdot(share, each) + penalty[2]
        reached = loss + penalty[0] + step * penalty[1] + 0.5 * step**2 * penalty[2]
        taken = (jnp.abs(now) <= SLOPE * jnp.abs(slope)) & (reached <= value + slack)
        low, high = jnp.where(now < 0, step, trial.low), jnp.where(now < 0, trial.high, step)
        newton = step - now / bend
        inside = (newton > low) & (newton < high)
        other = jnp.where(jnp.isinf(high), 2 * step, 0.5 * (low + high))
        tried = trial.tried + 1
        # Out of trials (rounding, at the very end) the step must be the one that was measured.
        final = taken | (tried == TRIALS)
        following = jnp.where(final, step, jnp.where(inside, newton, other))
        return _Trial(following, low, high, taken, tried, probabilities, reached)

    def untaken(trial):
        return ~trial.taken & (trial.tried < TRIALS)

    slack = 8 * jnp.finfo(value.dtype).eps * jnp.abs(value)
    one = jnp.ones((), value.dtype)
    start = _Trial(
        one, 0 * one, jnp.inf * one, jnp.bool_(False), jnp.int32(0), jnp.zeros_like(logits), value
    )
    return jax.lax.while_loop(untaken, attempt, start)


def _softmax(logits, targets, share):
    """Probabilities [k n] and the mean cross-entropy."""
    top = jnp.max(logits, axis=0, keepdims=True)
    powers = jnp.exp(logits - top)
    total = jnp.sum(powers, axis=0, keepdims=True)
    right = jnp.sum(logits * targets, axis=0, keepdims=True)
    return powers / total, jnp.vdot(share, (top + jnp.log(total) - right)[0])
