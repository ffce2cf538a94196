"""Which layers of an encoder hold what: their outputs, probes of them, and their likeness."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jssl.evals import features, knn, linear
from jssl.evals.features import Embed
from jssl.method import Batch, Features
from jssl.nn.resnet import ResidualBlock
from jssl.nn.vit import Block

EMBEDDING = "embedding"


def outputs(embed: Embed, batch: Batch, batch_size: int = 512) -> dict[str, np.ndarray]:
    """What each block of the encoder returns for each example, [n d], the embedding as the last.

    Mean over places or tokens; by the names of the blocks, from input to output. Of one with
    stacked layers, or without blocks, the embedding alone.
    """
    names = []

    def all_of(batch):
        found = {}

        def watch(call, args, kwargs, context):
            out = call(*args, **kwargs)
            module = context.module
            if isinstance(module, Block | ResidualBlock) and context.method_name == "__call__":
                found["/".join(module.path)] = out
            return out

        with nn.intercept_methods(watch):
            last = embed(batch).pooled
        wide = np.promote_types(last.dtype, np.float32)
        pooled = [
            jnp.mean(x.astype(wide), axis=tuple(range(1, x.ndim - 1))) for x in found.values()
        ]
        names[:] = [(name, x.shape[1]) for name, x in zip(found, pooled, strict=True)]
        names.append((EMBEDDING, last.shape[1]))
        # Side by side, so that they leave the device together.
        return Features(jnp.concatenate([*pooled, last.astype(wide)], axis=1), None)

    joined = features.extract(all_of, batch, batch_size)
    parts = np.split(joined, np.cumsum([width for _, width in names])[:-1], axis=1)
    short = _short([name for name, _ in names])
    return dict(zip(short, parts, strict=True))


def _pooled(x: Array) -> Array:
    return jnp.mean(x, axis=tuple(range(1, x.ndim - 1)))


def _short(names: list[str]) -> list[str]:
    """Names without what stands in front of all of them."""
    blocks = [name.split("/") for name in names[:-1]]
    while blocks and all(len(b) > 1 and b[0] == blocks[0][0] for b in blocks):
        blocks = [b[1:] for b in blocks]
    return ["/".join(b) for b in blocks] + names[-1:]


def probes(
    train: dict[str, np.ndarray],
    train_y: Int[np.ndarray, " n"],
    test: dict[str, np.ndarray],
    test_y: Int[np.ndarray, " m"],
    *,
    num_classes: int,
    k: int = 20,
) -> dict[str, dict[str, float]]:
    """Of each layer the accuracies ``knn`` and ``linear`` of the two modules of these names."""
    found = {}
    for name, x in train.items():
        data = (x, train_y, test[name], test_y)
        found[name] = {
            "knn": knn.knn(*data, k=min(k, len(x)), num_classes=num_classes),
            "linear": linear.linear_probe(*data, num_classes=num_classes).accuracy,
        }
    return found


@jax.jit
def linear_cka(
    x: Float[Array | np.ndarray, "n a"], y: Float[Array | np.ndarray, "n b"]
) -> Float[Array, ""]:
    """Linear centred kernel alignment of two representations of the same examples, in [0, 1].

    1 where one is the other, turned and scaled. Section 3 of Kornblith et al. 2019, arXiv
    1905.00414; the biased estimate, as there: from few examples it is too high. 0 for what does
    not vary.
    """
    x, y = (_centred(jnp.asarray(v)) for v in (x, y))

    def norm(a, b):
        product = jnp.dot(a.T, b, precision=jax.lax.Precision.HIGHEST)
        return jnp.sum(jnp.square(product))

    below = jnp.sqrt(norm(x, x)) * jnp.sqrt(norm(y, y))
    return norm(x, y) / jnp.where(below > 0, below, 1)


def _centred(x: Array) -> Array:
    x = x.astype(np.promote_types(x.dtype, np.float32))
    x = x - jnp.mean(x, axis=0, keepdims=True)
    # Of size one, so that no square of a square overflows.
    length = jnp.linalg.norm(x)
    return x / jnp.where(length > 0, length, 1)


def likeness(
    rows: dict[str, np.ndarray], columns: dict[str, np.ndarray]
) -> Float[np.ndarray, "a b"]:
    """`linear_cka` of each layer of one encoder with each of another's, or of its own."""
    return np.array([[float(linear_cka(x, y)) for y in columns.values()] for x in rows.values()])
