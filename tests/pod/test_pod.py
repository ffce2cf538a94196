"""What needs libtpu, minutes and one process at a time: every config, and the recorded budget."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jssl.cli import config

ROOT = Path(__file__).parents[2]

libtpu = [
    pytest.mark.long,
    pytest.mark.xdist_group("libtpu"),
    pytest.mark.skipif(
        importlib.util.find_spec("libtpu") is None,
        reason="libtpu is not installed: pip install 'jssl[pod]'",
    ),
]


def load(file):
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


budget = load(ROOT / "benchmarks" / "pod_budget.py")
RECORDED = json.loads(budget.RESULTS.read_text())


def compile_for(*arguments, code=0):
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    done = subprocess.run(
        [sys.executable, "-m", "jssl", "compile", *arguments],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == code, done.stderr + done.stdout
    return done


def test_the_command_refuses_in_one_line():
    done = compile_for("--config", "simclr", "--topology", "v9:4x4", code=2)
    assert done.stderr.startswith("jssl: --topology must be v4:AxBxC, v5e:AxB")
    assert done.stderr.count("\n") == 1


def test_the_budget_notices_what_is_worse():
    before = next(iter(RECORDED.values()))["found"]
    assert budget.worse(before, before) == []
    assert budget.worse(before, before | {"peak_bytes_per_chip": 1}) == []
    for name in ("bytes_per_example", "peak_bytes_per_chip"):
        assert budget.worse(before, before | {name: before[name] * 1.02}) == []
        (line,) = budget.worse(before, before | {name: before[name] * 1.04})
        assert line.startswith(f"{name}: ")
    first, *others = before["collectives"]
    grown = [first | {"bytes": round(first["bytes"] * 1.5)}, *others]
    assert budget.worse(before, before | {"collectives": grown})
    new = {"kind": "all-to-all", "axis": "fsdp", "bytes": 8}
    assert budget.worse(before, before | {"collectives": [first, *others, new]}) == [
        "all-to-all over fsdp, bytes: 0 -> 8"
    ]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=libtpu) for name in config.shipped_configs()]
)
def test_every_config_compiles_for_a_pod(name):
    done = compile_for("--config", name, "--topology", "v5e:4x4", "--size", "32", "--json")
    found = json.loads(done.stdout)
    assert found["fits"]
    assert found["bytes_per_image"] <= found["bytes_per_example"]
    assert found["collectives"]


@pytest.mark.parametrize("name", [pytest.param(name, marks=libtpu) for name in RECORDED])
def test_nothing_is_worse_than_recorded(name):
    assert budget.worse(RECORDED[name]["found"], budget.measure(name)) == []
