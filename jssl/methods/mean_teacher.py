"""Mean Teacher: an average of the students' parameters says what the next student shall say.

Tarvainen & Valpola 2017, arXiv 1703.01780.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from jssl import require
from jssl.losses import classification, consistency
from jssl.method import Array, Batch, Method, Out, Vars
from jssl.methods.pi_model import all_views, ramp_up
from jssl.methods.supervised import Classifier
from jssl.nn import teacher
from jssl.nn.forward import forward_together, start


def mean_teacher(
    encoder: nn.Module,
    views: Callable[[Array, Batch], Array],
    prepare: Callable[[Batch], Array],
    *,
    num_classes: int,
    total_steps: int,
    weight: float = 100.0,
    ramp: float = 0.3,
    first_momentum: float = 0.99,
    momentum: float = 0.999,
) -> Method:
    """Classification of few labelled images, consistent on these and on unlabelled ones.

    Args:
      encoder: a module that returns `Features`.
      views: ``(key, batch) -> [n 2 h w c]``, two random views: of the student and of the teacher.
      prepare: ``batch -> [n h w c]``, the unaugmented images, normalised as the views are.
      num_classes: labels are 0 to this less one.
      total_steps: of the run.
      weight: of the consistency cost after its ramp-up; 100 for CIFAR-10 in the released code.
      ramp: share of the run in which the weight rises; 40,000 of 150,000 steps there.
      first_momentum: alpha of the teacher during the ramp-up.
      momentum: alpha after it.

    Raises:
      ValueError: if an option is out of range; when the step is traced, if the batch has no
        unlabelled images.
    """
    require.at_least(2, num_classes=num_classes)
    require.at_least(0, weight=weight)
    require.fraction(ramp=ramp, first_momentum=first_momentum, momentum=momentum)
    net = Classifier(encoder, num_classes)

    def init(key, batch):
        params, stats = start(net, key, prepare(batch))
        return Vars(params, teacher.begin(params, stats))

    def both_views(key, batch):
        return all_views(views, key, batch)

    def loss(params, state, views, key, step):
        k_student, k_teacher = jax.random.split(key)
        first, second = jnp.moveaxis(views["image"], 2, 0)
        said, stats = forward_together(net, params, state["stats"], first, k_student)
        # Section 2: the teacher has noise of its own, and statistics of its own.
        asked, asked_stats = forward_together(
            net, state["teacher"], state["teacher_stats"], second, k_teacher
        )
        told, accuracy = classification.cross_entropy_accuracy(said[:, 0], views["label"])
        flat = [x.reshape(-1, num_classes) for x in (said, jax.lax.stop_gradient(asked))]
        apart = consistency.squared(*flat)
        value = told + (weight * ramp_up(step, ramp * total_steps)).astype(told.dtype) * apart
        metrics = {"loss": value, "accuracy": accuracy, "consistency": apart}
        return value, Out(state | {"stats": stats, "teacher_stats": asked_stats}, metrics)

    def after(params, state, step):
        # Section 3.4: quick as long as the student learns quickly; at first the mean of all
        # students until then, as in the released code.
        step = step.astype(jnp.float32)
        alpha = jnp.where(step < ramp * total_steps, first_momentum, momentum)
        alpha = jnp.minimum(alpha, 1 - 1 / (step + 2))
        return state | {"teacher": teacher.follow(state["teacher"], params, 1 - alpha)}

    def embed(params, state, batch):
        return apply(state, batch, method="encode")

    def predict(params, state, batch):
        return apply(state, batch)

    def apply(state, batch, **options):
        variables = {"params": state["teacher"], **state["teacher_stats"]}
        return net.apply(variables, prepare(batch), **options)

    return Method(init, both_views, loss, after, embed, predict=predict)
