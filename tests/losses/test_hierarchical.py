"""The contrast at every scale of time: the authors' code, cut series, split batches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec
from references import series as reference
from references.agreement import agree

from jssl.losses.hierarchical import hierarchical

RNG = np.random.default_rng(0)
Z1 = RNG.normal(size=(3, 5, 2))
Z2 = Z1 + 0.3 * RNG.normal(size=Z1.shape)


@pytest.mark.parametrize("weight", [0.5, 0.2])
def test_reference(weight, x64):
    ours = jax.jit(lambda a, b: hierarchical(a, b, weight=weight))
    agree(ours, lambda a, b: reference.hierarchical(a, b, weight), Z1, Z2)


@pytest.mark.parametrize("length", [1, 2, 3])
def test_steps_beyond_the_length_change_nothing(length, x64):
    run = jax.jit(jax.value_and_grad(hierarchical))
    value, gradient = run(jnp.asarray(Z1), jnp.asarray(Z2), length)
    expected = reference.hierarchical(Z1[:, :length], Z2[:, :length])
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    assert np.all(gradient[:, length:] == 0)
    assert np.any(gradient[:, :length] != 0)


def test_a_split_batch_is_the_whole(x64):
    mesh = jax.make_mesh((3,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:3])
    split = jax.shard_map(
        lambda a, b: hierarchical(a, b, axis_name="data"),
        mesh=mesh,
        in_specs=PartitionSpec("data"),
        out_specs=PartitionSpec(),
    )
    got = jax.jit(split)(jnp.asarray(Z1), jnp.asarray(Z2))
    np.testing.assert_allclose(got, reference.hierarchical(Z1, Z2), rtol=1e-12)


def test_weight_is_a_share():
    with pytest.raises(ValueError, match=r"weight must be in \[0, 1\], got 2"):
        hierarchical(jnp.asarray(Z1), jnp.asarray(Z2), weight=2)
