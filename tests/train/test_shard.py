"""The mesh and the one rule of where parameters live."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec

from jssl.train import shard


def test_rule_splits_the_largest_axis_that_divides():
    mesh = shard.make_mesh(4)
    tree = {
        "small": jnp.ones((4, 4)),
        "wide": jnp.ones((6, 512)),
        "tall": jnp.ones((1024, 8)),
        "odd": jnp.ones((1001, 3)),
        "scalar": jnp.ones(()),
    }
    specs = jax.tree.map(lambda s: s.spec, shard.state_sharding(mesh, tree, min_size=100))
    assert specs == {
        "small": PartitionSpec(),
        "wide": PartitionSpec(None, "fsdp"),
        "tall": PartitionSpec("fsdp"),
        "odd": PartitionSpec(),
        "scalar": PartitionSpec(),
    }


def test_batch_lies_over_every_device():
    mesh = shard.make_mesh(4)
    assert mesh.shape == {"replica": jax.device_count() // 4, "fsdp": 4}
    x = jax.device_put(jnp.ones((16, 3)), shard.batch_sharding(mesh))
    assert x.addressable_shards[0].data.shape == (16 // jax.device_count(), 3)


def test_fsdp_must_divide_the_devices():
    with pytest.raises(ValueError, match=r"mesh.fsdp must divide the 8 devices, got 3"):
        shard.make_mesh(3)
