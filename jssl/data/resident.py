"""A small set kept on the device and indexed there."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from jssl.data.batches import read_all, unlabeled
from jssl.data.device import put
from jssl.data.order import Draw
from jssl.data.sources import Source


class Resident:
    """Batches gathered on the device from a set that every device holds whole.

    The permutation travels to the device once an epoch, and so does the step within the epoch,
    which the device then counts on by itself: a step that follows the last one transfers nothing.
    An undecodable example is stood in for by the next decodable one in source order, so that both
    kinds of stream give the same batches.
    """

    def __init__(self, source: Source, draw: Draw, *, sharding: NamedSharding, max_bad: float):
        """Reads the whole set onto every device. Arguments as of `open_stream`.

        ``draw`` says which examples are in which batch.
        """
        arrays = read_all(source, max_bad=max_bad)
        kept = arrays["index"]
        self.bad = len(source) - len(kept)
        self._stand_in = np.searchsorted(kept, np.arange(len(source))) % len(kept)
        self._draw = draw
        self._everywhere = NamedSharding(sharding.mesh, PartitionSpec())
        self._data = put(arrays, self._everywhere, len(kept))
        self._at: tuple[int, int] | None = None  # epoch and step within it that come next

        def take(data, rows):
            return {key: jnp.take(x, rows, axis=0, mode="clip") for key, x in data.items()}

        def gather(data, order, within):
            rows, *beside = (
                jax.lax.with_sharding_constraint(
                    jax.lax.dynamic_index_in_dim(x, within, keepdims=False), sharding
                )
                for x in order
            )
            batch = take(data, rows)
            if beside:
                batch["unlabeled"] = take(unlabeled(data), beside[0])
            return batch, within + 1

        self._gather = jax.jit(gather, out_shardings=(sharding, self._everywhere))

    def batch(self, step: int) -> dict[str, Any]:
        """The global batch at any step."""
        steps = self._draw.steps_per_epoch
        epoch, within = divmod(step, steps)
        if self._at is None or self._at[0] != epoch:
            drawn = [self._draw.rows(epoch * steps + i) for i in range(steps)]
            parts = (part for part in zip(*drawn, strict=True) if part[0] is not None)
            self._order = tuple(self._put(self._stand_in[np.stack(part)]) for part in parts)
        if self._at != (epoch, within):
            self._within = self._put(np.array(within))
        batch, self._within = self._gather(self._data, self._order, self._within)
        self._at = epoch, within + 1
        return batch

    def close(self) -> None:
        """Lets go of the device's memory."""
        self._data = self._order = self._within = self._at = None

    def _put(self, array: np.ndarray) -> jax.Array:
        array = array.astype(np.int32)
        return jax.make_array_from_process_local_data(self._everywhere, array, array.shape)
