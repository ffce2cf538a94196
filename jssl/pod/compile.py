"""The train step of a method compiled for chips that are not there."""

import re
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from jax.experimental import topologies
from jax.sharding import Mesh

from jssl.method import Batch, Method, PyTree
from jssl.pod import chips, collectives
from jssl.train import shard
from jssl.train import step as train_step

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


class Pod(NamedTuple):
    """What to compile for: the name as given, the kind of chip, the devices (one a chip)."""

    name: str
    chip: chips.Chip
    devices: list


class Program(NamedTuple):
    """What the compiler says of one program, for one chip and one step.

    arguments: bytes of what lives from step to step, and of the batch.
    temporaries: bytes in between: activations, gradients.
    peak: bytes of all that, results that do not replace an argument, and the code.
    flops: as the compiler counts them: the body of a loop once.
    bytes: to and from HBM, counted likewise.
    collectives: see `jssl.pod.collectives.Collective`.
    """

    arguments: int
    temporaries: int
    peak: int
    flops: float
    bytes: float
    collectives: list[collectives.Collective]


class OutOfMemory(Exception):
    """The compiler found no room on a chip."""

    def __init__(self, needed: int, available: int):
        """Bytes of one chip: needed, at least, and available."""
        super().__init__(f"needs {needed} bytes, has {available}")
        self.needed, self.available = needed, available


def open_pod(name: str) -> Pod:
    """The pod called ``name``: ``v5e:16x16`` of any TPU, ``gpu`` for the GPUs of this machine.

    Raises:
      ValueError: one line, for an unknown name, a missing libtpu or one in use, or no GPU.
    """
    if name == "gpu":
        try:
            devices = jax.devices("gpu")
        except RuntimeError:
            raise ValueError("--topology gpu needs a GPU in this machine, there is none") from None
        return Pod(name, chips.gpu(devices[0].device_kind), devices)
    chip, sides = chips.parse(name)
    options = chip.options | {"chips_per_host_bounds": chips.hosts(sides)}
    try:
        topology = topologies.get_topology_desc(platform="tpu", topology_name=name, **options)
    except RuntimeError as error:
        raise ValueError(_reason(name, str(error))) from error
    return Pod(name, chip, list(topology.devices))


def _reason(name: str, text: str) -> str:
    if "not installed" in text:
        return "compiling for a TPU needs libtpu, which is not installed: pip install 'jssl[pod]'"
    if "lockfile" in text or "already in use" in text:
        return "libtpu is in use by another process: only one at a time may compile for a TPU"
    return f"libtpu knows no topology {name!r}: {' '.join(text.split())[:200]}"


def step(
    method: Method,
    tx: optax.GradientTransformation,
    batch: Batch,
    mesh: Mesh,
    accumulate: int = 1,
) -> Program:
    """The whole train step, views included, as `jssl.train.loop.fit` compiles it.

    Args:
      method: the pretext task.
      tx: the optimizer.
      batch: the global batch, as `jax.ShapeDtypeStruct`.
      mesh: of the pod's devices, see `jssl.train.shard.make_mesh`.
      accumulate: as in `jssl.train.step.make_step`.

    Raises:
      OutOfMemory: if the compiler finds no room for it.
    """
    train = abstract_state(method, tx, batch)
    shardings = shard.state_sharding(mesh, train)
    function = jax.jit(
        train_step.make_step(method, tx, accumulate),
        donate_argnums=0,
        out_shardings=(shardings, shard.replicated(mesh)),
    )
    return _compile(function, mesh, _placed(train, shardings), _sharded(batch, mesh))


def views(method: Method, batch: Batch, mesh: Mesh) -> Program:
    """The views alone: augmentation and masking, as a program that writes them out."""
    key = _placed(jax.eval_shape(lambda: jax.random.key(0)), shard.replicated(mesh))
    return _compile(jax.jit(method.views), mesh, key, _sharded(batch, mesh))


def abstract_state(method: Method, tx: optax.GradientTransformation, batch: Batch) -> Any:
    """Shapes of the `jssl.train.step.TrainState` before the first step."""
    return jax.eval_shape(lambda b: train_step.init(method, tx, 0, b), batch)


def _sharded(batch: Batch, mesh: Mesh) -> Batch:
    return _placed(batch, shard.batch_sharding(mesh))


def _placed(tree: PyTree, shardings: PyTree) -> PyTree:
    if isinstance(shardings, jax.sharding.Sharding):
        one = shardings
        shardings = jax.tree.map(lambda _: one, tree)
    return jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), tree, shardings
    )


def _compile(function, mesh: Mesh, *arguments) -> Program:
    lowered = function.lower(*arguments)
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        raise _out_of_memory(str(error), _bytes(arguments)) or error from None
    memory, cost = compiled.memory_analysis(), compiled.cost_analysis()
    peak = (
        memory.argument_size_in_bytes
        + memory.temp_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
        + memory.generated_code_size_in_bytes
    )
    return Program(
        arguments=memory.argument_size_in_bytes,
        temporaries=memory.temp_size_in_bytes,
        peak=peak,
        flops=cost.get("flops", 0.0),
        bytes=cost.get("bytes accessed", 0.0),
        collectives=collectives.find(compiled.as_text(), dict(mesh.shape)),
    )


def _out_of_memory(text: str, arguments: int) -> OutOfMemory | None:
    """What the compiler's complaint says, or None if it is about something else."""
    size = r"([\d.]+)([KMGT]?)i?B?"
    used = re.search(rf"Used {size} of {size} hbm", text)
    if used:
        return OutOfMemory(_size(*used.groups()[:2]), _size(*used.groups()[2:]))
    # Found out early, from the temporaries alone.
    more = re.search(rf"temporaries \({size}\) exceeds available HBM \({size}\)", text)
    if more:
        return OutOfMemory(_size(*more.groups()[:2]) + arguments, _size(*more.groups()[2:]))
    return None


def _size(number: str, unit: str) -> int:
    return round(float(number) * _UNITS[unit])


def _bytes(arguments) -> int:
    """Of one chip's part of the arguments."""
    total = 0
    for x in jax.tree.leaves(arguments):
        width = getattr(x.dtype, "itemsize", 4)
        total += int(np.prod(x.sharding.shard_shape(x.shape))) * width
    return total
