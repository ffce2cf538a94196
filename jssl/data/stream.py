"""A stream of batches: one interface over the set on the device and the set behind Grain."""

import math
from typing import Any

from jax.sharding import NamedSharding

from jssl import require
from jssl.data.bad import DataError
from jssl.data.batches import check_rectangular
from jssl.data.device import batch_sharding, leading
from jssl.data.order import Draw
from jssl.data.pipeline import Pipeline
from jssl.data.resident import Resident
from jssl.data.sources import Source

# A decoded set of up to this many bytes is kept on the device when nothing else is asked.
RESIDENT_BYTES = 2 * 2**30


class Stream:
    """Global batches as a function of (seed, step); made by `open_stream`.

    batch_size: examples in the global batch.
    steps_per_epoch: ``len(source) // batch_size``; what is left over is dropped, and the next
      epoch is shuffled anew. With unlabelled examples it is they that an epoch sees all of.
    resident: whether the set lies on the device.
    """

    def __init__(self, feed: Resident | Pipeline, draw: Draw):
        """Wraps the feed that holds or reads the set."""
        self._feed, self._draw, self._step = feed, draw, 0
        self.batch_size = draw.batch_size
        self.steps_per_epoch = draw.steps_per_epoch
        self.resident = isinstance(feed, Resident)

    @property
    def bad(self) -> int:
        """Distinct undecodable examples met so far."""
        return self._feed.bad

    def batch(self, step: int) -> dict[str, Any]:
        """The global batch at a step >= 0: ``image`` [n h w c], ``label`` [n], ``index`` [n].

        With unlabelled examples beside each also ``unlabeled``, a dict of ``image`` [n u h w c] and
        ``index`` [n u].

        Cheapest for the step that follows the last one asked for.

        Raises:
            DataError: if too many examples cannot be decoded, or images differ in shape.
        """
        require.at_least(0, step=step)
        batch = self._feed.batch(step)
        self._step = step + 1
        return batch

    def state(self) -> dict[str, int]:
        """The position, for JSON: the step that comes next, and what the order depends on."""
        draw = self._draw
        state = {
            "step": self._step,
            "seed": draw.seed,
            "batch_size": draw.batch_size,
            "examples": draw.n,
        }
        if draw.labeled is not None:
            state |= {"labels": len(draw.labeled), "unlabeled": draw.unlabeled}
        return state

    def restore(self, state: dict[str, Any]) -> int:
        """Takes up a position and returns its step, the next to ask `batch` for.

        Raises:
            DataError: if the state is of a stream in another order.
        """
        for key, value in self.state().items():
            if key != "step" and state.get(key) != value:
                raise DataError(
                    f"cannot resume: the data's {key} was {state.get(key)} and is now {value}; "
                    "batches would differ"
                )
        self._step = int(state["step"])
        return self._step

    def close(self) -> None:
        """Stops worker processes and threads, frees device memory."""
        self._feed.close()

    def __enter__(self) -> "Stream":
        """Closes the stream at the end of a ``with`` block."""
        return self

    def __exit__(self, *error: object) -> None:
        """Closes the stream."""
        self.close()


def open_stream(
    source: Source,
    batch_size: int,
    *,
    seed: int,
    unlabeled: int = 0,
    sharding: NamedSharding | None = None,
    workers: int = 0,
    resident: bool | str = "auto",
    max_bad: float = 0.01,
) -> Stream:
    """Opens an endless stream of shuffled batches over a source.

    Args:
        source: from `jssl.data.open_source`. Of one that keeps few labels the batches hold the
            labelled examples alone, each as often as any other.
        batch_size: examples in the global batch, over all processes.
        seed: of the order, >= 0.
        unlabeled: of a source that keeps few labels: how many examples, of all, stand beside each
            labelled one, without their labels.
        sharding: of the batch; its first axis splits the examples. By default over all devices.
        workers: processes that read and decode when the set is not resident; 0 reads in threads.
            A script must then guard its main code with ``if __name__ == "__main__":``, since
            workers are spawned.
        resident: keep the decoded set on every device (True), read it through Grain (False), or
            decide by its size (``"auto"``: resident up to 2 GiB decoded).
        max_bad: share of the examples, in [0, 1], that may be undecodable. Each is logged once;
            its place is taken by the next decodable one in source order, which may have no label
            where few are kept.

    Raises:
        ValueError: one line, for a batch that is larger than the set or does not split evenly over
            the mesh, for images of several shapes, or too many undecodable ones.
    """
    require.at_least(0, workers=workers, seed=seed, unlabeled=unlabeled)
    if unlabeled and source.labeled is None:
        raise DataError(f"unlabeled={unlabeled} needs a source that keeps few labels: give labels")
    most = len(source) // max(1, unlabeled)
    if not 1 <= batch_size <= most:
        beside = f", {unlabeled} beside each" * (unlabeled > 0)
        raise DataError(
            f"batch_size must be between 1 and the {most} examples of {source.name}{beside}, "
            f"got {batch_size}"
        )
    if resident not in ("auto", True, False):
        raise ValueError(f"resident must be 'auto', True or False, got {resident!r}")
    check_rectangular(source)
    sharding = leading(batch_sharding() if sharding is None else sharding, batch_size)
    if resident == "auto":
        resident = decoded_bytes(source) <= RESIDENT_BYTES
    draw = Draw(seed, len(source), batch_size, source.labeled, unlabeled)
    if resident:
        feed = Resident(source, draw, sharding=sharding, max_bad=max_bad)
    else:
        feed = Pipeline(source, draw, sharding=sharding, workers=workers, max_bad=max_bad)
    return Stream(feed, draw)


def decoded_bytes(source: Source) -> int:
    """Bytes of all images of a source, decoded."""
    return len(source) * math.prod(source.look.shape) * source.look.dtype.itemsize
