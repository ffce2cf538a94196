"""Finding the same: retrieval by class and between images and texts, verification of pairs."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jssl.evals import cosine, ranking

RECALLS = (1, 5, 10)
PAIRS = 20_000  # of each kind, at most


def retrieve(
    train_x: Float[Array | np.ndarray, "n d"],
    train_y: Int[Array | np.ndarray, " n"],
    test_x: Float[Array | np.ndarray, "m d"],
    test_y: Int[Array | np.ndarray, " m"],
    *,
    chunk: int = 256,
) -> dict[str, float]:
    """``recall_at_K`` and ``map`` of training examples by cosine similarity to each test example.

    Recall at K: the share of queries with one of their class among the K nearest. The mean average
    precision is over the whole ranking and the queries whose class is in the gallery; examples of
    one similarity have one place. ``chunk`` queries at a time.
    """
    gallery, labels, queries = map(jnp.asarray, (train_x, train_y, test_x))
    asked = np.asarray(test_y)
    _, at = cosine.nearest(gallery, queries, min(max(RECALLS), len(labels)), query_part=chunk)
    same = np.asarray(labels[at]) == asked[:, None]
    found = {f"recall_at_{k}": float(same[:, :k].any(axis=1).mean()) for k in RECALLS}
    pieces = (cosine.parts(x, chunk) for x in (queries, jnp.asarray(asked)))
    precision = np.asarray(_average_precision(gallery, labels, *pieces)).reshape(-1)[: len(asked)]
    there = np.isin(asked, train_y)
    return found | {"map": float(precision[there].mean()) if there.any() else 0.0}


@jax.jit
def _average_precision(gallery, labels, queries, asked):
    """`ranking.average_precision` of the gallery, for each query of [parts size d]."""
    gallery = cosine.unit(gallery)

    def one(piece):
        x, y = piece
        similarity = jnp.dot(cosine.unit(x), gallery.T, precision=jax.lax.Precision.HIGHEST)
        # One sort of integers is many times faster than one of pairs: the last bit tells whether
        # the class is the same, the others are the similarity to 2^-29, below its rounding.
        places = jnp.round(jnp.clip(similarity, -1, 1) * 2**29).astype(jnp.int32)
        same = (labels[None, :] == y[:, None]).astype(jnp.int32)
        keys = -jnp.sort(-(2 * places + same), axis=1)
        places, same = keys >> 1, (keys & 1).astype(similarity.dtype)
        last = jnp.append(places[:, 1:] != places[:, :-1], jnp.ones((len(y), 1), bool), axis=1)
        seen = jnp.broadcast_to(jnp.arange(1, 1 + len(labels), dtype=same.dtype), same.shape)
        # Of all that have one similarity, what is so after the last of them.
        hits, seen = (
            jax.lax.cummin(jnp.where(last, v, jnp.inf), axis=1, reverse=True)
            for v in (jnp.cumsum(same, axis=1), seen)
        )
        return jnp.sum(same * hits / seen, axis=1) / jnp.maximum(jnp.sum(same, axis=1), 1)

    return jax.lax.map(one, (queries, asked))


def between(
    a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "n d"], group: Int[np.ndarray, " n"]
) -> dict:
    """Recall at K of captions by images and of images by captions, ``retrieve`` both ways.

    Args:
      a: of images, row by row the partners of ``b``.
      b: of their captions.
      group: which image a row is of; an image with several captions is one, and any of them is
        right.

    Returns:
      ``image_to_text``, ``text_to_image`` and, as ``chance_...``, what a random order would score;
      ``images`` and ``texts``, their numbers.
    """
    _, first = np.unique(group, return_index=True)
    sides = {"image": (a[first], group[first]), "text": (b, group)}
    found = {"images": len(first), "texts": len(group)}
    for asked, gallery in (("image", "text"), ("text", "image")):
        (x, y), (known, labels) = sides[asked], sides[gallery]
        way = f"{asked}_to_{gallery}"
        row = retrieve(known, labels, x, y)
        found[way] = {f"recall_at_{k}": row[f"recall_at_{k}"] for k in RECALLS}
        same = (labels[None, :] == y[:, None]).sum(axis=1)
        found[f"chance_{way}"] = {f"recall_at_{k}": _drawn(same, len(labels), k) for k in RECALLS}
    return found


def _drawn(same: np.ndarray, m: int, k: int) -> float:
    """How likely at least one right one is among k of m, the mean over queries."""
    none = [np.maximum(m - same - j, 0) / max(m - j, 1) for j in range(min(k, m))]
    return float(1 - np.prod(none, axis=0).mean())


def verify(x: Float[Array | np.ndarray, "n d"], y: Int[np.ndarray, " n"], *, seed: int = 0):
    """``roc_auc`` and ``eer`` of cosine similarity for "the same class?" over pairs drawn by seed.

    At most 20,000 pairs of each kind, of distinct examples, with replacement.
    """
    rng = np.random.default_rng(seed)
    y = np.asarray(y)
    a, b = rng.integers(0, len(y), (2, 50 * PAIRS))
    a, b = a[a != b], b[a != b]
    same = y[a] == y[b]
    kept = np.concatenate([np.flatnonzero(same)[:PAIRS], np.flatnonzero(~same)[:PAIRS]])
    a, b, same = a[kept], b[kept], same[kept]
    score = np.asarray(_similarity(jnp.asarray(x), a, b))
    return {
        "roc_auc": ranking.roc_auc(same, score),
        "eer": ranking.equal_error_rate(same, score),
    }


@jax.jit
def _similarity(x, a, b):
    x = cosine.unit(x)
    return jnp.sum(x[a] * x[b], axis=1)
