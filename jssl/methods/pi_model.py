"""Pi-model: a network says the same of two views of an image, labelled or not.

Laine & Aila 2016, arXiv 1610.02242.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from jssl import require
from jssl.losses import classification, consistency
from jssl.method import Array, Batch, Method, Out, PyTree, Vars, unlabeled
from jssl.methods.supervised import Classifier
from jssl.nn.forward import forward_together, start


def ramp_up(step: Array, steps: float) -> Array:
    """exp(-5 (1 - t)^2) with t from 0 at step 0 to 1 at ``steps`` and after (section 2.1)."""
    progress = jnp.minimum(jnp.asarray(step, jnp.float32) / max(steps, 1e-6), 1.0)
    return jnp.exp(-5 * jnp.square(1 - progress))


def all_views(views: Callable[[Array, Batch], Array], key: Array, batch: Batch) -> PyTree:
    """Two views of each labelled image and, beside it, of its unlabelled ones.

    ``image`` [n (1 + u) 2 h w c] and ``label`` [n].
    """
    k_labeled, k_unlabeled = jax.random.split(key)
    others, count = unlabeled(batch)
    own, beside = views(k_labeled, batch)[:, None], views(k_unlabeled, others)
    beside = beside.reshape(len(own), count, *beside.shape[1:])
    return {"image": jnp.concatenate([own, beside], axis=1), "label": batch["label"]}


def pi_model(
    encoder: nn.Module,
    views: Callable[[Array, Batch], Array],
    prepare: Callable[[Batch], Array],
    *,
    num_classes: int,
    total_steps: int,
    weight: float = 100.0,
    ramp: float = 0.27,
) -> Method:
    """Classification of few labelled images, consistent on these and on unlabelled ones.

    Args:
      encoder: a module that returns `Features`.
      views: ``(key, batch) -> [n 2 h w c]``, two random views of each image.
      prepare: ``batch -> [n h w c]``, the unaugmented images, normalised as the views are.
      num_classes: labels are 0 to this less one.
      total_steps: of the run.
      weight: w_max. The paper divides the cross-entropy by all images of the batch and w_max by
        their number for each labelled one; here it is a mean over the labelled ones, which with
        w_max as it is gives the same sum but for a factor.
      ramp: share of the run in which the weight rises; 80 of 300 epochs in the paper.

    Raises:
      ValueError: if an option is out of range; when the step is traced, if the batch has no
        unlabelled images.
    """
    require.at_least(2, num_classes=num_classes)
    require.at_least(0, weight=weight)
    require.fraction(ramp=ramp)
    net = Classifier(encoder, num_classes)

    def init(key, batch):
        return Vars(*start(net, key, prepare(batch)))

    def both_views(key, batch):
        return all_views(views, key, batch)

    def loss(params, state, views, key, step):
        k_first, k_second = jax.random.split(key)
        first, second = jnp.moveaxis(views["image"], 2, 0)
        said, state = forward_together(net, params, state, first, k_first)
        again, state = forward_together(net, params, state, second, k_second)
        told, accuracy = classification.cross_entropy_accuracy(said[:, 0], views["label"])
        # Algorithm 1: the gradient flows into both.
        apart = consistency.squared(*(x.reshape(-1, num_classes) for x in (said, again)))
        value = told + (weight * ramp_up(step, ramp * total_steps)).astype(told.dtype) * apart
        return value, Out(state, {"loss": value, "accuracy": accuracy, "consistency": apart})

    def after(params, state, step):
        return state

    def embed(params, state, batch):
        return net.apply({"params": params, **state}, prepare(batch), method="encode")

    def predict(params, state, batch):
        return net.apply({"params": params, **state}, prepare(batch))

    return Method(init, both_views, loss, after, embed, predict=predict)
