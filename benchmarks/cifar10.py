"""The README's CIFAR-10 table: every method at one small budget, by one protocol.

  make results CIFAR10=cifar10_jpeg.npz
  python benchmarks/cifar10.py --data cifar10_jpeg.npz [--methods simclr byol] [--seeds 0 1 2]

Protocol: the first 20,000 training images pretrain without labels, 10 epochs of batch 256;
kNN (k = 20), a linear probe on all 20,000 labels and one on 10 labels a class, tested on the first
5,000 test images. A run that is already there is not trained again, an unfinished one goes on.
"""

import argparse
import datetime
import json
import os
import platform
import re
import resource
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "cifar10.json"
COLUMNS = {"knn": "kNN", "linear": "linear", "linear_10_per_class": "10 labels a class"}
PROTOCOL = ["--config.data.limit=20000", "--config.eval.limit=5000", "--config.eval.k=20"]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, type=Path, help="CIFAR-10 as arrays: npz")
    parser.add_argument("--methods", nargs="+", default=["simclr", "byol", "mae"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "cifar10")
    arguments = parser.parse_args()
    for method in arguments.methods:
        for seed in arguments.seeds:
            row = measure(method, seed, arguments)
            # Read again: another process may have added a row meanwhile.
            results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"rows": {}}
            results["rows"][f"{method}/{seed}"] = row
            results["machine"] = machine()
            RESULTS.parent.mkdir(exist_ok=True)
            RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    table = markdown(results)
    print(table)
    into_readme(table)


def measure(method, seed, arguments):
    """One run, pretrained and evaluated as a user would."""
    workdir = arguments.runs / f"{method}_{seed}"
    spec = f"{method}:data=arrays:{arguments.data.resolve()},epochs={arguments.epochs}"
    train = ["pretrain", "--config", spec, "--workdir", str(workdir), f"--config.seed={seed}"]
    jssl(*train, *PROTOCOL)
    table = json.loads(jssl("evaluate", "--workdir", str(workdir), "--json"))
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    rates = sorted(line["examples_per_second"] for line in lines if "examples_per_second" in line)
    config = json.loads((workdir / "config.json").read_text())
    return table | {
        "encoder": config["encoder"]["name"],
        "effective_rank": [x["effective_rank"] for x in lines if "effective_rank" in x][-1],
        "examples_per_second": rates[len(rates) // 2],
        "step_ms": 1000 * config["train"]["batch_size"] / rates[len(rates) // 2],
        "date": datetime.date.today().isoformat(),
        "command": f"jssl pretrain --config {method}:data=arrays:CIFAR10 {' '.join(PROTOCOL)}",
    }


def jssl(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", "jssl", *arguments], stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        sys.exit(f"jssl {' '.join(arguments)} ended with {done.returncode}")
    print(done.stdout, file=sys.stderr)
    return done.stdout


def machine():
    import importlib.metadata

    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        **{p: importlib.metadata.version(p) for p in ("jax", "flax", "optax")},
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024,
    }


def markdown(results):
    """The table: raw pixels and random encoders once, then a row a method."""
    rows = results["rows"]
    head = ["", *COLUMNS.values(), "effective rank", "images/s"]
    table = [head, ["---", *["---:"] * (len(head) - 1)]]
    first = next(iter(rows.values()))
    table.append(["raw pixels", *cells(first["raw_pixels"]), "", ""])
    for encoder in dict.fromkeys(row["encoder"] for row in rows.values()):
        row = next(row for row in rows.values() if row["encoder"] == encoder)
        table.append([f"random {encoder}", *cells(row["random_encoder"]), "", ""])
    for name, row in rows.items():
        method, seed = name.split("/")
        rank, rate = f"{row['effective_rank']:.0f}", f"{row['examples_per_second']:,.0f}"
        label = method if seed == "0" else f"{method} (seed {seed})"
        table.append([f"**{label}** {row['encoder']}", *cells(row["pretrained"]), rank, rate])
    return "\n".join("| " + " | ".join(line) + " |" for line in table)


def cells(row):
    return [f"{100 * row[name]:.1f}" for name in COLUMNS]


def into_readme(table):
    """Puts the table between its marks."""
    readme = ROOT / "README.md"
    start, end = "<!-- cifar10 table -->", "<!-- end -->"
    text = readme.read_text() if readme.exists() else ""
    pattern = re.compile(f"{re.escape(start)}.*?{re.escape(end)}", re.DOTALL)
    if pattern.search(text):
        readme.write_text(pattern.sub(lambda _: f"{start}\n{table}\n{end}", text))


if __name__ == "__main__":
    main()
