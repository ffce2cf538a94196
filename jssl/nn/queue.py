"""A queue of embeddings from earlier batches: first in, first out, of a fixed size."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key


def check(size: int, n: int = 1) -> None:
    """Refuses a queue that batches of n do not fill evenly: the oldest n must stand together.

    To be called where a step is traced, since that is where the batch is as large as it will be.

    Raises:
      ValueError: if the size is not positive or not a multiple of n.
    """
    if size < 1:
        raise ValueError(f"queue must hold at least 1 embedding, got {size}")
    if size % n:
        raise ValueError(
            f"queue must be a multiple of the batch (of its part, if train.accumulate splits it), "
            f"got a queue of {size} and a batch of {n}"
        )


def start(
    key: Key[Array, ""], size: int, d: int, dtype: Any = jnp.float32
) -> tuple[Float[Array, "size d"], Int[Array, ""]]:
    """A queue [size d] of random directions, of length one, and the place where its oldest stands.

    Args:
      key: of the random directions.
      size: how many embeddings it holds.
      d: their dimension.
      dtype: at least float32.

    Raises:
      ValueError: if the size is not positive.
    """
    check(size)
    x = jax.random.normal(key, (size, d), np.promote_types(dtype, np.float32))
    return x / jnp.linalg.norm(x, axis=1, keepdims=True), jnp.zeros((), jnp.int32)


def push(
    queue: Float[Array, "size d"], pointer: Int[Array, ""], items: Float[Array, "n d"]
) -> tuple[Float[Array, "size d"], Int[Array, ""]]:
    """The queue with its n oldest embeddings replaced by ``items``, and the new place.

    No gradient flows into the items.

    Args:
      queue: as `start` makes it.
      pointer: int32, where the oldest stands.
      items: of the length that those in the queue have, usually one.

    Raises:
      ValueError: while the step is traced, if n does not divide the size (`check`).

    Source: He et al. 2020, arXiv 1911.05722, algorithm 1.
    """
    size, n = len(queue), len(items)
    check(size, n)
    items = jax.lax.stop_gradient(items).astype(queue.dtype)
    queue = jax.lax.dynamic_update_slice_in_dim(queue, items, pointer, axis=0)
    return queue, (pointer + n) % size
