"""How well a text is foretold, in bits a byte: by a causal model, and by n-grams to compare with.

A text is its UTF-8 bytes and its end, which is foretold as well and counts as a byte: so models
with different tokenizers compare.
"""

from collections.abc import Callable, Sequence

import numpy as np

from jssl import require

END, START, SYMBOLS = 256, 257, 258
MOST = 6  # a byte and so many before it are one number of 64 bits


def ngram_bits(
    train: Sequence[str], test: Sequence[str], order: int | None = None
) -> tuple[float, int]:
    """Bits a byte of texts under byte n-grams of others, and their order.

    Interpolated with Witten-Bell's weights (Witten & Bell 1991; Chen & Goodman 1998, section 2.5):
    with c counts, n their sum in a context and t the kinds of bytes seen there,
    ``p(b | h) = (c(h b) + t(h) p(b | h')) / (n(h) + t(h))``, where h' lacks the earliest byte of h,
    down to the same chance for all bytes.

    Args:
      train: texts that are counted.
      test: those that are foretold.
      order: bytes of context, from 0 to 6; by default what is best for a tenth of the training
        texts, every tenth, counted out.

    Raises:
      ValueError: for an order out of range, or without texts.
    """
    require.at_least(1, train_texts=len(train), test_texts=len(test))
    if order is None:
        held_out = train[::10]
        fit = [text for i, text in enumerate(train) if i % 10] or held_out
        order = int(np.argmin(_by_order(fit, held_out)))
    if not 0 <= order <= MOST:
        raise ValueError(f"order must be from 0 to {MOST}, got {order}")
    return float(_by_order(train, test, order)[order]), order


def _by_order(train, test, most=MOST):
    """Bits a byte with every order up to the highest."""
    counted, asked = _rows(train), _rows(test)
    p, bits = np.full(len(asked), 1 / (END + 1)), []
    for order in range(most + 1):
        pairs, counts = np.unique(_codes(counted, order + 1), return_counts=True)
        contexts, first, kinds = np.unique(pairs // SYMBOLS, return_index=True, return_counts=True)
        sums = np.add.reduceat(counts, first)
        code = _codes(asked, order + 1)
        c = _find(pairs, counts, code)
        n, t = (_find(contexts, x, code // SYMBOLS) for x in (sums, kinds))
        p = np.where(n > 0, (c + t * p) / np.maximum(n + t, 1), p)
        bits.append(-np.log2(p).mean())
    return bits


def _rows(texts):
    """Each byte behind those before it: [m MOST + 1], from the latest to the earliest."""
    rows = []
    for text in texts:
        x = np.frombuffer(text.encode(), np.uint8).astype(np.uint64)
        x = np.concatenate([np.full(MOST, START, np.uint64), x, np.array([END], np.uint64)])
        rows.append(np.lib.stride_tricks.sliding_window_view(x, MOST + 1)[:, ::-1])
    return np.concatenate(rows)


def _codes(rows, length):
    """A byte and its context as one number, the byte last."""
    return rows[:, :length] @ np.uint64(SYMBOLS) ** np.arange(length, dtype=np.uint64)


def _find(keys, values, asked):
    at = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
    return np.where(keys[at] == asked, values[at], 0)


def token_bits(
    log_chances: Callable[[dict], np.ndarray],
    documents: Sequence[np.ndarray],
    size: int,
    *,
    length: int,
    vocabulary: int,
    batch: int = 32,
) -> float:
    """Bits a byte of texts under a causal model of tokens.

    A text that is longer than a row is cut into rows that overlap by half, so that a token has at
    least half a row before it. Of the first one nothing is known: it costs log2 of the vocabulary.

    Args:
      log_chances: ``{tokens, segments} [batch length] int32 -> [batch length - 1]``, the natural
        logarithm of the chance that each token but the first was given.
      documents: [t] tokens each, the end among them.
      size: bytes of all texts, with one more for each end.
      length: of a row, at least 2.
      vocabulary: number of tokens.
      batch: rows at a time.
    """
    require.at_least(2, length=length)
    rows, counted = [], []
    for tokens in documents:
        last = max(len(tokens) - length, 0)
        for start in sorted({*range(0, last, length // 2), last}):
            done = counted[-1][1] if start else 1  # tokens whose chance is known already
            counted.append((start, min(start + length, len(tokens)), done))
            rows.append(tokens[start : start + length])
    bits = len(documents) * np.log2(vocabulary)
    for at in range(0, len(rows), batch):
        x = {name: np.zeros((batch, length), np.int32) for name in ("tokens", "segments")}
        asked = np.zeros((batch, length - 1), bool)
        for i, row in enumerate(rows[at : at + batch]):
            x["tokens"][i, : len(row)], x["segments"][i, : len(row)] = row, 1
            start, end, done = counted[at + i]
            asked[i, done - start - 1 : end - start - 1] = True
        bits -= np.asarray(log_chances(x), np.float64)[asked].sum() / np.log(2)
    return float(bits / size)
