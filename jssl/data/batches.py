"""Batches on the host: what a worker process does, and reading a whole set."""

import concurrent.futures
import os
from typing import Any

import numpy as np

from jssl.data.bad import Bad, BadCount, DataError, Undecodable
from jssl.data.order import Draw
from jssl.data.sources import Look, Source, describe_misfit

Example = dict[str, np.ndarray | np.generic]

_CHUNK = 64


def check_rectangular(source: Source) -> None:
    """Raises `DataError`, naming two of them, where a source's images cannot form a batch."""
    if source.misfit is not None:
        raise DataError(f"{source.name}: {source.misfit}")


def _read(source: Source, i: int) -> Example:
    """Example ``i``, which must have the shape and dtype that the source was opened with."""
    example = source[i]
    image = example[source.content]
    look = Look(image.shape, image.dtype, source.place(i))
    if look[:2] != source.look[:2]:
        raise DataError(f"{source.name}: {describe_misfit(source.look, look)}")
    return example


def unlabeled(batch: dict[str, Any]) -> dict[str, Any]:
    """A batch without what is to be told of its examples."""
    return {key: x for key, x in batch.items() if key not in ("label", "target")}


class BatchReader:
    """Reads, for any step, this process's rows of the global batch. Picklable."""

    def __init__(self, source: Source, draw: Draw, rows: np.ndarray):
        """Prepares to read.

        Args:
            source: what is read.
            draw: which examples are in which batch.
            rows: [m] which rows of each global batch are read here.
        """
        self._source, self._draw, self._rows = source, draw, rows

    def __call__(self, step: int) -> tuple[dict[str, Any], tuple[Bad, ...]]:
        """The rows of a step's batch, and the undecodable records met on the way.

        The place of an undecodable example is taken by the next decodable one in source order, so
        that the batch stays a function of (seed, step).
        """
        order, beside = self._draw.rows(int(step))
        bad: list[Bad] = []
        batch = self._stack(order[self._rows], bad)
        if beside is not None:
            rows = beside[self._rows]
            others = unlabeled(self._stack(rows.reshape(-1), bad))
            batch["unlabeled"] = {
                k: x.reshape(*rows.shape, *x.shape[1:]) for k, x in others.items()
            }
        return batch, tuple(bad)

    def _stack(self, rows: np.ndarray, bad: list[Bad]) -> dict[str, np.ndarray]:
        examples = [self._decodable(int(i), bad) for i in rows]
        return {key: np.stack([e[key] for e in examples]) for key in examples[0]}

    def _decodable(self, start: int, bad: list[Bad]) -> Example:
        total = len(self._source)
        for i in ((start + k) % total for k in range(total)):
            try:
                return _read(self._source, i)
            except Undecodable as error:
                bad.append(Bad(i, error.place, error.reason))
        raise DataError(f"{self._source.name}: none of {total} examples can be decoded")


def read_all(
    source: Source, *, max_bad: float = 0.01, progress: bool = True
) -> dict[str, np.ndarray]:
    """Reads a whole source into memory, in its order, with a thread pool.

    Undecodable examples are reported and left out; ``index`` tells which remain.

    Args:
        source: what is read.
        max_bad: share of examples that may be undecodable.
        progress: shows a bar on stderr where that is a terminal and reading takes over a second.

    Returns:
        ``image`` [m h w c], ``label`` [m] int32, ``index`` [m] int32.

    Raises:
        DataError: if images differ in shape or dtype, or too many cannot be decoded.
    """
    check_rectangular(source)
    count, total = BadCount(len(source), max_bad), len(source)
    arrays: dict[str, np.ndarray] = {}
    good = np.ones(total, bool)
    starts = range(0, total, _CHUNK)
    with concurrent.futures.ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        chunks = pool.map(lambda start: _read_chunk(source, start), starts)
        try:
            for start, chunk in zip(starts, _shown(chunks, source, progress), strict=True):
                for i, example in enumerate(chunk, start):
                    if isinstance(example, Bad):
                        good[i] = False
                        count.note(example)
                        continue
                    for key, value in example.items():
                        if key not in arrays:
                            arrays[key] = np.zeros((total, *np.shape(value)), value.dtype)
                        arrays[key][i] = value
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    count.check()
    return arrays if good.all() else {key: value[good] for key, value in arrays.items()}


def _read_chunk(source: Source, start: int) -> list[Example | Bad]:
    chunk: list[Example | Bad] = []
    for i in range(start, min(start + _CHUNK, len(source))):
        try:
            chunk.append(_read(source, i))
        except Undecodable as error:
            chunk.append(Bad(i, error.place, error.reason))
    return chunk


def _shown(chunks, source: Source, progress: bool):
    from tqdm import tqdm

    return tqdm(
        chunks,
        f"read {source.name}",
        total=-(-len(source) // _CHUNK),
        unit="ex",
        unit_scale=_CHUNK,
        delay=1,
        disable=None if progress else True,  # None: shown only where stderr is a terminal
    )
