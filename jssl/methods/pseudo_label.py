"""Pseudo-Label: what a network says of unlabelled images is taken for their labels.

Lee 2013, "Pseudo-Label: the simple and efficient semi-supervised learning method for deep neural
networks", ICML workshop on challenges in representation learning. Labels that count from some
confidence on are of Oliver et al. 2018, arXiv 1804.09170.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from jssl import require
from jssl.losses import classification, consistency
from jssl.method import Array, Batch, Method, Out, Vars, unlabeled
from jssl.methods.supervised import Classifier
from jssl.nn.forward import forward_together, start


def pseudo_label(
    encoder: nn.Module,
    view: Callable[[Array, Batch], Array],
    prepare: Callable[[Batch], Array],
    *,
    num_classes: int,
    examples: int,
    steps_per_epoch: int,
    total_steps: int,
    threshold: float = 0.95,
    weight: float = 1.0,
    ramp: tuple[float, float] = (0.0, 0.4),
    round_epochs: float = 0.0,
    balance: bool = False,
) -> Method:
    """Classification of few labelled images and many unlabelled ones.

    Args:
      encoder: a module that returns `Features`.
      view: ``(key, batch) -> [n h w c]``, one random view.
      prepare: ``batch -> [n h w c]``, the unaugmented images, normalised as the view is.
      num_classes: labels are 0 to this less one.
      examples: of the data set.
      steps_per_epoch, total_steps: of the run.
      threshold: the probability from which on a pseudo-label counts.
      weight: alpha_f, of the loss on pseudo-labels in the end; 3 in the paper.
      ramp: the shares of the run at which the weight begins to rise from 0 and is risen: T1 and T2.
      round_epochs: 0 takes what the network says now, as the paper does. Else there are rounds of
        so many epochs, in each of which the labels stay as what was last said of each image before
        it; the first has none.
      balance: of rounds: no class is given to more images than that with the fewest, of those that
        are given to any; the surest are kept.

    ``pseudo`` is the share of the unlabelled images whose pseudo-labels count.

    Raises:
      ValueError: if an option is out of range; when the step is traced, if the batch has no
        unlabelled images.
    """
    require.at_least(2, num_classes=num_classes)
    require.at_least(0, weight=weight, round_epochs=round_epochs)
    require.fraction(threshold=threshold)
    if not 0 <= ramp[0] < ramp[1] <= 1:
        raise ValueError(f"ramp must be (T1, T2) with 0 <= T1 < T2 <= 1, got {ramp}")
    if balance and not round_epochs:
        raise ValueError("round_epochs must be > 0 for labels to be balanced, got 0")
    every = max(1, round(round_epochs * steps_per_epoch))
    net = Classifier(encoder, num_classes)

    def init(key, batch):
        params, stats = start(net, key, prepare(batch))
        if not round_epochs:
            return Vars(params, {"stats": stats})
        none = jnp.full(examples, -1, jnp.int32)
        memory = {"said": none, "given": jnp.copy(none), "sure": jnp.zeros(examples, jnp.float32)}
        return Vars(params, {"stats": stats, **memory})

    def views(key, batch):
        k_labeled, k_unlabeled = jax.random.split(key)
        others, count = unlabeled(batch)
        own, beside = view(k_labeled, batch)[:, None], view(k_unlabeled, others)
        beside = beside.reshape(len(own), count, *beside.shape[1:])
        images = jnp.concatenate([own, beside], axis=1)
        return {"image": images, "label": batch["label"], "index": others["index"]}

    def loss(params, state, views, key, step):
        logits, stats = forward_together(net, params, state["stats"], views["image"], key)
        told, accuracy = classification.cross_entropy_accuracy(logits[:, 0], views["label"])
        others, index = logits[:, 1:].reshape(-1, num_classes), views["index"]
        said, sure = consistency.pseudo_labels(others)
        labels, counts, moved = said, sure >= threshold, {"stats": stats}
        if round_epochs:
            labels = state["given"][index]
            counts = labels >= 0
            moved["said"] = state["said"].at[index].set(said)
            moved["sure"] = state["sure"].at[index].set(sure.astype(jnp.float32))
        followed = consistency.confident_cross_entropy(others, labels, counts)
        # Equations 15 and 16.
        begin, end = (share * total_steps for share in ramp)
        alpha = weight * jnp.clip((step.astype(jnp.float32) - begin) / (end - begin), 0, 1)
        value = told + alpha.astype(told.dtype) * followed
        metrics = {
            "loss": value,
            "accuracy": accuracy,
            "unlabeled_loss": followed,
            "pseudo": jnp.mean(counts.astype(value.dtype)),
        }
        return value, Out(state | moved, metrics)

    def after(params, state, step):
        if not round_epochs:
            return state
        given = jax.lax.cond(
            (step + 1) % every == 0,
            lambda: give(state["said"], state["sure"], num_classes, threshold, balance),
            lambda: state["given"],
        )
        return state | {"given": given}

    def embed(params, state, batch):
        return net.apply({"params": params, **state["stats"]}, prepare(batch), method="encode")

    def predict(params, state, batch):
        return net.apply({"params": params, **state["stats"]}, prepare(batch))

    return Method(init, views, loss, after, embed, predict=predict)


def give(said: Array, sure: Array, k: int, threshold: float, balance: bool) -> Array:
    """The pseudo-labels of a round, [m] int32 and -1 for none, of classes and their probabilities.

    See ``threshold`` and ``balance`` of `pseudo_label`.
    """
    label = jnp.where((said >= 0) & (sure >= threshold), said, -1)
    if not balance:
        return label
    # Place of each in its class, the surest first.
    order = jnp.lexsort((-sure, label))
    counts = jnp.sum(label[None, :] == jnp.arange(k, dtype=jnp.int32)[:, None], axis=1)
    begins = jnp.sum(label < 0) + jnp.cumsum(counts) - counts
    places = jnp.argsort(order) - begins[jnp.maximum(label, 0)]
    fewest = jnp.min(jnp.where(counts > 0, counts, len(said)))
    return jnp.where(places < fewest, label, -1)
