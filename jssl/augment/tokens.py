"""What is done to tokens [n t]: BERT's masks, its pairs of sentences, and what packing implies.

``segments`` [n t] int32 goes with tokens: the number of the document in its row, from 1 on, and 0
where there is padding. All shapes are static, so every count is a mask over a fixed width.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, Key

from jssl import require


class Masked(NamedTuple):
    """Tokens as BERT's encoder is given them.

    tokens: [n t] int32, some replaced.
    mask: [n t] bool, True where the true token is to be predicted.
    """

    tokens: Array
    mask: Array


def bert_mask(
    key: Key[Array, ""],
    tokens: Int[Array, "n t"],
    maskable: Bool[Array, "n t"],
    *,
    mask_token: int,
    vocabulary: int,
    ratio: float = 0.15,
    starts: Bool[Array, "n t"] | None = None,
) -> Masked:
    """Chooses tokens and hides them: 80 % as the mask token, 10 % as a random one, 10 % not.

    Args:
      key: PRNG key.
      tokens: in [0, vocabulary).
      maskable: True where a token may be chosen: no padding, no special token.
      mask_token: what stands for a hidden one.
      vocabulary: the random tokens are uniform over it, special ones included, as in the released
        code.
      ratio: share of the maskable tokens that is chosen, in (0, 1): `mask_counts`.
      starts: True where a word begins. With it whole words are chosen, each of its tokens then
        hidden by a draw of its own: words in random order, passing over those that would exceed
        the count, as in the released code. By default every token is a word.

    The released code takes the ratio of all tokens of the example, [CLS] and [SEP] included.

    Raises:
      ValueError: for a ratio, mask token or vocabulary out of range.

    Source: Devlin et al. 2018, arXiv 1810.04805, section 3.1 (Task #1) and appendix A.1; whole
    words: the released code's README, May 31st, 2019.
    """
    if not 0 < ratio < 1:
        raise ValueError(f"ratio must be in (0, 1), got {ratio}")
    require.at_least(1, vocabulary=vocabulary)
    if not 0 <= mask_token < vocabulary:
        raise ValueError(f"mask_token must be in [0, {vocabulary}), got {mask_token}")
    k_choose, k_how, k_random = jax.random.split(key, 3)
    counts = mask_counts(maskable, ratio)
    if starts is None:
        mask = _random_subset(k_choose, maskable, counts)
    else:
        mask = _random_words(k_choose, maskable, starts, counts)
    how = jax.random.uniform(k_how, tokens.shape, jnp.float32)
    random = jax.random.randint(k_random, tokens.shape, 0, vocabulary, tokens.dtype)
    hidden = jnp.where(how < 0.8, jnp.asarray(mask_token, tokens.dtype), random)
    return Masked(jnp.where(mask & (how < 0.9), hidden, tokens), mask)


def mask_counts(maskable: Bool[Array, "n t"], ratio: float) -> Int[Array, " n"]:
    """How many tokens of each example are chosen: the share rounded, at least one where there is.

    Source: max_predictions in the released code of BERT (arXiv 1810.04805).
    """
    there = jnp.sum(maskable, axis=1, dtype=jnp.int32)
    share = jnp.round(there.astype(jnp.float32) * ratio).astype(jnp.int32)
    return jnp.minimum(jnp.maximum(share, 1), there)


def _random_subset(key: Array, maskable: Array, counts: Array) -> Array:
    drawn = jax.random.uniform(key, maskable.shape, jnp.float32)
    order = jnp.argsort(jnp.where(maskable, drawn, jnp.inf), axis=1)
    return jnp.argsort(order, axis=1).astype(jnp.int32) < counts[:, None]


def _random_words(key: Array, maskable: Array, starts: Array, counts: Array) -> Array:
    n, t = maskable.shape
    rows = jnp.arange(n, dtype=jnp.int32)[:, None]
    # What cannot be hidden ends a word, and is none.
    before = jnp.pad(maskable, ((0, 0), (1, 0)))[:, :-1]
    words = jnp.cumsum(maskable & (starts | ~before), axis=1, dtype=jnp.int32)
    words = jnp.where(maskable, words, 0)  # 0: no word
    sizes = jnp.zeros((n, t + 1), jnp.int32).at[rows, words].add(1)
    order = jnp.argsort(jax.random.uniform(key, (n, t), jnp.float32), axis=1) + 1

    def take(taken, word):
        size = jnp.take_along_axis(sizes, word[:, None], axis=1)[:, 0]
        fits = taken + size <= counts
        return taken + jnp.where(fits, size, 0), fits

    _, fits = jax.lax.scan(take, jnp.zeros_like(counts), order.T)
    chosen = jnp.zeros((n, t + 1), bool).at[rows, order].set(fits.T)
    return maskable & jnp.take_along_axis(chosen, words, axis=1)


class Pairs(NamedTuple):
    """Two stretches of text each, as [CLS] A [SEP] B [SEP] and padding.

    tokens: [n t] int32.
    segments: [n t] int32, 1 where there is a token, 0 for padding.
    types: [n t] int32, 0 up to the first [SEP], from there on 1.
    special: [n t] bool, True at [CLS], [SEP] and padding.
    label: [n] int32, 1 where B follows A in its document, 0 where it is of another example, -1
      where the row has no two neighbours of one document, or B is empty: such a pair is to be left
      out.
    """

    tokens: Array
    segments: Array
    types: Array
    special: Array
    label: Array


def sentence_pairs(
    key: Key[Array, ""],
    tokens: Int[Array, "n t"],
    segments: Int[Array, "n t"],
    *,
    cls_token: int,
    sep_token: int,
    pad_token: int,
) -> Pairs:
    """Cuts a document of each row in two; for half of them the second part is another row's.

    The cut is uniform over the places of the row with the same document on both sides. A is the
    document up to it, B what follows, to the document's end or to the end of the row: of the row
    itself, or of another one from the same place on. A pair that is too long loses the end of B.

    Args:
      key: PRNG key.
      tokens, segments: packed rows (`jssl.data.packing.pack`), of t >= 5. A single row has no
        other to take from, and no label.
      cls_token, sep_token, pad_token: the special tokens.

    BERT cuts where a sentence ends and takes the other part from another document. Here the cut
    may lie within a sentence, equally so for both kinds of pair, and another row may hold another
    part of the same document.

    Raises:
      ValueError: if rows have less than 5 places.

    Source: Devlin et al. 2018, arXiv 1810.04805, section 3.1 (Task #2).
    """
    n, t = tokens.shape
    if t < 5:
        raise ValueError(f"sentence pairs need rows of at least 5 tokens, got {t}")
    k_cut, k_next, k_other = jax.random.split(key, 3)
    place = jnp.arange(t, dtype=jnp.int32)[None]
    # Places 1 to t - 4, so that A, B, and three special tokens find room.
    same = (segments == jnp.roll(segments, 1, axis=1)) & (segments > 0)
    same &= (place >= 1) & (place <= t - 4)
    drawn = jax.random.uniform(k_cut, (n, t), jnp.float32)
    cut = jnp.argmax(jnp.where(same, drawn, -1), axis=1).astype(jnp.int32)[:, None]
    cut = jnp.maximum(cut, 1)
    is_next = jax.random.bernoulli(k_next, 0.5, (n,))
    own = jnp.arange(n, dtype=jnp.int32)
    other = (own + jax.random.randint(k_other, (n,), 1, max(n, 2), jnp.int32)) % n
    partner = jnp.where(is_next, own, other)

    def stretch(rows, at, chosen):
        """Which of the places are of the document at place ``at`` of these rows, and there."""
        document = jnp.take_along_axis(rows, at, axis=1)
        return chosen & (rows == document) & (document > 0)

    is_a = stretch(segments, cut - 1, place < cut)
    is_b = stretch(segments[partner], cut, place >= cut)
    length_a = jnp.sum(is_a, axis=1, dtype=jnp.int32)[:, None]
    length_b = jnp.sum(is_b, axis=1, dtype=jnp.int32)[:, None]
    length_b = jnp.minimum(length_b, t - 3 - length_a)
    first_sep, last_sep = length_a + 1, length_a + length_b + 2
    # A begins where its document does; B at the cut.
    from_a = jnp.take_along_axis(tokens, (place - 1 + cut - length_a) % t, axis=1)
    from_b = jnp.take_along_axis(tokens[partner], (place - first_sep - 1 + cut) % t, axis=1)
    there = place <= last_sep
    special = (place == 0) | (place == first_sep) | (place >= last_sep)
    filled = jnp.where(place < first_sep, from_a, from_b)
    marks = jnp.where(place == 0, cls_token, jnp.where(there, sep_token, pad_token))
    known = same.any(axis=1) & (length_b[:, 0] > 0) & (n > 1)
    return Pairs(
        jnp.where(special, marks.astype(tokens.dtype), filled),
        there.astype(jnp.int32),
        ((place > first_sep) & there).astype(jnp.int32),
        special,
        jnp.where(known, is_next.astype(jnp.int32), -1),
    )
