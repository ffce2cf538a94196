"""BYOL: bootstrap your own latent, a new approach to self-supervised learning.

Grill, Strub, Altché, Tallec, Richemond et al. 2020, arXiv 2006.07733.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from jssl.losses import regression
from jssl.method import Array, Batch, Method, Out, Vars
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
    if not 0 <= tau <= 1:
        raise ValueError(f"tau must be in [0, 1], got {tau}")
    if total_steps < 1:
        raise ValueError(f"total_steps must be at least 1, got {total_steps}")
    dtypes = {"dtype": encoder.dtype, "param_dtype": encoder.param_dtype}
    projector = MLP((hidden, out), bias=True, **dtypes)
    predictor = MLP((hidden, out), bias=True, **dtypes) if predict else None
    student = JointEmbedding(encoder, projector, predictor)
    teacher = JointEmbedding(encoder, projector)

    def without_predictor(tree):
        return {name: leaf for name, leaf in tree.items() if name != "predictor"}

    def init(key, batch):
        variables = dict(student.init(key, prepare(batch), train=False))
        params = variables.pop("params")
        teacher_vars = {
            name: without_predictor(tree) for name, tree in ({"params": params} | variables).items()
        }
        # A copy, since the train state is donated and may not hold one buffer twice.
        teacher_vars = jax.tree.map(jnp.copy, teacher_vars)
        return Vars(params, {"student": variables, "teacher": teacher_vars})

    def run(net, params, stats, x, key):
        # Each view passes alone, so that batch norm sees the views of one distribution at a time.
        out, stats = net.apply(
            {"params": params, **stats}, x, train=True, mutable=list(stats), rngs={"dropout": key}
        )
        return out, dict(stats)

    def loss(params, state, views, key, step):
        teacher_params, teacher_stats = _split(state["teacher"])
        stats, keys = state["student"], jax.random.split(key, 4)
        student1, stats = run(student, params, stats, views[:, 0], keys[0])
        student2, stats = run(student, params, stats, views[:, 1], keys[1])
        teacher1, teacher_stats = run(teacher, teacher_params, teacher_stats, views[:, 0], keys[2])
        teacher2, teacher_stats = run(teacher, teacher_params, teacher_stats, views[:, 1], keys[3])
        q1, q2 = (s.p if predict else s.z for s in (student1, student2))
        # Equation 2 in both directions; negative_cosine stops the gradient at the teacher.
        value = (2 + 2 * regression.negative_cosine(q1, teacher2.z)) + (
            2 + 2 * regression.negative_cosine(q2, teacher1.z)
        )
        state = {"student": stats, "teacher": {"params": teacher_params, **teacher_stats}}
        return value, Out(state, {"loss": value})

    def after(params, state, step):
        # Section 3.3: tau rises from its base to 1 along a cosine.
        progress = jnp.asarray(step, jnp.float32) / total_steps
        rate = (1 - tau) * (jnp.cos(jnp.pi * progress) + 1) / 2

        def towards(old, new):
            return old + rate.astype(old.dtype) * (new - old)

        online = without_predictor(params)
        new = jax.tree.map(towards, state["teacher"]["params"], online)
        return {"student": state["student"], "teacher": state["teacher"] | {"params": new}}

    def embed(params, state, batch):
        variables = {"params": params, **state["student"]}
        return student.apply(variables, prepare(batch), method="encode")

    return Method(init, views, loss, after, embed)


def _split(variables):
    stats = dict(variables)
    return stats.pop("params"), stats
