"""How a loss of ours is compared with a transcribed one."""

import jax
import jax.numpy as jnp
import numpy as np


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
