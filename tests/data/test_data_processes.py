"""Real processes: two that share a batch, and workers whose parent is killed."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from jssl.data import open_source
from jssl.data.order import step_rows

TWO = """
import json, sys
import jax
rank, port, root, resident = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4] == "True"
jax.distributed.initialize(f"127.0.0.1:{port}", num_processes=2, process_id=rank)
from jssl.data import open_source, open_stream
from jssl.data.device import batch_sharding, local_rows
reads = local_rows(batch_sharding(), 8).tolist()
with open_stream(open_source(f"folder:{root}"), 8, seed=3, resident=resident) as stream:
    found = []
    for step in (0, 1, 4):
        index = stream.batch(step)["index"]
        assert index.shape == (8,) and not index.is_fully_addressable
        for shard in index.addressable_shards:
            found.append((step, shard.index[0].start, shard.data.tolist()))
print(json.dumps([reads, found]))
"""

KILLED = """
import multiprocessing, os, signal, sys
from jssl.data import open_source, open_stream
if __name__ == "__main__":
    source = open_source(f"folder:{sys.argv[1]}")
    stream = open_stream(source, 8, seed=3, resident=False, workers=2)
    stream.batch(0)
    print(*[child.pid for child in multiprocessing.active_children()], flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def environment(devices):
    flags = f"--xla_force_host_platform_device_count={devices}"
    return {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@pytest.mark.parametrize("resident", [True, False])
def test_two_processes_partition_the_global_batch(picture_folder, resident):
    root, port = str(picture_folder[0]), free_port()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TWO, str(rank), port, root, str(resident)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(2),
        )
        for rank in range(2)
    ]
    outputs = [process.communicate(timeout=120) for process in processes]
    assert all(process.returncode == 0 for process in processes), outputs
    results = [json.loads(out) for out, _ in outputs]
    reads = [rows for rows, _ in results]
    assert [len(rows) for rows in reads] == [4, 4]
    assert sorted(reads[0] + reads[1]) == list(range(8))
    total = len(open_source(f"folder:{root}"))
    for step in (0, 1, 4):
        seen = {}
        for _, found in results:
            mine = {start: v for s, start, v in found if s == step}
            assert len(mine) == 2  # two devices a process, two rows each
            assert not seen.keys() & mine.keys()
            seen |= mine
        rows = np.concatenate([seen[start] for start in (0, 2, 4, 6)])
        np.testing.assert_array_equal(rows, step_rows(3, step, total, 8))


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks at processes through /proc")
def test_workers_end_when_their_parent_is_killed(picture_folder, tmp_path):
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    done = subprocess.run(
        [sys.executable, str(script), str(picture_folder[0])],
        capture_output=True,
        text=True,
        env=environment(1) | {"PYTHONPATH": os.pathsep.join(sys.path)},
        timeout=120,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    workers = [int(pid) for pid in done.stdout.split()]
    assert len(workers) == 2
    deadline = time.monotonic() + 20
    while any(alive(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(alive(pid) for pid in workers)
