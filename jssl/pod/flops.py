"""Model FLOPs: multiplications and additions of the matrix products and convolutions, by shape.

A compiler counts the body of a loop once, and what it adds itself (padding, recomputation); this
count knows the program only.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax


def count(function: Callable, *arguments: Any) -> int:
    """FLOPs of one call, two for each multiply-and-add.

    A ``scan`` counts as often as it runs, a ``while``, whose end is not known, once. Of the
    branches of a ``cond`` the costliest counts. Zeros that the gradient of a strided convolution
    is dilated with are not counted, those of padding are.

    Args:
      function: pure, traced and never run.
      arguments: arrays, or their `jax.ShapeDtypeStruct`.
    """
    return _jaxpr(jax.make_jaxpr(function)(*arguments).jaxpr)


def _jaxpr(jaxpr: Any) -> int:
    return sum(_equation(equation) for equation in jaxpr.eqns)


def _equation(equation: Any) -> int:
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        (contracting, _), _ = params["dimension_numbers"]
        shape = equation.invars[0].aval.shape
        inner = math.prod(shape[axis] for axis in contracting)
        return 2 * math.prod(equation.outvars[0].aval.shape) * inner
    if name == "conv_general_dilated":
        spec = params["dimension_numbers"].rhs_spec  # out, in, spatial axes of the kernel
        kernel = equation.invars[1].aval.shape
        inner = math.prod(kernel[axis] for axis in spec[1:])
        outputs = math.prod(equation.outvars[0].aval.shape)
        return 2 * outputs * inner // math.prod(params["lhs_dilation"])
    inside = [_jaxpr(jaxpr) for jaxpr in _jaxprs(params)]
    if name == "scan":
        return params["length"] * sum(inside)
    if name == "cond":
        return max(inside)
    if name == "shard_map":  # its body is written for one device
        manual = params.get("newly_manual_axes", params.get("manual_axes"))  # by version of jax
        return math.prod(params["mesh"].shape[axis] for axis in manual) * sum(inside)
    return sum(inside)


def _jaxprs(params: dict) -> Iterator[Any]:
    """The programs within an equation, each once."""
    for value in params.values():
        for item in value if isinstance(value, (tuple, list)) else (value,):
            item = getattr(item, "jaxpr", item)
            if hasattr(item, "eqns"):
                yield item
