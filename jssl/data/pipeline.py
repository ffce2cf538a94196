"""A large set read through Grain, by threads or worker processes."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding

from jssl.data.bad import Bad, BadCount
from jssl.data.batches import BatchReader, check_rectangular
from jssl.data.device import Ahead, local_rows, put
from jssl.data.order import Draw
from jssl.data.sources import Source

# Grain wants an end; no run gets there.
_FOREVER = 2**48


def host_batches(
    reader: BatchReader, start: int, workers: int
) -> Iterator[tuple[dict[str, Any], tuple[Bad, ...]]]:
    """This process's rows of the batches from step ``start`` on; close it in the end.

    A Grain element is a whole batch: its cost per element, felt with small records, is paid once a
    batch, and the position in the stream is the step.

    Args:
        reader: reads a step's batch.
        start: the first step.
        workers: processes to read in; 0 reads in threads of this one.
    """
    import grain

    steps = grain.MapDataset.range(start, _FOREVER).map(reader)
    if workers == 0:
        threads = min(8, os.cpu_count() or 1)
        return iter(steps.to_iter_dataset(grain.ReadOptions(threads, threads)))
    from absl import flags

    # Grain's workers are told the values of its absl flags, which only a parsed command line has.
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
    batches = steps.to_iter_dataset(grain.ReadOptions(1, 1))
    return iter(batches.mp_prefetch(grain.MultiprocessingOptions(workers), _start_worker))


def _start_worker(index: int, count: int) -> None:
    # Ctrl-C reaches the whole process group; the main process is the one to decide what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(
        target=_end_with_parent, name=f"worker-{index}-of-{count}", daemon=True
    ).start()


def _end_with_parent() -> None:
    # A parent killed outright cannot stop its workers, which would wait for it for ever.
    multiprocessing.parent_process().join()
    os._exit(1)


class Pipeline:
    """Batches read by Grain, each process its own rows, two steps ahead of the training.

    The last batch can be asked for again. Any other step that does not follow it starts the readers
    anew at that step.
    """

    def __init__(
        self,
        source: Source,
        draw: Draw,
        *,
        sharding: NamedSharding,
        workers: int,
        max_bad: float,
    ):
        """Opens nothing yet; the first `batch` does. Arguments as of `open_stream`.

        ``draw`` says which examples are in which batch.
        """
        check_rectangular(source)
        rows = local_rows(sharding, draw.batch_size)
        self._reader = BatchReader(source, draw, rows)
        self._batch_size, self._sharding, self._workers = draw.batch_size, sharding, workers
        self._count = BadCount(len(source), max_bad)
        self._ahead: Ahead | None = None
        self._last: tuple[int, dict[str, Any]] | None = None

    @property
    def bad(self) -> int:
        """Distinct undecodable examples met so far, by this process."""
        return len(self._count)

    def batch(self, step: int) -> dict[str, Any]:
        """The global batch at a step."""
        if self._last is not None and step == self._last[0]:
            return self._last[1]
        if self._ahead is None or self._last is None or step != self._last[0] + 1:
            self.close()
            sharding, length = self._sharding, self._batch_size

            def place(item: tuple[dict[str, Any], tuple[Bad, ...]]):
                # A worker's arrays lie in shared memory that is freed with them: take a copy.
                return put(jax.tree.map(np.array, item[0]), sharding, length), item[1]

            self._ahead = Ahead(host_batches(self._reader, step, self._workers), place)
        try:
            batch, bad = self._ahead.take()
        except BaseException:
            self.close()
            raise
        for record in bad:
            self._count.note(record)
        self._count.check()
        self._last = step, batch
        return batch

    def close(self) -> None:
        """Stops the readers."""
        if self._ahead is not None:
            self._ahead.close()
        self._ahead = self._last = None
