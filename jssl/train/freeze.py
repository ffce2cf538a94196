"""Parameters that do not learn: never, or not before their turn."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from jssl.method import Array, Method, PyTree

NEVER = math.inf


def freeze(method: Method, begins: Callable[[PyTree], PyTree]) -> Method:
    """The method with parameters that learn from a step of their own on, or never.

    Until then they do not change by a bit, and their gradient is zero. That of parameters that
    never learn is a constant for the compiler, and not computed. That of others is computed and
    left out, as one program serves all steps: what an optimizer makes of gradients is zero until
    then, what it makes of weight decay is not.

    Args:
      method: any.
      begins: of its parameters, whose values do not count, for each the first step at which it
        learns: 0 for all steps, `NEVER` for none. Called at ``init``, so that it can refuse.

    An optimizer that is to keep nothing of frozen parameters is told so by
    `jssl.train.optimizers.build`.
    """

    def init(key, batch):
        begun = method.init(key, batch)
        begins(begun.params)
        return begun

    def loss(params, state, views, key, step):
        still = jax.tree.map(jax.lax.stop_gradient, params)
        return method.loss(_learning(still, params, step), state, views, key, step)

    def adjust(before, params, state, step):
        if method.adjust is not None:
            params = method.adjust(before, params, state, step)
        return _learning(before, params, step)

    def _learning(old, new, step):
        """The new where they learn, else the old."""
        return jax.tree.map(lambda x, y, begin: _from(begin, step, x, y), old, new, begins(new))

    return method._replace(init=init, loss=loss, adjust=adjust)


def never(frozen: Callable[[PyTree], PyTree], params: PyTree) -> PyTree:
    """What `freeze` asks for, where ``frozen`` says of each parameter whether it never learns."""
    return jax.tree.map(lambda held: NEVER if held else 0, frozen(params))


def _from(begin: float, step: Array, old: Array, new: Array) -> Array:
    if begin in (0, NEVER):
        return old if begin else new
    return jnp.where(step < begin, old, new)
