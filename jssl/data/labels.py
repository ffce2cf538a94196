"""Which examples are held out, and of few labels which are kept."""

import hashlib

import numpy as np

from jssl.data.bad import DataError


def kept(reader, rows: np.ndarray, labels: float, seed: int) -> np.ndarray:
    """The examples that keep their labels, of each class those whose hash comes first.

    A hash of (seed, the example's path within the split or its row in the file) decides, so fewer
    labels are some of more.

    Args:
        reader: a `jssl.data.sources.Reader`, with ``labels``.
        rows: [n] its records that are asked of.
        labels: a whole number >= 1, as many of each class as of any other; or a share in (0, 1),
            rounded, at least one, of each class.
        seed: of the draw.

    Returns:
        [l] positions in ``rows``, ascending.

    Raises:
        DataError: if the set's labels are not known, the number is no multiple of the classes, or a
            class has fewer.
    """
    known = getattr(reader, "labels", None)
    classes = np.unique(known[rows][known[rows] >= 0]) if known is not None else ()
    if len(classes) < 2:
        raise DataError(
            f"{reader.name}: labels={labels:g} needs labels of two classes or more that are known "
            "before anything is decoded"
        )
    if not labels > 0 or (labels >= 1 and labels % len(classes)):
        raise DataError(
            f"labels must be a share below 1 or a multiple of the {len(classes)} classes, "
            f"got {labels:g}"
        )
    chosen = []
    for label in classes:
        members = np.flatnonzero(known[rows] == label)
        count = int(labels) // len(classes) if labels >= 1 else max(1, round(labels * len(members)))
        if count > len(members):
            raise DataError(
                f"labels={labels:g} asks for {count} of each class, class {label} of {reader.name} "
                f"has {len(members)}"
            )
        drawn = [hashed(f"labels:{seed}:{reader.identity(int(row))}") for row in rows[members]]
        chosen.append(members[np.argsort(np.array(drawn, np.uint64), kind="stable")[:count]])
    return np.sort(np.concatenate(chosen))


def held_out(identities: list[str], share: float, seed: int) -> np.ndarray:
    """Which examples are held out, [n] bool: a hash of (seed, identity) falls below ``share``."""
    threshold = int(share * 2**64)
    return np.array([hashed(f"{seed}:{x}") < threshold for x in identities], bool)


def hashed(text: str) -> int:
    """64 bits of a text, the same on every machine."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
