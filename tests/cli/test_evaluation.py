"""What `jssl evaluate` asks of a run itself, beside its embeddings."""

import json

import jax
import numpy as np
import pytest

from jssl import data
from jssl.cli import evaluation, main, runs

# The tests of one finished run share a process, so that it is trained once.
pytestmark = pytest.mark.xdist_group("of_one_mae")


def evaluate(workdir, capsys, *arguments):
    with jax.numpy_dtype_promotion("standard"):  # optax's schedules mix float and int
        assert main(["evaluate", "--workdir", str(workdir), "--json", *arguments]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.long
def test_views_are_drawn_for_each_example_and_measured(tiny_mae, capsys):
    options = ["--rows", "raw_pixels,pretrained", "--protocols", "unlabelled"]
    found = evaluate(tiny_mae, capsys, *options)
    assert "lidar" not in found["raw_pixels"]["unlabelled"]
    pretrained = found["pretrained"]["unlabelled"]
    assert 1 <= pretrained["lidar"] <= 16
    assert 0 < pretrained["alignment"] < 1
    assert 0 <= pretrained["cluster_learnability"] <= 1
    with jax.numpy_dtype_promotion("standard"):
        run = runs.load(tiny_mae)
    test = data.read_all(runs.open_data(run.config, "test", limit=600))
    views = evaluation._views(run, test)
    assert views.shape == (600, evaluation.VIEWS, 16)
    # More alike than views of others; no two the same, also of examples of other batches.
    own = np.square(views[:, :1] - views[:, 1:]).sum(axis=-1)
    other = np.square(views[:, 0] - np.roll(views[:, 0], 1, axis=0)).sum(axis=-1)
    assert own.min() > 0
    assert own.mean() < other.mean()
    np.testing.assert_array_equal(views, evaluation._views(run, test))
