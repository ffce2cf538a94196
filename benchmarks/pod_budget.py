"""What three ImageNet recipes cost on a v5e pod of 256 chips, by the compiler's own count.

pip install 'jssl[pod]'
python benchmarks/pod_budget.py                # all three: compiles for a long time, needs no TPU
python benchmarks/pod_budget.py --only simclr

Writes benchmarks/results/pod_budget.json, beside which tests/pod/test_pod.py compiles again and
fails where a number is worse by more than 3 %.
"""

import argparse
import datetime
import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

RESULTS = Path(__file__).parent / "results" / "pod_budget.json"
TOPOLOGY, BATCH = "v5e:16x16", 4096
RECIPES = {
    "simclr": "ResNet-50",
    "moco_v3": "ViT-S/16",
    "mae": "ViT-L/16",
}
TOLERANCE = 1.03


def command(name):
    """Compiles a recipe: 224 pixels, bfloat16."""
    return [
        *(sys.executable, "-m", "jssl", "compile", "--json", "--config", f"{name}:recipe=imagenet"),
        *("--topology", TOPOLOGY, "--batch", str(BATCH), "--config.precision=bfloat16"),
    ]


def measure(name):
    """The object that `jssl compile` prints; RuntimeError with its complaint if it does not."""
    done = subprocess.run(command(name), capture_output=True, text=True)
    if done.returncode > 1 or not done.stdout:
        raise RuntimeError(done.stderr.strip())
    return json.loads(done.stdout)


def costs(found):
    """The numbers that may not grow, each by its name."""
    kinds = {}
    for collective in found["collectives"]:
        key = f"{collective['kind']} over {collective['axis']}, bytes"
        kinds[key] = kinds.get(key, 0) + collective["bytes"]
    names = "bytes_per_example", "peak_bytes_per_chip"
    return {name: found[name] for name in names} | kinds


def worse(before, now):
    """What has grown by more than 3 %, or is a collective that was not there, in words."""
    before, now = costs(before), costs(now)
    return [
        f"{name}: {before.get(name, 0):,.0f} -> {value:,.0f}"
        for name, value in now.items()
        if value > TOLERANCE * before.get(name, 0)
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", choices=RECIPES, action="append")
    arguments = parser.parse_args()
    recorded = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in arguments.only or RECIPES:
        recorded[name] = {
            "encoder": RECIPES[name],
            "made": {
                "date": datetime.date.today().isoformat(),
                "jax": importlib.metadata.version("jax"),
                "libtpu": importlib.metadata.version("libtpu"),
            },
            "command": " ".join(["jssl", *command(name)[3:]]),
            "found": measure(name),
        }
        RESULTS.write_text(json.dumps(recorded, indent=1) + "\n")
        print(f"{name}: {costs(recorded[name]['found'])}", flush=True)


if __name__ == "__main__":
    main()
