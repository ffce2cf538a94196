"""The soak in short: each method killed once while it saves, one with every fault."""

import importlib.util
import json
from pathlib import Path

import pytest

FILE = Path(__file__).parents[2] / "benchmarks" / "soak.py"


@pytest.fixture(scope="module")
def soak():
    spec = importlib.util.spec_from_file_location("soak", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.long
@pytest.mark.parametrize("method", ["byol", "mae", "moco_v2", "dino"])
def test_killed_and_resumed(soak, method, tmp_path):
    out = tmp_path / "soak.json"
    code = soak.main(["--methods", method, "--kills", "2", "--faults", "--out", str(out)])
    found = json.loads(out.read_text())["methods"][method]["kills"]
    assert code == 0, found
    assert found["same"]
    assert found["step"] + found["save"] + found["start"] == 2


@pytest.mark.long
def test_every_fault(soak, tmp_path):
    out = tmp_path / "soak.json"
    code = soak.main(["--methods", "simclr", "--kills", "0", "--out", str(out)])
    found = json.loads(out.read_text())["methods"]["simclr"]
    assert code == 0, found
    assert list(found) == list(soak.FAULTS)
    assert len({row["sha256"] for name, row in found.items() if name != "nan"}) == 1


@pytest.mark.parametrize(
    ("code", "line", "told"),
    [
        (0, "jssl: a word", "exit code 0"),
        (2, "Traceback", "not one line"),
        (2, "jssl: another", "'a word' is not in: jssl: another"),
    ],
)
def test_a_run_that_ends_otherwise_is_told(soak, tmp_path, code, line, told):
    run = soak.Run(tmp_path / "run", "simclr", "bundled")
    run.command = ["sh", "-c", f"echo '{line}' >&2; exit {code}"]
    with pytest.raises(soak.Failure, match=told):
        run.refused(run.start(), 2, "a word")
