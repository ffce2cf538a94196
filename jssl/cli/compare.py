"""``jssl compare``: evaluated runs in one table, with what they cost."""

import json

import jax
import numpy as np

from jssl.cli import build, runs
from jssl.cli.config import read_json, saved
from jssl.report import comparison
from jssl.train import step as train_step

WRITERS = {".md": comparison.markdown, ".html": comparison.page}


def compare(arguments) -> int:
    """One table of the runs; ``--output`` writes it as Markdown or as a page with plots."""
    output = arguments.output
    if output is not None and output.suffix not in WRITERS:
        raise ValueError(f"--output must end in .md or .html, got {output}")
    comparison.compare(arguments.runs, {})  # what cannot be compared is said before any tracing
    found = comparison.compare(arguments.runs, {run: _cost(run) for run in arguments.runs})
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(WRITERS[output.suffix](found), encoding="utf-8")
        print(output)
    elif arguments.json:
        print(json.dumps({"rows": [r._asdict() for r in found.rows], "foretells": found.foretells}))
    else:
        print(comparison.text(found))
    return 0


def _cost(workdir) -> dict[str, float]:
    """Parameters that are trained, and FLOPs of a training step an example, as XLA counts them.

    Of the step as it is traced, before the compiler: nothing is compiled or run.
    """
    config = saved(read_json(workdir / "config.json"))
    facts = read_json(workdir / "data.json")
    if config.data.get("tokenizer"):
        config.data.tokenizer = str(workdir / "tokenizer.json")
    method = build.method(config, facts)
    tx, _ = build.optimizer(config, facts["steps_per_epoch"], facts["steps"])
    batch = runs.abstract_batch(config, facts)
    first = jax.eval_shape(
        lambda b: train_step.init(method, tx, config.seed, b), runs.example(facts)
    )
    step = jax.jit(train_step.make_step(method, tx, config.train.accumulate))
    flops = step.lower(first, batch).cost_analysis()["flops"]
    return {
        "parameters": sum(jax.tree.leaves(jax.tree.map(np.size, first.params))),
        "flops": flops / config.train.batch_size,
    }
