"""The queue against a plain list from whose front the oldest are dropped."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.nn import queue


def test_it_starts_as_random_directions_of_length_one():
    items, pointer = queue.start(jax.random.key(0), 4096, 3)
    assert (items.shape, items.dtype) == ((4096, 3), jnp.float32)
    assert (pointer.shape, pointer.dtype, int(pointer)) == ((), jnp.int32, 0)
    np.testing.assert_allclose(np.linalg.norm(items, axis=1), 1, rtol=1e-5)
    # Even over the sphere: no mean direction, a third of the square in each axis.
    np.testing.assert_allclose(items.mean(0), 0, atol=0.05)
    np.testing.assert_allclose((items**2).mean(0), 1 / 3, atol=0.02)


def test_first_in_is_first_out():
    rng = np.random.default_rng(0)
    items, pointer = queue.start(jax.random.key(0), 12, 2)
    expected = list(np.asarray(items))
    push = jax.jit(queue.push)
    for n in (4, 4, 2, 2, 4, 4, 4):  # parts of one batch may change, as long as all are divisors
        new = rng.normal(size=(n, 2)).astype(np.float32)
        items, pointer = push(items, pointer, jnp.asarray(new))
        expected = expected[n:] + list(new)
        by_age = np.roll(items, -int(pointer), axis=0)
        np.testing.assert_array_equal(by_age, expected)
    assert pointer.dtype == jnp.int32


def test_no_gradient_flows_into_the_items():
    items, pointer = queue.start(jax.random.key(0), 4, 3)
    gradient = jax.grad(lambda x: queue.push(items, pointer, x)[0].sum())(jnp.ones((2, 3)))
    np.testing.assert_array_equal(gradient, 0)


def test_dtypes():
    items, pointer = queue.start(jax.random.key(0), 4, 3, jnp.bfloat16)
    assert items.dtype == jnp.float32
    items, _ = queue.push(items, pointer, jnp.ones((2, 3), jnp.bfloat16))
    assert items.dtype == jnp.float32


@pytest.mark.parametrize("n", [5, 24])
def test_a_batch_that_does_not_divide_it_is_refused(n):
    items, pointer = queue.start(jax.random.key(0), 12, 2)
    with pytest.raises(ValueError, match=f"a queue of 12 and a batch of {n}"):
        queue.push(items, pointer, jnp.ones((n, 2)))


def test_an_empty_queue_is_refused():
    with pytest.raises(ValueError, match="at least 1 embedding, got 0"):
        queue.start(jax.random.key(0), 0, 2)
