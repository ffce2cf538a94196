"""Bits a byte against the formulas, and against a model whose chances are known."""

import collections

import numpy as np
import pytest

from jssl.evals import compression

TRAIN = ["the cat sat on the mat", "the dog sat on the log", "আমি যাব", ""]


def witten_bell(counts, context, symbol):
    """p(b | h) as written, by recursion."""
    lower = witten_bell(counts, context[1:], symbol) if context else 1 / 257
    seen = counts[context]
    n, t = sum(seen.values()), len(seen)
    return (seen[symbol] + t * lower) / (n + t) if n else lower


def symbols(text, order):
    return [compression.START] * order + [*text.encode(), compression.END]


@pytest.mark.parametrize("order", [0, 1, 3, 6])
def test_ngram_is_that_of_witten_and_bell(order):
    counts = collections.defaultdict(collections.Counter)
    for text in TRAIN:
        x = symbols(text, 6)
        for i in range(6, len(x)):
            for length in range(order + 1):
                counts[tuple(x[i - length : i])][x[i]] += 1
    asked = ["the cat on the log", "zoo"]
    bits = []
    for text in asked:
        x = symbols(text, 6)
        bits += [
            -np.log2(witten_bell(counts, tuple(x[i - order : i]), x[i])) for i in range(6, len(x))
        ]
    found, used = compression.ngram_bits(TRAIN, asked, order)
    assert used == order
    assert found == pytest.approx(np.mean(bits), rel=1e-12)
    context = tuple(symbols("the c", 6)[-1 - order : -1]) if order else ()
    assert sum(witten_bell(counts, context, b) for b in range(257)) == pytest.approx(1)


def test_the_order_is_chosen_without_the_asked_texts():
    text = "abcdefghijkl " * 20
    assert compression.ngram_bits([text] * 20, ["zzzz"])[1] >= 1
    random = np.random.default_rng(0).integers(97, 123, (40, 200)).astype(np.uint8)
    assert compression.ngram_bits([x.tobytes().decode() for x in random], [text])[1] <= 1
    with pytest.raises(ValueError, match="order must be from 0 to 6, got 7"):
        compression.ngram_bits(TRAIN, TRAIN, 7)


@pytest.mark.parametrize("length", [4, 7, 100])
def test_each_token_counts_once_with_at_least_half_a_row_before_it(length):
    rng = np.random.default_rng(0)
    documents = [rng.integers(1, 50, t).astype(np.int32) for t in (1, 3, 8, 23)]
    costs = rng.random(50)
    seen = []

    def log_chances(batch):
        assert batch["tokens"].shape == (3, length)
        seen.extend(batch["segments"].sum(1).tolist())
        return -costs[batch["tokens"][:, 1:]]

    form = {"length": length, "vocabulary": 50, "batch": 3}
    found = compression.token_bits(log_chances, documents, 77, **form)
    expected = sum(costs[d[1:]].sum() for d in documents) / np.log(2) + 4 * np.log2(50)
    assert found == pytest.approx(expected / 77, rel=1e-12)
    assert max(seen) == min(length, 23)
