"""BYOL: bootstrap your own latent, a new approach to self-supervised learning.

Grill, Strub, Altché, Tallec, Richemond et al. 2020, arXiv 2006.07733.
"""

from collections.abc import Callable

import flax.linen as nn
import jax

from jssl import require
from jssl.losses import regression, spread
from jssl.method import Array, Batch, Method, Out, Vars
from jssl.nn import teacher
from jssl.nn.forward import forward_apart, start
from jssl.nn.heads import MLP, JointEmbedding


def byol(
    encoder: nn.Module,
    views: Callable[[Array, Batch], Array],
    prepare: Callable[[Batch], Array],
    *,
    total_steps: int,
    tau: float = 0.996,
    hidden: int = 4096,
    out: int = 256,
    predict: bool = True,
) -> Method:
    """Distillation from oneself: predict what a slowly moving teacher says of another view.

    Args:
      encoder: f of the paper, a module that returns `Features`.
      views: ``(key, batch) -> [n 2 ...]``, two random views of each example, drawn from two
        different distributions in the paper (its table 6).
      prepare: ``batch -> [n ...]``, the unaugmented examples, normalised as the views are.
      total_steps: length of training, over which tau rises to 1.
      tau: share of the teacher kept at the first step; 0 makes the teacher the student itself.
      hidden: width of the hidden layer of projector g and predictor q.
      out: width of their outputs.
      predict: False leaves the predictor out. With ``tau=0`` this collapses, as the paper shows
        (table 5): a way to see what a collapse looks like.

    Raises:
      ValueError: if tau is outside [0, 1] or total_steps is not positive.
    """
    require.fraction(tau=tau)
    require.at_least(1, total_steps=total_steps)
    dtypes = {"dtype": encoder.dtype, "param_dtype": encoder.param_dtype}
    projector = MLP((hidden, out), bias=True, **dtypes)
    predictor = MLP((hidden, out), bias=True, **dtypes) if predict else None
    student = JointEmbedding(encoder, projector, predictor)
    target = JointEmbedding(encoder, projector)

    def init(key, batch):
        params, stats = start(student, key, prepare(batch))
        return Vars(params, teacher.begin(params, stats, without="predictor"))

    def loss(params, state, views, key, step):
        k1, k2 = jax.random.split(key)
        (student1, student2), stats = forward_apart(student, params, state["stats"], views, k1)
        (target1, target2), ema_stats = forward_apart(
            target, state["teacher"], state["teacher_stats"], views, k2
        )
        q1, q2 = (s.p if predict else s.z for s in (student1, student2))
        # Equation 2 in both directions; negative_cosine stops the gradient at the teacher.
        value = (2 + 2 * regression.negative_cosine(q1, target2.z)) + (
            2 + 2 * regression.negative_cosine(q2, target1.z)
        )
        metrics = {"loss": value} | spread.spread(student1.z, student2.z)
        return value, Out(state | {"stats": stats, "teacher_stats": ema_stats}, metrics)

    def after(params, state, step):
        # Section 3.3: tau rises from its base to 1 along a cosine.
        rate = teacher.slowing(tau, step, total_steps)
        return state | {"teacher": teacher.follow(state["teacher"], params, rate)}

    def embed(params, state, batch):
        return student.apply({"params": params, **state["stats"]}, prepare(batch), method="encode")

    return Method(init, views, loss, after, embed)
