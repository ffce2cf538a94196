"""From host arrays to arrays sharded over the mesh, a few steps ahead."""

import math
import queue
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

AHEAD = 2

# How often a waiting thread looks whether it should stop, in seconds.
_POLL = 0.1


def batch_sharding() -> NamedSharding:
    """Batches split along their leading axis over all devices of all processes."""
    mesh = jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))
    return NamedSharding(mesh, PartitionSpec("data"))


def leading(sharding: NamedSharding, batch_size: int) -> NamedSharding:
    """The part of a sharding that splits a batch: its first axis, for arrays of any rank.

    Raises:
        ValueError: if the batch cannot be split evenly.
    """
    axes = sharding.spec[0] if len(sharding.spec) else None
    names = (axes,) if isinstance(axes, str) else axes or ()
    parts = math.prod(sharding.mesh.shape[name] for name in names)
    if batch_size % parts:
        raise ValueError(f"batch_size {batch_size} must be a multiple of the mesh's {parts} shards")
    return NamedSharding(sharding.mesh, PartitionSpec(axes))


def local_rows(sharding: NamedSharding, batch_size: int) -> np.ndarray:
    """The rows of the global batch whose shards lie on this process's devices, sorted, [m]."""
    mine = np.zeros(batch_size, bool)
    for (rows,) in sharding.addressable_devices_indices_map((batch_size,)).values():
        mine[rows] = True
    return np.flatnonzero(mine)


def put(batch: dict[str, Any], sharding: NamedSharding, length: int) -> dict[str, Any]:
    """Arrays of this process's rows to global arrays of ``length`` rows.

    An explicit transfer, which `jax.transfer_guard` lets pass.
    """
    return jax.tree.map(
        lambda x: jax.make_array_from_process_local_data(sharding, x, (length, *x.shape[1:])),
        batch,
    )


class Ahead:
    """Runs an iterator in a thread, ``AHEAD`` items ahead of whoever takes them."""

    def __init__(self, items: Iterator[Any], place: Callable[[Any], Any]):
        """Starts the thread.

        Args:
            items: the iterator; its ``close`` is called in the end, if it has one.
            place: applied to each item in the thread: the transfer to the device.
        """
        # One item is in the thread's hands while it waits for a place in the queue.
        self._ready: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(AHEAD - 1)
        stop = threading.Event()
        # The thread must not hold `self`, or nothing would ever be collected.
        thread = threading.Thread(
            target=_run, args=(items, place, self._ready, stop), name="jssl-data", daemon=True
        )
        thread.start()
        self._finalize = weakref.finalize(self, _stop, items, thread, stop)

    def take(self) -> Any:
        """The next item; raises what the iterator raised."""
        item, error = self._ready.get()
        if error is not None:
            self.close()
            raise error
        return item

    def close(self) -> None:
        """Stops the thread and closes the iterator. Also done on collection and at exit."""
        self._finalize()


def _run(
    items: Iterator[Any],
    place: Callable[[Any], Any],
    ready: queue.Queue,
    stop: threading.Event,
) -> None:
    while not stop.is_set():
        try:
            entry = place(next(items)), None
        except BaseException as error:  # whatever it is, it must reach the one who waits
            entry = None, error
        while not stop.is_set():
            try:
                ready.put(entry, timeout=_POLL)
                break
            except queue.Full:
                continue
        if entry[1] is not None:
            return


def _stop(items: Iterator[Any], thread: threading.Thread, stop: threading.Event) -> None:
    stop.set()
    thread.join()
    close = getattr(items, "close", None)
    if close is not None:
        close()
