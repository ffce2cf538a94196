"""On two cores, where batched LAPACK calls that wait for each other would never end."""

import os
import subprocess
import sys

import pytest

CODE = """
import os
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
import numpy as np
from jssl.evals.few_labels import few_labels
rng = np.random.default_rng(0)
y = rng.integers(0, 10, 600)
x = rng.normal(size=(600, 1024)).astype(np.float32)
for seed in range(6):
    few_labels(x[:400], y[:400], x[400:], y[400:], num_classes=10, seed=seed, draws=4)
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux alone can pin processes")
def test_few_labels_ends_on_two_cores():
    env = os.environ | {"XLA_FLAGS": ""}
    subprocess.run([sys.executable, "-c", CODE], env=env, timeout=300, check=True)
