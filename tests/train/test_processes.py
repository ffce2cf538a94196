"""One run of several processes: the same numbers, a clear end where one is gone, and on again."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from backend import ONE_DEVICE

from jssl.cli import runs
from jssl.data.order import step_rows
from jssl.train import processes

# `jssl`, which writes down the numbers of the examples that lie on its devices at each step.
JSSL = """
import json, sys
from jssl.cli import main
from jssl.data.stream import Stream
take = Stream.batch
def batch(self, step):
    found = take(self, step)
    rows = [row for shard in found["index"].addressable_shards for row in shard.data.tolist()]
    with open(sys.argv[1], "a") as file:
        print(json.dumps([step, rows]), file=file)
    return found
Stream.batch = batch
sys.exit(main(sys.argv[2:]))
"""
STEPS, PER_EPOCH, BATCH, EXAMPLES = 9, 6, 16, 100
CONFIG = {
    "data.limit": EXAMPLES,
    "train.batch_size": BATCH,
    "train.steps": STEPS,
    "train.log_every": 1,
    "checkpoint.every_steps": 2,
    "encoder.name": "resnet",
    "encoder.blocks": "(1,)",
    "encoder.width": 8,
    "optimizer.name": "sgd",
    "precision": "float64",
    "mesh.fsdp": 2,
    "eval.k": 5,
}


def start(workdir, count, devices):
    """So many processes of so many devices each, that train in one folder."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    flags = f"{ONE_DEVICE} --xla_force_host_platform_device_count={devices}"
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "JAX_ENABLE_X64": "1"}
    config = [f"--config.{key}={value}" for key, value in CONFIG.items()]
    command = ["pretrain", "--config", "simclr", "--workdir", str(workdir), *config]
    started = []
    for number in range(count):
        if count > 1:
            values = (f"127.0.0.1:{port}", str(count), str(number))
            environment |= dict(zip(processes.VARIABLES, values, strict=True))
        seen = f"{workdir}.seen.{count}.{number}"
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", JSSL, seen, *command],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=environment,
            )
        )
    return started


def finish(started, codes):
    said = [process.communicate(timeout=400) for process in started]
    assert [process.returncode for process in started] == codes, said
    return said


def wait_for_step(workdir, step, started):
    deadline = time.time() + 400
    while f'"step": {step},' not in metrics_text(workdir):
        assert all(process.poll() is None for process in started)
        assert time.time() < deadline
        time.sleep(0.01)


def metrics_text(workdir):
    file = workdir / "metrics.jsonl"
    return file.read_text() if file.exists() else ""


def losses(workdir):
    lines = map(json.loads, metrics_text(workdir).splitlines())
    return [line["loss"] for line in lines if "loss" in line]


def seen(workdir):
    """The examples of each step, over all processes of one start."""
    steps = {}
    for file in workdir.parent.glob(f"{workdir.name}.seen.*"):
        start = file.name.rpartition(".")[0]
        for step, rows in {s: r for s, r in map(json.loads, file.read_text().splitlines())}.items():
            steps.setdefault(step, {}).setdefault(start, []).extend(rows)
    return steps


def assert_same_run(workdir, whole):
    assert len(losses(workdir)) == STEPS
    np.testing.assert_allclose(losses(workdir), losses(whole), rtol=1e-6)
    with jax.enable_x64(True):
        trees = [runs.load(folder).train for folder in (workdir, whole)]
    for x, y in zip(*(jax.tree.leaves((t.params, t.state)) for t in trees), strict=True):
        assert x.dtype != np.float32
        np.testing.assert_allclose(x, y, rtol=1e-6, atol=1e-9)


# One process trains what all are compared with.
of_one_run = pytest.mark.xdist_group("several_processes")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of one process of four devices."""
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    finish(start(workdir, 1, 4), [0])
    return workdir


@of_one_run
@pytest.mark.long
def test_two_processes_are_one_run_and_one_that_is_gone_ends_it(whole, tmp_path):
    """Also when it is killed in between: told by the other, and the same numbers in the end."""
    workdir = tmp_path / "two"
    started = start(workdir, 2, 2)
    wait_for_step(workdir, 4, started)
    started[1].kill()
    said = finish(started, [1, -signal.SIGKILL])
    assert "another process of this run is gone or cannot be reached" in said[0][1]
    assert "Traceback" not in said[0][1]
    assert 1 <= len(losses(workdir)) < STEPS
    (out, _), (other, _) = finish(start(workdir, 2, 2), [0, 0])
    assert "Going on from the checkpoint of step" in out
    assert "Epoch 2/2  loss" in out
    assert "Epoch" not in other  # process 0 alone speaks
    assert_same_run(workdir, whole)
    for step, starts in seen(workdir).items():
        for rows in starts.values():
            assert len(rows) == BATCH
            assert sorted(rows) == sorted(step_rows(0, step, EXAMPLES, BATCH))


@of_one_run
@pytest.mark.long
def test_any_process_may_be_told_to_stop_and_another_number_of_them_goes_on(whole, tmp_path):
    """Two processes of two devices, then one of two: no example twice, none left out."""
    workdir = tmp_path / "fewer"
    started = start(workdir, 2, 2)
    wait_for_step(workdir, 1, started)
    started[1].send_signal(signal.SIGTERM)
    (out, _), _ = finish(started, [130, 130])
    stopped = len(losses(workdir))
    assert f"stopped and saved at step {stopped} of {STEPS}" in out
    assert stopped < STEPS
    for file in workdir.parent.glob(f"{workdir.name}.seen.*"):  # of the steps that are saved
        lines = [line for line in file.read_text().splitlines() if json.loads(line)[0] < stopped]
        file.write_text("\n".join(lines))
    (out, _) = finish(start(workdir, 1, 2), [0])[0]
    assert f"Going on from the checkpoint of step {stopped}" in out
    assert_same_run(workdir, whole)
    steps = seen(workdir)
    taken = [rows for step in range(PER_EPOCH) for rows in steps[step].values()]
    assert sorted(map(len, taken)) == [BATCH] * PER_EPOCH
    assert len(set().union(*taken)) == PER_EPOCH * BATCH


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"JAX_NUM_PROCESSES": "2"}, "JAX_COORDINATOR_ADDRESS and JAX_PROCESS_ID must be too"),
        ({"JAX_COORDINATOR_ADDRESS": "host"}, "JAX_NUM_PROCESSES and JAX_PROCESS_ID must be too"),
        (("host", "2", "0"), "must be HOST:PORT, got 'host'"),
        (("host:1", "2", "2"), "from 0 to JAX_NUM_PROCESSES - 1, got '2' of '2'"),
        (("host:1", "two", "0"), "got '0' of 'two'"),
    ],
)
def test_processes_that_are_named_wrongly(given, message):
    if isinstance(given, tuple):
        given = dict(zip(processes.VARIABLES, given, strict=True))
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        processes.join(given)


def test_a_process_alone_joins_none_and_hears_itself():
    processes.join({})
    assert not jax.distributed.is_initialized()
    assert processes.said_by_first("a line") == "a line"
    assert processes.said_by_first(None) is None
