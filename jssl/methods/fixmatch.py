"""FixMatch: what is sure of a weakly augmented image is the label of a strongly augmented one.

Sohn, Berthelot, Li, Zhang, Carlini, Cubuk, Kurakin, Zhang & Raffel 2020, arXiv 2001.07685.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from jssl import require
from jssl.losses import classification, consistency
from jssl.method import Array, Batch, Method, Out, Vars, unlabeled
from jssl.methods.supervised import Classifier
from jssl.nn import teacher
from jssl.nn.forward import forward_together, start


def fixmatch(
    encoder: nn.Module,
    view: Callable[[Array, Batch], Array],
    views: Callable[[Array, Batch], Array],
    prepare: Callable[[Batch], Array],
    *,
    num_classes: int,
    threshold: float = 0.95,
    weight: float = 1.0,
    momentum: float = 0.999,
) -> Method:
    """Classification of few labelled images and many unlabelled ones.

    Args:
      encoder: a module that returns `Features`.
      view: ``(key, batch) -> [n h w c]``, one weak view: flip and shift.
      views: ``(key, batch) -> [n 2 h w c]``, a weak view and a strong one.
      prepare: ``batch -> [n h w c]``, the unaugmented images, normalised as the views are.
      num_classes: labels are 0 to this less one.
      threshold: tau, the probability from which on a pseudo-label counts.
      weight: lambda_u of the loss on unlabelled images.
      momentum: of the moving average of the parameters that is used in the end.

    ``pseudo`` is the share of pseudo-labels that count.

    Raises:
      ValueError: if an option is out of range; when the step is traced, if the batch has no
        unlabelled images.
    """
    require.at_least(2, num_classes=num_classes)
    require.fraction(threshold=threshold, momentum=momentum)
    require.at_least(0, weight=weight)
    net = Classifier(encoder, num_classes)

    def init(key, batch):
        params, stats = start(net, key, prepare(batch))
        state = teacher.begin(params, stats)
        return Vars(params, {name: state[name] for name in ("stats", "teacher")})

    def both_views(key, batch):
        k_labeled, k_unlabeled = jax.random.split(key)
        others, count = unlabeled(batch)
        weak, pairs = view(k_labeled, batch)[:, None], views(k_unlabeled, others)
        pairs = pairs.reshape(len(weak), 2 * count, *pairs.shape[2:])
        return {"image": jnp.concatenate([weak, pairs], axis=1), "label": batch["label"]}

    def loss(params, state, views, key, step):
        # One pass of all, so that batch norm sees them together, as in the released code.
        logits, stats = forward_together(net, params, state["stats"], views["image"], key)
        weak, strong = jnp.moveaxis(logits[:, 1:].reshape(-1, 2, num_classes), 1, 0)
        # Equation 3.
        told, accuracy = classification.cross_entropy_accuracy(logits[:, 0], views["label"])
        # Equation 4.
        labels, sure = consistency.pseudo_labels(weak)
        counts = sure >= threshold
        followed = consistency.confident_cross_entropy(strong, labels, counts)
        value = told + weight * followed
        metrics = {
            "loss": value,
            "accuracy": accuracy,
            "unlabeled_loss": followed,
            "pseudo": jnp.mean(counts.astype(value.dtype)),
        }
        return value, Out(state | {"stats": stats}, metrics)

    def after(params, state, step):
        return state | {"teacher": teacher.follow(state["teacher"], params, 1 - momentum)}

    def embed(params, state, batch):
        return apply(state, batch, method="encode")

    def predict(params, state, batch):
        return apply(state, batch)

    def apply(state, batch, **options):
        # The average of the parameters with the statistics of the last, as in the released code.
        variables = {"params": state["teacher"], **state["stats"]}
        return net.apply(variables, prepare(batch), **options)

    return Method(init, both_views, loss, after, embed, predict=predict)
