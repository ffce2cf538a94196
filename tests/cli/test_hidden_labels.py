"""Learning from few labels on the command line: hidden labels, exact resume, its own classifier."""

import json
import shutil

import pytest
import test_cli

SMALL = ("--config.data.limit=600", "--config.data.labels=50", "--config.train.batch_size=16",
         "--config.encoder.width=4", "--config.train.steps=4",
         "--config.checkpoint.every_steps=2")  # fmt: skip


@pytest.mark.long
def test_fixmatch_goes_on_as_if_never_stopped_and_tells_the_test_part(tmp_path):
    whole, part = tmp_path / "whole", tmp_path / "part"
    train = ("pretrain", "--config", "fixmatch", *SMALL, "--workdir")
    test_cli.jssl(*train, whole)
    facts = json.loads((whole / "data.json").read_text())
    assert (facts["labels"], facts["examples"], facts["steps_per_epoch"]) == (50, 600, 5)
    assert "knn" not in (whole / "metrics.jsonl").read_text()
    shutil.copytree(whole, part)
    shutil.rmtree(part / "checkpoints" / "4")
    assert test_cli.inspect(part)["step"] == 2
    test_cli.jssl(*train, part)
    assert test_cli.inspect(part)["sha256"] == test_cli.inspect(whole)["sha256"]
    done = test_cli.jssl("evaluate", "--workdir", whole, "--protocols", "classifier", "--json")
    rows = json.loads(done.stdout)
    assert rows["raw_pixels"] == {"classifier": None}
    assert all(0 <= rows[name]["classifier"] <= 1 for name in ("random_encoder", "pretrained"))
