"""What to freeze for a new set: the case that is named, and the trial of it."""

import json

import numpy as np
import pytest
from test_cli import jssl

from jssl.cli import advise


@pytest.mark.parametrize(
    ("case", "place"),
    [
        (("small", "similar"), 0),
        (("small", "different"), 1),
        (("large", "similar"), 2),
        (("large", "different"), 2),
    ],
)
def test_every_case_has_its_policy_and_reason(case, place):
    assert advise._place(case) == place
    assert case in advise.REASONS


@pytest.mark.long
def test_a_new_set_is_measured_and_what_is_advised_is_tried(tmp_path):
    rng, run = np.random.default_rng(0), tmp_path / "run"
    small = ("--config.encoder.width=4", "--config.train.steps=2", "--config.data.limit=200")
    jssl("pretrain", "--config", "simclr:batch_size=50", "--workdir", run, *small)
    label = np.arange(100) % 2
    image = rng.integers(0, 100, (100, 28, 28, 1)) + 155 * label[:, None, None, None]
    np.savez(tmp_path / "new.npz", image=image.astype(np.uint8), label=label)
    new = ("advise", "--workdir", run, "--data", f"arrays:{tmp_path / 'new.npz'}")
    advice = json.loads(jssl(*new, "--run", "--json").stdout)
    assert (advice["examples"], advice["classes"], advice["per_class"]) == (100, 2, 50)
    assert advice["case"] == "small and different"
    assert advice["distance"] > advise.DIFFERENT > advice["chance"]
    assert list(advice["tried"]) == ["all", "first:4", "none"]
    assert advice["freeze"] == "first:4"
    assert max(advice["tried"].values()) > 0.9  # brightness alone tells the classes
    own = json.loads(jssl("advise", "--workdir", run, "--data", "bundled", "--json").stdout)
    assert own["case"] == "large and similar"
    assert own["distance"] < 0.1
    np.savez(tmp_path / "new.npz", image=image.astype(np.uint8))
    assert "has no labels" in jssl(*new, code=2).stderr
