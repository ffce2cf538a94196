"""``jssl inspect``: what a run carries, layer by layer."""

import json

import jax
import numpy as np

from jssl.cli import build, runs
from jssl.nn import layers
from jssl.train.freeze import NEVER


def inspect(arguments) -> int:
    """Step, layers (frozen or trainable), parameters and the SHA-256 of all of Vars."""
    trained = runs.load(arguments.workdir, arguments.step)
    params, state = trained.train.params, trained.train.state
    names, sizes = layers.paths(params), jax.tree.map(np.size, params)
    begins = build.learns(trained.config, trained.facts["steps_per_epoch"], params)
    parts = {}
    for name, size, begin in zip(*map(jax.tree.leaves, (names, sizes, begins)), strict=True):
        part = parts.setdefault(layers.layer(name), {"trainable": 0, "frozen": 0, "from_step": 0})
        part["frozen" if begin == NEVER else "trainable"] += size
        part["from_step"] = max(part["from_step"], 0 if begin == NEVER else begin)
    found = {
        "method": trained.config.method.name,
        "encoder": trained.config.encoder.name,
        "step": int(trained.train.step),
        "steps": trained.facts["steps"],
        "parameters": sum(jax.tree.leaves(sizes)),
        "trainable": sum(part["trainable"] for part in parts.values()),
        "frozen": sum(part["frozen"] for part in parts.values()),
        "state": sum(x.size for x in jax.tree.leaves(state)),
        "sha256": runs.sha256({"params": params, "state": state}),
    }
    if arguments.json:
        print(json.dumps(found | {"layers": parts}))
        return 0
    shapes = zip(jax.tree.leaves(names), jax.tree.leaves(params), strict=True)
    width = max(map(len, jax.tree.leaves(names)))
    last = None
    for name, x in shapes:
        here = layers.layer(name)
        if here != last:
            print(f"{here:<{width}}  {_mark(**parts[here])}")
        last = here
        print(f"  {name:<{width}}  {list(x.shape)!s:<20} {x.size:>12,}")
    for name, value in found.items():
        print(f"{name:<11} {value:,}" if isinstance(value, int) else f"{name:<11} {value}")
    return 0


def _mark(trainable: int, frozen: int, from_step: int) -> str:
    late = f" from step {from_step:,}" if from_step else ""
    counts = {f"trainable{late}": trainable, "frozen": frozen}
    return ", ".join(f"{kind} {count:,}" for kind, count in counts.items() if count)
