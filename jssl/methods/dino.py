"""DINO: emerging properties in self-supervised vision transformers.

Caron, Touvron, Misra, Jégou, Mairal, Bojanowski & Joulin 2021, arXiv 2104.14294.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jssl import require
from jssl.losses import clustering, spread
from jssl.method import Array, Batch, Method, Out, Vars
from jssl.nn import teacher
from jssl.nn.forward import forward_crops, start
from jssl.nn.heads import DINOHead, JointEmbedding, freeze_last_layers


def dino(
    encoder: nn.Module,
    crops: Callable[[Array, Batch], list[Array]],
    prepare: Callable[[Batch], Array],
    *,
    total_steps: int,
    steps_per_epoch: int,
    momentum: float = 0.996,
    student_temperature: float = 0.1,
    teacher_temperature: float = 0.07,
    warmup_teacher_temperature: float = 0.04,
    warmup_teacher_epochs: int = 30,
    center_momentum: float = 0.9,
    freeze_last_layer_epochs: int = 1,
    k: int = 65536,
    hidden: int = 2048,
    bottleneck: int = 256,
    norm: str | None = None,
    norm_last_layer: bool = True,
) -> Method:
    """Self-distillation with no labels: a teacher's soft assignment of one view from another.

    Args:
      encoder: the backbone, a module that returns `Features`.
      crops: ``(key, batch) -> [[n 2 h w c], [n l p q c]]``: the two large views, which the teacher
        sees, and l small ones, which may be left out.
      prepare: ``batch -> [n ...]``, the unaugmented examples, normalised as the views are.
      total_steps: length of training, over which the teacher's momentum rises to 1.
      steps_per_epoch: what an epoch is to the options that count in epochs.
      momentum: share of the teacher kept at the first step.
      student_temperature: of the student's softmax.
      teacher_temperature: of the teacher's, after the warm-up.
      warmup_teacher_temperature: of the teacher's in the first epoch.
      warmup_teacher_epochs: epochs over which it goes linearly from there, once an epoch.
      center_momentum: share of the centre kept at each step.
      freeze_last_layer_epochs: epochs in which the last layer stays as it was drawn.
      k: outputs of the head, of which each view gets a distribution.
      hidden: width of the head's hidden layers.
      bottleneck: width before its last layer.
      norm: of its hidden layers: None, "batch" or "layer".
      norm_last_layer: False lets the columns of the last layer learn their length.

    Raises:
      ValueError: if a momentum is outside [0, 1], a temperature is not positive, or a length or
        width is not.
    """
    require.fraction(momentum=momentum, center_momentum=center_momentum)
    require.positive(
        student_temperature=student_temperature,
        teacher_temperature=teacher_temperature,
        warmup_teacher_temperature=warmup_teacher_temperature,
    )
    require.at_least(1, k=k, hidden=hidden, bottleneck=bottleneck)
    require.at_least(1, total_steps=total_steps, steps_per_epoch=steps_per_epoch)
    require.at_least(0, warmup_teacher_epochs=warmup_teacher_epochs)
    require.at_least(0, freeze_last_layer_epochs=freeze_last_layer_epochs)
    dtypes = {"dtype": encoder.dtype, "param_dtype": encoder.param_dtype}
    head = DINOHead(k, hidden, bottleneck, norm, norm_last_layer, **dtypes)
    student = JointEmbedding(encoder, head)
    # The teacher skips no branch of its blocks, though the student may.
    whole = encoder.clone(drop_path=0.0) if hasattr(encoder, "drop_path") else encoder
    target = JointEmbedding(whole, head)
    temperature = teacher.warming(
        warmup_teacher_temperature, teacher_temperature, warmup_teacher_epochs, steps_per_epoch
    )

    def held(params, kept, step):
        """The parameters with this last layer as long as it is frozen."""
        return freeze_last_layers(params, kept, step < freeze_last_layer_epochs * steps_per_epoch)

    def init(key, batch):
        params, stats = start(student, key, prepare(batch))
        center = jnp.zeros(k, np.promote_types(encoder.param_dtype, np.float32))
        return Vars(params, teacher.begin(params, stats) | {"center": center})

    def loss(params, state, crops, key, step):
        keys, center = jax.random.split(key), state["center"]
        # A frozen layer has no gradient either, so that neither clipping nor momentum sees it.
        params = held(params, jax.lax.stop_gradient(params), step)
        ((z, said), _), stats = forward_crops(student, params, state["stats"], crops, keys[0])
        # Global views alone through the teacher: "local-to-global" (section 3.1).
        ((_, asked), _), ema_stats = forward_crops(
            target, state["teacher"], state["teacher_stats"], crops[:1], keys[1]
        )
        said, asked = jnp.swapaxes(said, 0, 1), jnp.swapaxes(asked, 0, 1)
        metrics = clustering.dino_metrics(
            said, asked, center, student_temperature, temperature(step)
        )
        # Equation 4, for the next step: this one's targets are centred by what came before.
        center = clustering.follow_center(center, asked, center_momentum)
        state = state | {"stats": stats, "teacher_stats": ema_stats, "center": center}
        return metrics["loss"], Out(state, metrics | spread.spread(z[:, 0], z[:, 1]))

    def adjust(before, params, state, step):
        return held(params, before, step)

    def after(params, state, step):
        rate = teacher.slowing(momentum, step, total_steps)
        return state | {"teacher": teacher.follow(state["teacher"], params, rate)}

    def embed(params, state, batch):
        # The teacher is the better of the two at all times (section 5.2).
        variables = {"params": state["teacher"], **state["teacher_stats"]}
        return target.apply(variables, prepare(batch), method="encode")

    return Method(init, crops, loss, after, embed, adjust=adjust)
