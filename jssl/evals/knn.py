"""Weighted nearest neighbours: how well does a class keep together in the embedding?"""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jssl import require
from jssl.evals import split


def knn(
    train_x: Float[Array | np.ndarray, "n d"],
    train_y: Int[Array | np.ndarray, " n"],
    test_x: Float[Array | np.ndarray, "m d"],
    test_y: Int[Array | np.ndarray, " m"],
    *,
    k: int = 20,
    temperature: float = 0.07,
    num_classes: int,
    test_chunk: int = 256,
    train_chunk: int = 65536,
    return_predictions: bool = False,
) -> float | tuple[float, np.ndarray]:
    """Accuracy in [0, 1] of a weighted k-nearest-neighbour classifier on cosine similarity.

    The ``k`` most similar training examples vote for their class with the weight
    ``exp(similarity / temperature)`` (arXiv 1805.01978, section 3.4; 2104.14294, appendix).
    Computed on the device in float32 or wider, ``test_chunk`` by ``train_chunk`` similarities at a
    time, so memory stays bounded. ``return_predictions`` adds the predicted classes [m].
    """
    split.check(train_x, train_y, test_x, test_y, num_classes)
    n, m = len(train_y), len(test_y)
    if not 1 <= k <= n:
        raise ValueError(f"k must lie in [1, {n}], the number of training examples, got {k}")
    require.positive(temperature=temperature)
    require.at_least(1, test_chunk=test_chunk, train_chunk=train_chunk)
    predicted = np.asarray(
        _predict(
            _chunks(jnp.asarray(train_x), train_chunk),
            _chunks(jnp.asarray(train_y, jnp.int32), train_chunk),
            _chunks(jnp.asarray(test_x), test_chunk),
            temperature,
            n=n,
            k=k,
            num_classes=num_classes,
        )
    ).reshape(-1)[:m]
    accuracy = float((predicted == np.asarray(test_y)).mean())
    return (accuracy, predicted) if return_predictions else accuracy


def _chunks(x: Array, size: int) -> Array:
    """[n ...] to [chunks, size, ...] of nearly ``size`` each, padded with zeros at the end."""
    count = math.ceil(len(x) / size)
    size = math.ceil(len(x) / count)
    padding = ((0, count * size - len(x)),) + ((0, 0),) * (x.ndim - 1)
    return jnp.pad(x, padding).reshape(count, size, *x.shape[1:])


@partial(jax.jit, static_argnames=("n", "k", "num_classes"))
def _predict(train_x, train_y, test_x, temperature, *, n, k, num_classes):
    train_x, test_x = _unit(train_x), _unit(test_x)
    pieces, size = train_y.shape
    real = (jnp.arange(pieces * size) < n).reshape(pieces, size)

    def vote(queries):
        def nearer(best, piece):
            x, y, real = piece
            # TPUs round to bfloat16 unless asked, which reorders near neighbours.
            similarity = jnp.dot(queries, x.T, precision=jax.lax.Precision.HIGHEST)
            similarity = jnp.where(real[None, :], similarity, -jnp.inf)
            top, at = jax.lax.top_k(similarity, min(k, size))
            merged = jnp.concatenate([best[0], top], axis=1)
            labels = jnp.concatenate([best[1], y[at]], axis=1)
            top, at = jax.lax.top_k(merged, k)
            return (top, jnp.take_along_axis(labels, at, axis=1)), None

        none = (
            jnp.full((len(queries), k), -jnp.inf, queries.dtype),
            jnp.zeros((len(queries), k), jnp.int32),
        )
        (similarity, labels), _ = jax.lax.scan(nearer, none, (train_x, train_y, real))
        # The largest similarity is taken off, which changes no comparison and cannot overflow.
        weights = jnp.exp((similarity - similarity[:, :1]) / temperature)
        ballots = jax.nn.one_hot(labels, num_classes, dtype=weights.dtype)
        return jnp.argmax(jnp.sum(ballots * weights[:, :, None], axis=1), axis=1)

    return jax.lax.map(vote, test_x)


def _unit(x: Array) -> Array:
    x = x.astype(np.promote_types(x.dtype, np.float32))
    length = jnp.linalg.norm(x, axis=-1, keepdims=True)
    return x / jnp.maximum(length, jnp.finfo(x.dtype).tiny)
