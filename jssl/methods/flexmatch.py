"""FlexMatch: FixMatch with a threshold for each class, lower for those learned less well.

Zhang, Wang, Hou, Wu, Wang, Okumura & Shinozaki 2021, arXiv 2110.08263.
"""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp

from jssl import require
from jssl.losses import classification, consistency
from jssl.method import Array, Batch, Method, Out, Vars, unlabeled
from jssl.methods.fixmatch import fixmatch
from jssl.methods.supervised import Classifier
from jssl.nn.forward import forward_together


def flexmatch(
    encoder: nn.Module,
    view: Callable[[Array, Batch], Array],
    views: Callable[[Array, Batch], Array],
    prepare: Callable[[Batch], Array],
    *,
    num_classes: int,
    examples: int,
    threshold: float = 0.95,
    weight: float = 1.0,
    momentum: float = 0.999,
) -> Method:
    """Classification of few labelled images and many unlabelled ones, by a curriculum.

    Args:
      encoder, view, views, prepare, num_classes, weight, momentum: as of `fixmatch`.
      examples: of the data set. What was last told of each with confidence is kept in the state, by
        ``batch["unlabeled"]["index"]``.
      threshold: tau, that of the class that is learned best, and of what counts as learned.

    ``pseudo`` is the share of pseudo-labels that count, ``least_threshold`` that of the class that
    is learned least.

    Raises:
      ValueError: as of `fixmatch`.
    """
    require.at_least(1, examples=examples)
    options = {"threshold": threshold, "weight": weight, "momentum": momentum}
    plain = fixmatch(encoder, view, views, prepare, num_classes=num_classes, **options)
    net = Classifier(encoder, num_classes)

    def init(key, batch):
        params, state = plain.init(key, batch)
        return Vars(params, state | {"selected": jnp.full(examples, -1, jnp.int32)})

    def both_views(key, batch):
        return plain.views(key, batch) | {"index": unlabeled(batch)[0]["index"]}

    def loss(params, state, views, key, step):
        logits, stats = forward_together(net, params, state["stats"], views["image"], key)
        weak, strong = jnp.moveaxis(logits[:, 1:].reshape(-1, 2, num_classes), 1, 0)
        told, accuracy = classification.cross_entropy_accuracy(logits[:, 0], views["label"])
        # Sections 3.1 to 3.3: thresholds by what was selected before this step.
        selected, index = state["selected"], views["index"]
        thresholds = consistency.flexible_thresholds(selected, num_classes, threshold)
        labels, sure = consistency.pseudo_labels(weak)
        counts = sure >= thresholds[labels].astype(sure.dtype)
        followed = consistency.confident_cross_entropy(strong, labels, counts)
        # Algorithm 1: learned is what passes tau itself.
        now = jnp.where(sure > threshold, labels, selected[index])
        value = told + weight * followed
        metrics = {
            "loss": value,
            "accuracy": accuracy,
            "unlabeled_loss": followed,
            "pseudo": jnp.mean(counts.astype(value.dtype)),
            "least_threshold": thresholds.min(),
        }
        moved = {"stats": stats, "selected": selected.at[index].set(now)}
        return value, Out(state | moved, metrics)

    return plain._replace(init=init, views=both_views, loss=loss)
