"""The one interface: a pretext task is a tuple of pure functions."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

PyTree = Any
Array = jax.Array
Batch = dict[str, Any]


def unlabeled(batch: Batch) -> tuple[Batch, int]:
    """The unlabelled examples of a batch as one of their own, and how many stand beside each.

    They come as ``batch["unlabeled"]``, arrays [n u ...], and go as [n * u ...]: those beside an
    example after each other, so that a sharded batch stays where it is.

    Raises:
      ValueError: if there are none.
    """
    if "unlabeled" not in batch:
        raise ValueError(
            "data.labels and data.unlabeled must be given: the method learns from few labels and "
            "many unlabelled examples"
        )
    n, beside = batch["unlabeled"]["index"].shape
    flat = {k: x.reshape(n * beside, *x.shape[2:]) for k, x in batch["unlabeled"].items()}
    return flat, beside


class Vars(NamedTuple):
    """All that a method carries from step to step; all of it is checkpointed.

    params: differentiated; what the optimizer sees.
    state: carried, never differentiated: batch statistics, EMA teacher, queue, centre, bank.
    """

    params: PyTree
    state: PyTree


class Out(NamedTuple):
    """What a loss returns beside its scalar.

    state: the state after this forward pass, of the same structure and shapes as before it.
    metrics: scalars; always ``loss``, and ``proxy_accuracy`` (in [0, 1]) where the pretext task
      can be right or wrong, beside ``chance``, what guessing scores, where that says much.
    """

    state: PyTree
    metrics: dict[str, Array]


class Features(NamedTuple):
    """What an encoder returns, in float32 or wider.

    pooled: [n d], one vector an example.
    tokens: [n t d] or [n h w d] for dense tasks; None where there are none.
    """

    pooled: Array
    tokens: Array | None


class Codes(NamedTuple):
    """What a tokenizer has beside the rest: examples as grids of discrete codes, and back.

    k: how many codes there are.
    encode: ``(params, state, batch) -> [n h w]``, int32 in [0, k), of the raw batch.
    decode: ``(params, state, codes) -> pictures``, [n h w c] in [0, 1].
    """

    k: int
    encode: Callable[[PyTree, PyTree, Batch], Array]
    decode: Callable[[PyTree, PyTree, Array], Array]


class Language(NamedTuple):
    """What a method that predicts tokens says of a text.

    logits: ``(params, state, batch) -> [n t k]``: at each place those of its token, where both
      sides are seen, or those of the next.
    advance: of a causal method, ``(params, cache, tokens, at, room) -> (logits, cache)``: those of
      the next token after each of some [n t], of which the first stands at place ``at`` of
      ``room``; the cache holds what came before, None at first. Else None.
    """

    logits: Callable[[PyTree, PyTree, Batch], Array]
    advance: Callable[[PyTree, PyTree, Array, Array, int], tuple[Array, PyTree]] | None = None


class Towers(NamedTuple):
    """What a method says of images and of captions, in one space: partners have a high cosine.

    image: ``(params, state, batch) -> [n d]``, of the raw, unaugmented ``image``.
    text: ``(params, state, batch) -> [n d]``, of the ``tokens`` and ``segments`` of a batch.
    """

    image: Callable[[PyTree, PyTree, Batch], Array]
    text: Callable[[PyTree, PyTree, Batch], Array]


class Method(NamedTuple):
    """A pretext task, fine-tuning included, as a handful of pure functions.

    init: ``(key, batch) -> Vars``. Shapes come from the batch, values do not.
    views: ``(key, batch) -> views``. Augmentation and masking, on the device, inside the step.
    loss: ``(params, state, views, key, step) -> (scalar, Out)``.
    adjust: ``(before, params, state, step) -> params``, right after the optimizer: what a method
      does to its parameters by other means than a gradient. Frozen layers are put back as they
      were, prototypes back on the sphere, a classifier is drawn anew. None leaves them alone.
    after: ``(params, state, step) -> state``, last of all: EMA and the like.
    embed: ``(params, state, batch) -> Features`` of the raw, unaugmented batch, normalised as in
      training; never updates the state.
    reconstruct: ``(params, state, views, key) -> dict of pictures``, arrays [n h w c] in [0, 1]
      in the order in which they are to be shown: ``original``; what the encoder was given of it,
      where that is not all (``masked``, ``noisy``, ``gray``); ``reconstruction``, with what it was
      told of the answer in brackets behind its name. None where a method fills nothing in.
    predict: ``(params, state, batch) -> logits [n k]`` of the labels, for the raw, unaugmented
      batch as in ``embed``; None where a method knows no labels.
    codes: of a method that makes a tokenizer for another, else None.
    language: of a method that predicts tokens of a text, else None.
    towers: of a method that learns from images and captions, else None.
    """

    init: Callable[[Array, Batch], Vars]
    views: Callable[[Array, Batch], PyTree]
    loss: Callable[[PyTree, PyTree, PyTree, Array, Array], tuple[Array, Out]]
    after: Callable[[PyTree, PyTree, Array], PyTree]
    embed: Callable[[PyTree, PyTree, Batch], Features]
    reconstruct: Callable[[PyTree, PyTree, PyTree, Array], dict[str, Array]] | None = None
    adjust: Callable[[PyTree, PyTree, PyTree, Array], PyTree] | None = None
    predict: Callable[[PyTree, PyTree, Batch], Array] | None = None
    codes: Codes | None = None
    language: Language | None = None
    towers: Towers | None = None
