"""Finished runs that more than one file of tests looks at."""

import subprocess
import sys

import pytest


@pytest.fixture(scope="session")
def tiny_mae(tmp_path_factory):
    """An MAE of two steps; its tests share a process, so that it is trained once."""
    workdir = tmp_path_factory.mktemp("runs") / "mae"
    arguments = ["--config", "mae", "--workdir", workdir, "--quiet"]
    arguments += ["--config.encoder.dim=16", "--config.encoder.depth=1", "--config.encoder.heads=2"]
    arguments += ["--config.method.dim=16", "--config.method.heads=2", "--config.train.steps=2"]
    arguments += ["--config.data.limit=64", "--config.train.batch_size=16"]
    arguments += ["--config.eval.every_epochs=0", "--config.eval.limit=70"]
    command = [sys.executable, "-m", "jssl", "pretrain", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True, timeout=600)
    return workdir
