"""A contrastive loss of 1,048,576 examples on 256 chips, compiled ahead of time.

  pip install libtpu
  python benchmarks/ring.py [--examples 1048576] [--width 512] [--topology v5e:16x16]

Needs no TPU: XLA's own compiler for the chip says what value and gradient of a loss take. Memory is
that of one chip's HBM: temporaries, and with inputs and outputs. Each chip also has 128 MiB beside
it, where XLA keeps what fits, a block of logits too. Dense logits are the size of that matrix on a
chip. FLOPs are the compiler's, which counts a loop's body once, times the blocks that a chip sees,
over the dense form's matrix products alone.
"""

import argparse
import importlib.metadata
import json
import math
import os
import time
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")

import jax
import jax.numpy as jnp
from jax.experimental import topologies
from jax.extend.core import jaxprs_in_params
from jax.sharding import NamedSharding, PartitionSpec

from jssl.losses import contrastive, ring
from jssl.train import shard

RESULTS = Path(__file__).resolve().parent / "results" / "ring.json"
# name -> loss of (a, b), views an example has among the rows
LOSSES = {
    "ntxent": (contrastive.ntxent_accuracy, 2),
    "infonce": (contrastive.infonce_accuracy, 1),
    "clip": (contrastive.clip_accuracy, 1),
    "siglip": (contrastive.siglip_accuracy, 1),
}
# What has a gradient: a, b (not the keys of infonce), scale, bias
LEARNED = {"ntxent": 2, "infonce": 1, "clip": 3, "siglip": 4}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--examples", type=int, default=2**20)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--topology", default="v5e:16x16")
    parser.add_argument("--losses", nargs="+", default=list(LOSSES), choices=LOSSES)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    mesh = mesh_of(arguments.topology)
    rows = {
        name: measure(name, arguments.examples, arguments.width, mesh) for name in arguments.losses
    }
    print(f"{arguments.examples:,} examples of width {arguments.width} on {arguments.topology}")
    print("| loss | temporaries, MiB a chip | in all | dense logits | FLOPs | compile, s |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, row in rows.items():
        sizes = " | ".join(
            f"{row[key] / 2**20:,.0f}" for key in ("temporaries", "memory", "dense_logits")
        )
        print(f"| {name} | {sizes} | {row['flops_over_dense']:.2f} x | {row['seconds']} |")
    facts = {
        "examples": arguments.examples,
        "width": arguments.width,
        "topology": arguments.topology,
        "versions": {p: importlib.metadata.version(p) for p in ("jax", "libtpu")},
        "a_chip": rows,
    }
    arguments.out.write_text(json.dumps(facts, indent=1) + "\n")


def mesh_of(topology):
    devices = topologies.get_topology_desc(platform="tpu", topology_name=topology).devices
    return shard.make_mesh(devices=devices)


def gradient(name, loss_impl):
    """Value, accuracy and gradient by all inputs."""
    loss = LOSSES[name][0]
    return jax.value_and_grad(
        lambda a, b, *learned: loss(a, b, *learned, loss_impl=loss_impl),
        argnums=range(LEARNED[name]),
        has_aux=True,
    )


def inputs(name, examples, width, mesh):
    split = NamedSharding(mesh, shard.batch_sharding(mesh).spec)
    whole = NamedSharding(mesh, PartitionSpec())
    z = jax.ShapeDtypeStruct((examples, width), jnp.float32, sharding=split)
    scalar = jax.ShapeDtypeStruct((), jnp.float32, sharding=whole)
    return (z, z, *[scalar] * (LEARNED[name] - 2))


def measure(name, examples, width, mesh):
    began = time.perf_counter()
    abstract = inputs(name, examples, width, mesh)
    compiled = jax.jit(gradient(name, "auto")).lower(*abstract).compile()
    memory, rows = compiled.memory_analysis(), examples * LOSSES[name][1]
    blocks = rows // ring.chunk_of(rows // mesh.size, rows // mesh.size)
    dense = products(jax.make_jaxpr(gradient(name, "dense"))(*abstract)) // mesh.size
    temporaries = memory.temp_size_in_bytes
    return {
        "temporaries": temporaries,
        "memory": temporaries + memory.argument_size_in_bytes + memory.output_size_in_bytes,
        "dense_logits": 4 * rows * rows // mesh.size,
        "flops_over_dense": round(blocks * compiled.cost_analysis()["flops"] / dense, 3),
        "seconds": round(time.perf_counter() - began),
    }


def products(jaxpr):
    """FLOPs of the matrix products of a program without loops."""
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            depth = math.prod(equation.invars[0].aval.shape[axis] for axis in contracted)
            total += 2 * equation.outvars[0].aval.size * depth
        total += sum(map(products, jaxprs_in_params(equation.params)))
    return total


if __name__ == "__main__":
    main()
