"""Documents of any length packed into rows of one length."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int32

from jssl import require
from jssl.data.bad import DataError


def pack(
    documents: Sequence[np.ndarray], length: int, pad: int = 0
) -> tuple[Int32[np.ndarray, "m length"], Int32[np.ndarray, "m length"]]:
    """Documents one after the other, cut into rows; only the end of the last one is padded.

    Args:
        documents: each [tokens] integers; empty ones leave no trace.
        length: of a row.
        pad: the token of the padding.

    Returns:
        tokens: [m length] int32.
        segments: [m length] int32: the number of the document within its row, from 1 on; 0 where
          there is padding. A document that goes on in the next row counts as another one there.

    Raises:
        DataError: if there is no token at all.
    """
    require.at_least(1, length=length)
    sizes = np.array([len(document) for document in documents], np.int64)
    if sizes.sum() == 0:
        raise DataError("there is no token to pack: the documents are empty")
    rows = -(-int(sizes.sum()) // length)
    tokens = np.full(rows * length, pad, np.int32)
    numbers = np.full(rows * length, -1, np.int64)
    tokens[: sizes.sum()] = np.concatenate([np.asarray(document) for document in documents])
    numbers[: sizes.sum()] = np.repeat(np.arange(len(sizes)), sizes)
    numbers = numbers.reshape(rows, length)
    segments = np.ones((rows, length), np.int32)
    segments[:, 1:] += np.cumsum(numbers[:, 1:] != numbers[:, :-1], axis=1, dtype=np.int32)
    segments[numbers < 0] = 0
    return tokens.reshape(rows, length), segments
