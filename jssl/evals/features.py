"""From examples to features: ``embed``, batch after batch."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from jssl import require
from jssl.method import Batch, Features

Embed = Callable[[Batch], Features]


def extract(
    embed: Embed,
    source: Batch | Iterable[Batch],
    batch_size: int = 512,
    *,
    sharding: NamedSharding | None = None,
) -> np.ndarray:
    """Pooled features [n d] in float32 (or wider) of every example, in the order of the source.

    embed: ``(batch) -> Features``, closed over parameters and state. As a
      ``jax.tree_util.Partial(method.embed, params, state)`` the parameters are arguments of the
      compiled function, which is then used again when they change; as any other callable they are
      constants of it and each new closure is compiled anew.
    source: a dict of arrays with a common leading axis, or an iterable of such batches.
    batch_size: every batch is cut and padded to one size (this, or that of the first batch of an
      iterable where it is smaller), so nothing is retraced, and the padding is cut off again.
    sharding: how to lay a batch out over several devices, e.g. ``NamedSharding(mesh, P("data"))``;
      the number of devices along the batch axis must divide the batch size. On several processes
      each gives the same source and gets all features.
    """
    return extract_with(embed, source, (), batch_size, sharding=sharding)[0]


def extract_with(
    embed: Embed,
    source: Batch | Iterable[Batch],
    keys: tuple[str, ...],
    batch_size: int = 512,
    *,
    sharding: NamedSharding | None = None,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """As `extract`, and beside the features the named entries (``label``, ``index``) of the source.

    For an iterable that can be walked only once.
    """
    require.at_least(1, batch_size=batch_size)
    embed = embed if isinstance(embed, jax.tree_util.Partial) else jax.tree_util.Partial(embed)
    features, kept, pending = [], {key: [] for key in keys}, None
    for batch, count in fixed_size(source, batch_size):
        for key in keys:
            kept[key].append(np.asarray(batch[key][:count]))
        placed = batch if sharding is None else jax.device_put(batch, sharding)
        # The device computes this batch while the host fetches the one before.
        pooled = _pooled(embed, placed, sharding)
        if pending is not None:
            features.append(np.asarray(pending[0])[: pending[1]])
        pending = pooled, count
    if pending is None:
        raise ValueError("source must hold at least one example, got none")
    features.append(np.asarray(pending[0])[: pending[1]])
    return np.concatenate(features), {key: np.concatenate(parts) for key, parts in kept.items()}


@partial(jax.jit, static_argnames="sharding")
def _pooled(embed: Embed, batch: Batch, sharding: NamedSharding | None):
    pooled = embed(batch).pooled
    pooled = pooled.astype(np.promote_types(pooled.dtype, np.float32))
    if sharding is not None:  # replicated, so that every process can read all of it
        pooled = jax.lax.with_sharding_constraint(
            pooled, NamedSharding(sharding.mesh, PartitionSpec())
        )
    return pooled


def fixed_size(source: Batch | Iterable[Batch], size: int) -> Iterator[tuple[Any, int]]:
    """Batches of one size, each with the number of its rows that are not padding."""
    one = isinstance(source, dict)
    first = True
    for batch in [source] if one else source:
        lengths = {len(leaf) for leaf in jax.tree.leaves(batch)}
        if len(lengths) != 1:
            raise ValueError(f"arrays of a batch must be equally long, got {sorted(lengths)}")
        (length,) = lengths
        if first and not one:
            size = min(size, length) or size
        first = False
        for start in range(0, length, size):
            rows = range(start, min(start + size, length))
            yield jax.tree.map(partial(_padded, rows=rows, size=size), batch), len(rows)


def _padded(leaf, rows: range, size: int) -> np.ndarray:
    """The rows of an array; the last one is repeated to make up the size."""
    part = np.asarray(leaf[rows.start : rows.stop])
    return np.concatenate([part, np.repeat(part[-1:], size - len(rows), axis=0)])
