"""The README's CIFAR-10 table: every method at one small budget, by one protocol.

  make results CIFAR10=cifar10_jpeg.npz
  python benchmarks/cifar10.py --data cifar10_jpeg.npz [--methods simclr byol] [--seeds 0 1 2]

Protocol: the first 20,000 training images pretrain without labels, 10 epochs of batch 256;
kNN (k = 20), a linear probe on all 20,000 labels and one on 10 labels a class, tested on the first
5,000 test images; for self-prediction fine-tuning on 2,000 labels too. A run that is already there
is not trained again, an unfinished one goes on.
Raw pixels and random encoders are measured once. Memory is the greatest resident size of the
training process, data and program included.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import re
import statistics
import subprocess
import sys
from pathlib import Path

from jssl.methods import METHODS

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "cifar10.json"
COLUMNS = {"knn": "kNN", "linear": "linear", "linear_10_per_class": "10 labels a class"}
FINE_TUNED = {"fine_tuned_10_percent": "fine-tuned, 10 %"}
SELF_PREDICTION = (
    *("mae", "simmim", "beit", "ibot", "data2vec", "ijepa", "vqvae", "autoencoder"),
    *("denoising_autoencoder", "inpainting", "colorization"),
    *("rotation", "patch_location", "jigsaw", "supervised"),
)
# What a method is given besides its config: a frozen run of another.
TOKENIZERS = {"beit": "vqvae"}
MEASURED = "CIFAR-10 by the protocol of README.md"
PROTOCOL = ["--config.data.limit=20000", "--config.eval.limit=5000", "--config.eval.k=20"]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="CIFAR-10 as arrays: npz")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "cifar10")
    parser.add_argument("--table", action="store_true", help="only write the tables again")
    arguments = parser.parse_args()
    if not arguments.table:
        if arguments.data is None:
            parser.error("--data is needed to measure")
        for method in arguments.methods:
            for seed in arguments.seeds:
                measure(method, seed, arguments)
    results = load()
    joint_embedding = [method for method in METHODS if method not in SELF_PREDICTION]
    tables = {
        "joint embedding": markdown(results, joint_embedding),
        "self-prediction": markdown(results, SELF_PREDICTION),
    }
    print("\n\n".join(tables.values()))
    into_text(tables, results)


def load():
    empty = {"baselines": {}, "rows": {}}
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else empty


def columns(method):
    """What is measured of a method."""
    return COLUMNS | FINE_TUNED if method in SELF_PREDICTION else COLUMNS


def measure(method, seed, arguments):
    """One run, pretrained and evaluated as a user would, and written down."""
    more = [f"--config.seed={seed}", *PROTOCOL]
    if method in TOKENIZERS:
        tokenizer = arguments.runs / f"{TOKENIZERS[method]}_{seed}"
        if not tokenizer.exists():
            measure(TOKENIZERS[method], seed, arguments)
        more.append(f"--config.method.tokenizer={tokenizer}")
    workdir = arguments.runs / f"{method}_{seed}"
    spec = f"{method}:data=arrays:{arguments.data.resolve()},epochs={arguments.epochs}"
    _, memory = jssl("pretrain", "--config", spec, "--workdir", str(workdir), *more)
    config = json.loads((workdir / "config.json").read_text())
    encoder = config["encoder"]["name"]
    # What no run has measured yet; the pretrained encoder always.
    baselines = {"raw pixels": "raw_pixels", f"random {encoder}": "random_encoder"}
    known = load()["baselines"]
    missing = {k: v for k, v in baselines.items() if columns(method).keys() - known.get(k, {})}
    asked = ["--rows", ",".join([*missing.values(), "pretrained"])]
    asked += ["--protocols", ",".join(columns(method))]
    text, _ = jssl("evaluate", "--workdir", str(workdir), *asked, "--json")
    table = json.loads(text)

    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    rates = [line["examples_per_second"] for line in lines if "examples_per_second" in line]
    results = load()  # read again: another process may have added a row meanwhile
    results["baselines"] |= {name: table[row] for name, row in missing.items()}
    # A run that was there already took no memory to speak of this time.
    memory = max(memory, results["rows"].get(f"{method}/{seed}", {}).get("peak_memory_mb") or 0)
    results["rows"][f"{method}/{seed}"] = {
        **table["pretrained"],
        "encoder": encoder,
        "effective_rank": [x["effective_rank"] for x in lines if "effective_rank" in x][-1],
        "examples_per_second": statistics.median(rates),
        "step_ms": 1000 * config["train"]["batch_size"] / statistics.median(rates),
        "peak_memory_mb": memory,
        "date": datetime.date.today().isoformat(),
        "command": f"jssl pretrain --config {method}:data=arrays:CIFAR10 {' '.join(more)}",
        **machine(),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


def jssl(*arguments):
    """What it printed, and the greatest memory of its process in MB."""
    command = [sys.executable, "-m", "jssl", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        text = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"jssl {' '.join(arguments)} ended with {process.returncode}")
    print(text, file=sys.stderr)
    return text, usage.ru_maxrss // 1024


def machine():
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        **{p: importlib.metadata.version(p) for p in ("jax", "flax", "optax")},
    }


def markdown(results, family):
    """The table of some methods: raw pixels, random encoders, then a row a method, its seeds
    together."""
    runs = {name: rows for name, rows in by_method(results).items() if name in family}
    shown = columns(next(iter(runs)))
    head = ["", *shown.values(), "effective rank", "ms a step", "peak MB"]
    table = [head, ["---", *["---:"] * (len(head) - 1)]]
    for name, row in results["baselines"].items():
        table.append([name, *(percent([row.get(c)]) for c in shown), "", "", ""])
    for method, rows in runs.items():
        seeds = f" ({len(rows)} seeds)" if len(rows) > 1 else ""
        # Seeds that had fewer cores tell nothing of the speed beside the other rows.
        most = max(row["cores"] for row in rows)
        times = [row["step_ms"] for row in rows if row["cores"] == most]
        rest = (
            [row["effective_rank"] for row in rows],
            times,
            [row["peak_memory_mb"] for row in rows],
        )
        table.append(
            [
                f"**{method}** {rows[0]['encoder']}{seeds}",
                *(percent(row.get(c) for row in rows) for c in shown),
                *map(mean, rest),
            ]
        )
    return "\n".join("| " + " | ".join(line) + " |" for line in table)


def by_method(results):
    runs = {}
    for name in sorted(results["rows"]):
        runs.setdefault(name.split("/")[0], []).append(results["rows"][name])
    return {method: runs[method] for method in METHODS if method in runs}


def mean(values):
    values = [value for value in values if value is not None]
    return f"{statistics.mean(values):,.0f}" if values else ""


def percent(values):
    """The mean, and the deviation over seeds where there are several."""
    values = [100 * value for value in values if value is not None]
    if not values:
        return ""
    text = f"{statistics.mean(values):.1f}"
    return text if len(values) == 1 else f"{text} ± {statistics.stdev(values):.1f}"


def into_text(tables, results):
    """The tables between their marks in the README, a method's numbers there and in its config."""
    readme = ROOT / "README.md"
    text = readme.read_text()
    for name, table in tables.items():
        start, end = f"<!-- cifar10 table: {name} -->", "<!-- end -->"
        pattern = re.compile(f"{re.escape(start)}.*?{re.escape(end)}", re.DOTALL)
        text = pattern.sub(lambda _, new=f"{start}\n{table}\n{end}": new, text)
    for method, runs in by_method(results).items():
        knn, linear = (percent(run[c] for run in runs) for c in ("knn", "linear"))
        row = re.compile(rf"(\(configs/{method}\.py\) \|)[^|\n]*\|$", re.MULTILINE)
        text = row.sub(lambda found, new=f" {knn} / {linear} |": found[1] + new, text)
        config = ROOT / "configs" / f"{method}.py"
        line = f"{MEASURED}: kNN {knn} %, linear {linear} %."
        old = re.compile(rf"^(Not measured yet\.|{MEASURED}.*)$", re.MULTILINE)
        config.write_text(old.sub(lambda _, line=line: line, config.read_text()))
    readme.write_text(text)


if __name__ == "__main__":
    main()
