"""A teacher: a slowly moving average of the student, or of a part of it."""

import jax
import jax.numpy as jnp

from jssl.method import Array, PyTree


def begin(student: PyTree) -> PyTree:
    """A copy, since the train state is donated and may not hold one buffer twice."""
    return jax.tree.map(jnp.copy, student)


def follow(teacher: PyTree, student: PyTree, rate: float | Array) -> PyTree:
    """The teacher after going the share ``rate`` of the way to the student.

    ``rate`` is 1 less the momentum m (tau in BYOL): teacher = m * teacher + (1 - m) * student.
    """
    rate = jnp.asarray(rate)
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


def without(tree: PyTree, *names: str) -> PyTree:
    """The tree less the branches of these names: a teacher has no predictor."""
    return {name: branch for name, branch in tree.items() if name not in names}
