"""A teacher: a slowly moving average of the student, or of a part of it."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jssl.method import Array, PyTree


def begin(params: PyTree, stats: PyTree, *, without: str = "") -> dict[str, PyTree]:
    """The state of a student that begins with a teacher like itself.

    Args:
      params: the student's.
      stats: its other collections, as from `forward.start`.
      without: the branch that the teacher has no use for, such as ``predictor``.

    Returns:
      ``stats`` as they are, and as ``teacher`` and ``teacher_stats`` copies of both: the train
      state is donated and may not hold one buffer twice.
    """

    def copy(tree):
        return jax.tree.map(jnp.copy, {k: branch for k, branch in tree.items() if k != without})

    teacher_stats = {collection: copy(tree) for collection, tree in stats.items()}
    return {"stats": stats, "teacher": copy(params), "teacher_stats": teacher_stats}


def follow(teacher: PyTree, student: PyTree, rate: float | Array) -> PyTree:
    """The teacher after going the share ``rate`` of the way to the student.

    ``rate`` is 1 less the momentum m (tau in BYOL): teacher = m * teacher + (1 - m) * student.
    Branches that the teacher began without do not count.
    """
    rate, student = jnp.asarray(rate), {branch: student[branch] for branch in teacher}
    return jax.tree.map(
        lambda old, new: old + rate.astype(old.dtype) * (new - old), teacher, student
    )


def slowing(momentum: float, step: Array, total_steps: int) -> Array:
    """The rate of `follow` while the momentum rises to 1 along half a cosine, float32.

    From ``1 - momentum`` at step 0 to 0 at ``total_steps`` and after. A rate, since a momentum
    so close to 1 would be rounded.

    Source: Grill et al. 2020, arXiv 2006.07733, section 3.3.
    """
    progress = jnp.minimum(jnp.asarray(step, jnp.float32) / total_steps, 1.0)
    return (1 - momentum) * (jnp.cos(jnp.pi * progress) + 1) / 2


def linear(momentum: float, final: float, step: Array, steps: int) -> Array:
    """The rate of `follow` while the momentum goes linearly to ``final``, float32.

    From ``1 - momentum`` at step 0 to ``1 - final`` at ``steps`` and after.

    Source: Baevski et al. 2022, arXiv 2202.03555, section 3.3.
    """
    progress = jnp.minimum(jnp.asarray(step, jnp.float32) / steps, 1.0)
    return (1 - momentum) + (momentum - final) * progress


def warming(first: float, last: float, epochs: int, steps_per_epoch: int) -> Callable:
    """The temperature of a teacher by step: linear from first to last, once an epoch.

    Source: Caron et al. 2021, arXiv 2104.14294, appendix C; as in the released code, the last of
    ``epochs`` values is the final one already.
    """
    by_epoch = np.asarray([*np.linspace(first, last, epochs), last])

    def temperature(step):
        return jnp.asarray(by_epoch)[jnp.minimum(step // steps_per_epoch, epochs)]

    return temperature
