"""What `jssl evaluate` asks of a run itself, beside its embeddings."""

import json

import jax
import numpy as np
import pytest
from PIL import Image

from jssl import data
from jssl.augment import corruptions
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


@pytest.mark.long
def test_masks_of_a_folder_are_found_in_tokens(tiny_mae, tmp_path, capsys):
    rng = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for i in range(24):
        mask = np.full((30, 40), 2, np.uint8)
        top, left = rng.integers(2, 10, 2)
        mask[top : top + 18, left + 5 : left + 22] = 1
        mask[top] = 3
        Image.fromarray(np.where(mask == 1, 220, 30).astype(np.uint8)).save(
            tmp_path / "images" / f"{i}.png"
        )
        Image.fromarray(mask).save(tmp_path / "masks" / f"{i}.png")
    found = evaluate(tiny_mae, capsys, "--masks", str(tmp_path), "--ignore", "3")
    kept = json.loads((tiny_mae / "segmentation.json").read_text())
    assert kept["rows"] == found
    assert kept["classes"] == [1, 2]
    assert sum(kept["images"]) == 24
    assert list(found) == ["raw_pixels", "random_encoder", "pretrained"]
    metrics = ["miou", "pixel_accuracy", "iou_1", "iou_2"]
    assert all(list(row["segmentation"]) == metrics for row in found.values())
    assert found["raw_pixels"]["segmentation"]["miou"] > 0.95
    assert found["pretrained"]["segmentation"]["miou"] > 0.6
    for wrong in (["--rows", "all"], ["--ignore", "3", "--ignore", "1"]):
        command = ["evaluate", "--workdir", str(tiny_mae), "--masks", str(tmp_path), *wrong]
        with jax.numpy_dtype_promotion("standard"):
            assert main(command) == 2
    told = capsys.readouterr().err.splitlines()
    assert "has rows of its own" in told[0]
    assert "the masks have 1 classes that count" in told[1]


@pytest.mark.long
def test_corruptions_are_measured_on_each_row(tiny_mae, capsys, monkeypatch):
    few = {name: corruptions.CORRUPTIONS[name] for name in ("shot_noise", "contrast")}
    monkeypatch.setattr(corruptions, "CORRUPTIONS", few)
    options = ["--rows", "raw_pixels,pretrained", "--protocols", "corruptions"]
    found = evaluate(tiny_mae, capsys, *options)
    for row in found.values():
        assert list(row["corruptions"]) == ["clean", *few, "mean", "ece"]
        assert all(0 <= value <= 1 for value in row["corruptions"].values())
    assert (
        found["raw_pixels"]["corruptions"]["contrast"] < found["raw_pixels"]["corruptions"]["clean"]
    )
