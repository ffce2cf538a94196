"""Weighted nearest neighbours: how well does a class keep together in the embedding?"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jssl import require
from jssl.evals import cosine, split


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
    data = (train_x, train_y, test_x)
    split.check(*data, test_y, num_classes)
    require.at_least(1, test_chunk=test_chunk, train_chunk=train_chunk)
    (predicted,) = _predict(data, (k,), temperature, num_classes, test_chunk, train_chunk)
    accuracy = float((predicted == np.asarray(test_y)).mean())
    return (accuracy, predicted) if return_predictions else accuracy


def sweep(
    train_x: Float[Array | np.ndarray, "n d"],
    train_y: Int[Array | np.ndarray, " n"],
    test_x: Float[Array | np.ndarray, "m d"],
    test_y: Int[Array | np.ndarray, " m"],
    *,
    ks: Sequence[int],
    temperature: float = 0.07,
    num_classes: int,
) -> dict[int, float]:
    """The accuracy of `knn` for each of ``ks``, in one pass over the similarities."""
    data = (train_x, train_y, test_x)
    split.check(*data, test_y, num_classes)
    predicted = _predict(data, tuple(ks), temperature, num_classes)
    right = predicted == np.asarray(test_y)[None, :]
    return dict(zip(ks, right.mean(axis=1).tolist(), strict=True))


def _predict(data, ks, temperature, num_classes, test_chunk=256, train_chunk=65536) -> np.ndarray:
    """The predicted classes [len(ks) m]."""
    train_x, train_y, test_x = map(jnp.asarray, data)
    for k in ks:
        if not 1 <= k <= len(train_y):
            raise ValueError(
                f"k must lie in [1, {len(train_y)}], the number of training examples, got {k}"
            )
    require.positive(temperature=temperature)
    similarity, at = cosine.nearest(
        train_x, test_x, max(ks), query_part=test_chunk, part=train_chunk
    )
    found = (cosine.parts(x, test_chunk) for x in (similarity, train_y[at]))
    votes = _vote(*found, temperature, ks=ks, num_classes=num_classes)
    return np.concatenate(np.asarray(votes), axis=1)[:, : len(test_x)]


@partial(jax.jit, static_argnames=("ks", "num_classes"))
def _vote(similarity, labels, temperature, *, ks, num_classes):
    """The class with most weight among the first k, for each of ``ks``: [parts len(ks) size]."""

    def vote(part):
        similarity, labels = part
        # The largest similarity is taken off, which changes no comparison and cannot overflow.
        weights = jnp.exp((similarity - similarity[:, :1]) / temperature)
        ballots = jax.nn.one_hot(labels, num_classes, dtype=weights.dtype) * weights[:, :, None]
        return jnp.stack([jnp.argmax(jnp.sum(ballots[:, :k], axis=1), axis=1) for k in ks])

    return jax.lax.map(vote, (similarity, labels))
