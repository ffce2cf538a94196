"""How a loss of ours is compared with a transcribed one."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, PartitionSpec


def agree(ours, theirs, *inputs):
    """Value to 1e-12; gradient by every input to what central differences of theirs can tell."""
    np.testing.assert_allclose(ours(*map(jnp.asarray, inputs)), theirs(*inputs), rtol=1e-12)
    gradients = jax.grad(ours, argnums=range(len(inputs)))(*map(jnp.asarray, inputs))
    for i, gradient in enumerate(gradients):

        def along(x, i=i):
            return theirs(*inputs[:i], x, *inputs[i + 1 :])

        expected = numerical_gradient(along, inputs[i])
        np.testing.assert_allclose(gradient, expected, atol=1e-7, rtol=1e-6)


def numerical_gradient(f, x, epsilon=1e-6):
    """Central differences, entry by entry."""
    gradient = np.zeros_like(x)
    for index in np.ndindex(*x.shape):
        up, down = x.copy(), x.copy()
        up[index] += epsilon
        down[index] -= epsilon
        gradient[index] = (f(up) - f(down)) / (2 * epsilon)
    return gradient


def agree_when_split(loss, *inputs, rtol=1e-12):
    """A loss of [n d] inputs inside shard_map over 4 devices, ``axis_name`` given, is the whole's.

    Value and the gradient of a replicated weight.
    """
    rng = np.random.default_rng(1)
    inputs = [jnp.asarray(x) for x in inputs]
    d = inputs[0].shape[1]
    weight = jnp.asarray(rng.normal(size=(d, d)) / d**0.5)
    mesh = jax.make_mesh((4,), ("i",), axis_types=(AxisType.Auto,), devices=jax.devices()[:4])

    def of_weight(weight, *inputs, **options):
        return loss(*(x @ weight for x in inputs), **options)

    split, whole = PartitionSpec("i"), PartitionSpec()
    local = jax.shard_map(
        jax.value_and_grad(lambda *args: of_weight(*args, axis_name="i")),
        mesh=mesh,
        in_specs=(whole, *[split] * len(inputs)),
        out_specs=(whole, whole),
    )
    value, gradient = jax.jit(local)(weight, *inputs)
    expected, by_weight = jax.value_and_grad(of_weight)(weight, *inputs)
    np.testing.assert_allclose(value, expected, rtol=rtol)
    np.testing.assert_allclose(gradient, by_weight, rtol=1e3 * rtol, atol=rtol)
