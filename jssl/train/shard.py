"""Where arrays live: a mesh of all devices, the batch over all of it, parameters by one rule."""

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jssl.method import PyTree

BATCH_AXES = ("replica", "fsdp")


def make_mesh(fsdp: int = 1, devices=None) -> Mesh:
    """A mesh ``replica x fsdp`` over all devices (or those given).

    Args:
      fsdp: over how many devices parameters and optimizer state are split; must divide the
        number of devices. 1 keeps a whole copy on every device.
    """
    devices = jax.devices() if devices is None else devices
    if fsdp < 1 or len(devices) % fsdp:
        raise ValueError(f"mesh.fsdp must divide the {len(devices)} devices, got {fsdp}")
    shape = (len(devices) // fsdp, fsdp)
    return jax.make_mesh(shape, BATCH_AXES, axis_types=(AxisType.Auto,) * 2, devices=devices)


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """The leading axis over every device."""
    return NamedSharding(mesh, PartitionSpec(BATCH_AXES))


def replicated(mesh: Mesh) -> NamedSharding:
    """A whole copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def state_sharding(mesh: Mesh, tree: PyTree, min_size: int = 2**16) -> PyTree:
    """The sharding of each array of a train state.

    The rule: an array of at least ``min_size`` elements is split over ``fsdp`` along its largest
    axis that ``fsdp`` divides; all others are replicated.
    """
    fsdp = mesh.shape["fsdp"]

    def rule(leaf):
        shape = getattr(leaf, "shape", ())
        axes = [axis for axis, size in enumerate(shape) if size % fsdp == 0]
        if fsdp == 1 or not axes or np.prod(shape) < min_size:
            return replicated(mesh)
        largest = max(axes, key=lambda axis: shape[axis])
        return NamedSharding(mesh, PartitionSpec(*[None] * largest, "fsdp"))

    return jax.tree.map(rule, tree)
