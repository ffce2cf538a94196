"""Model FLOPs against counts by hand."""

from functools import partial

import jax
import jax.numpy as jnp
import pytest
from jax import lax
from jax.sharding import PartitionSpec

from jssl.pod import flops
from jssl.train import shard


def f32(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def conv(x, kernel, stride=1, groups=1):
    padding = [(1, 1), (1, 1)]
    numbers = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), padding, None, None, numbers, feature_group_count=groups
    )


def loop(x, w):
    return lax.scan(lambda x, _: (jnp.tanh(x @ w), None), x, None, length=7)[0]


PRODUCT = 2 * 3 * 4 * 4


@pytest.mark.parametrize(
    ("function", "shapes", "expected"),
    [
        (jnp.matmul, [(3, 4), (4, 5)], 2 * 3 * 4 * 5),
        (lambda x, w: jnp.einsum("bij,bkj->bik", x, w), [(6, 3, 4), (6, 5, 4)], 6 * 2 * 3 * 4 * 5),
        (jax.vmap(jnp.matmul, (0, None)), [(6, 3, 4), (4, 5)], 6 * 2 * 3 * 4 * 5),
        (loop, [(3, 4), (4, 4)], 7 * PRODUCT),
        (jax.jit(loop), [(3, 4), (4, 4)], 7 * PRODUCT),
        # Forward, gradient of the input, gradient of the weights; each in the loop.
        (jax.grad(lambda x, w: loop(x, w).sum(), (0, 1)), [(3, 4), (4, 4)], 3 * 7 * PRODUCT),
        # Recomputing is counted: it is in the program.
        (
            jax.grad(lambda x, w: jax.checkpoint(loop)(x, w).sum(), (0, 1)),
            [(3, 4), (4, 4)],
            4 * 7 * PRODUCT,
        ),
        # The costlier branch.
        (
            lambda x, w: lax.cond(x[0, 0] > 0, lambda: x @ w, lambda: x @ w @ w),
            [(3, 4), (4, 4)],
            2 * PRODUCT,
        ),
        (lambda x, w: jnp.exp(x) * 2 + w, [(3, 4), (3, 4)], 0),
        # 8x8 outputs, then 4x4 with stride 2; 3x3 kernels from 5 to 6 channels.
        (conv, [(2, 8, 8, 5), (3, 3, 5, 6)], 2 * 2 * 64 * 9 * 5 * 6),
        (partial(conv, stride=2), [(2, 8, 8, 5), (3, 3, 5, 6)], 2 * 2 * 16 * 9 * 5 * 6),
        (partial(conv, groups=2), [(2, 8, 8, 6), (3, 3, 3, 4)], 2 * 2 * 64 * 9 * 3 * 4),
    ],
)
def test_by_hand(function, shapes, expected):
    assert flops.count(function, *(f32(*shape) for shape in shapes)) == expected


@pytest.mark.parametrize(("stride", "groups"), [(1, 1), (2, 1), (1, 2), (2, 2)])
def test_each_gradient_of_a_convolution_costs_what_the_convolution_costs(stride, groups):
    function = partial(conv, stride=stride, groups=groups)
    arguments = f32(2, 8, 8, 4), f32(3, 3, 4 // groups, 6)
    once = flops.count(function, *arguments)
    gradient = jax.grad(lambda x, w: (function(x, w) ** 2).sum(), (0, 1))
    assert flops.count(gradient, *arguments) == 3 * once > 0


def test_what_is_written_for_one_device_counts_on_all():
    mesh = shard.make_mesh(2)
    batch = PartitionSpec(("replica", "fsdp"))
    function = jax.shard_map(
        jnp.matmul, mesh=mesh, in_specs=(batch, PartitionSpec()), out_specs=batch
    )
    assert flops.count(function, f32(16, 4), f32(4, 5)) == 2 * 16 * 4 * 5
