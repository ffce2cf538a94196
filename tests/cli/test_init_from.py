"""Runs that begin from another's checkpoint, from folder to folder."""

import json
import shutil

import jax
import numpy as np
import pytest

from jssl.cli import main, runs
from jssl.nn import layers

SMALL = [
    "--config.data.limit=48",
    "--config.train.batch_size=16",
    "--config.train.steps=4",
    "--config.checkpoint.every_steps=2",
    "--config.eval.every_epochs=0",
]
ENCODER = ["--config.encoder.name=resnet", "--config.encoder.blocks=(1,1)",
           "--config.encoder.width=8", "--config.encoder.stem=2x2"]  # fmt: skip
FREEZE = "--config.freeze=first:2"
# The tests of these runs share a process, so that they are trained once.
pytestmark = [pytest.mark.xdist_group("transferred runs"), pytest.mark.long]


@pytest.fixture(autouse=True)
def as_a_user():
    """Outside tests jax promotes; what is strict is tried elsewhere."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def pretrain(config, workdir, *more):
    arguments = ["--workdir", workdir, *SMALL, *more, "--quiet"]
    return main(["pretrain", "--config", config, *map(str, arguments)])


def sha256(workdir):
    train = runs.load(workdir).train
    return runs.sha256({"params": train.params, "state": train.state})


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run, and one from it with all but its last layer and the head frozen.

    The folder of the first is gone, but for a copy.
    """
    folder = tmp_path_factory.mktemp("transfer")
    source, kept, tuned = folder / "source", folder / "kept", folder / "tuned"
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        assert pretrain("supervised", source, *ENCODER) == 0
        assert pretrain("supervised", tuned, f"--config.init_from={source}", FREEZE) == 0
    source.rename(kept)
    return tuned, source, kept


def test_it_begins_with_the_others_encoder_and_frozen_layers_stay_so(trained):
    tuned, source, kept = trained
    run, other = runs.load(tuned), runs.load(kept)
    assert run.facts["init_from"] == {
        "run": str(source),
        "what": "encoder",
        "method": "supervised",
        "step": 4,
        "sha256": sha256(kept),
    }
    assert run.config.encoder == other.config.encoder
    assert run.config.augment.mean == other.config.augment.mean
    same = jax.tree.map(
        lambda x, y: np.asarray(x).tobytes() == np.asarray(y).tobytes(),
        run.train.params,
        other.train.params,
    )
    frozen = layers.frozen(same, FREEZE.partition("=")[2])
    assert sum(jax.tree.leaves(frozen)) == 9
    assert same == frozen


def test_inspect_marks_each_layer_with_its_count(trained, capsys):
    tuned, _, kept = trained
    assert main(["inspect", "--workdir", str(tuned), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    parts = found["layers"]
    assert parts["encoder/stem"] == {"trainable": 0, "frozen": 32, "from_step": 0}
    assert parts["encoder/stage1_block1"]["frozen"] == 2 * (9 * 8 * 8 + 16)
    assert parts["encoder/stage2_block1"]["frozen"] == 0
    assert parts["head"] == {"trainable": 170, "frozen": 0, "from_step": 0}
    assert found["frozen"] + found["trainable"] == found["parameters"]
    assert main(["inspect", "--workdir", str(tuned)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["encoder/stage1_block1", "frozen", "1,184"] in lines
    assert ["head", "trainable", "170"] in lines
    assert ["frozen", f"{found['frozen']:,}"] in lines
    assert main(["inspect", "--workdir", str(kept), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["frozen"] == 0


def test_a_run_goes_on_without_the_folder_and_ends_in_the_same_bits(trained, tmp_path):
    tuned, source, _ = trained
    assert not source.exists()
    part = tmp_path / "part"
    shutil.copytree(tuned, part)
    shutil.rmtree(part / "checkpoints" / "4")
    told = json.loads((part / "data.json").read_text())["init_from"]
    assert pretrain("supervised", part, f"--config.init_from={source}", FREEZE) == 0
    assert sha256(part) == sha256(tuned)
    assert runs.load(part).facts["init_from"] == told


def test_all_of_a_run_is_taken_on_to_other_data(trained, tmp_path):
    _, _, kept = trained
    images = np.random.default_rng(0).integers(0, 255, (48, 20, 20, 1)).astype(np.uint8)
    np.savez(tmp_path / "other.npz", image=images, label=np.arange(48) % 10)
    more = ["--config.init_what=all", f"--config.data.source=arrays:{tmp_path}/other.npz"]
    # A learning rate of nothing: what is saved is what was taken on, the head too.
    still = ["--config.train.steps=1", "--config.optimizer.lr=0.0"]
    workdir = tmp_path / "on"
    assert pretrain("supervised", workdir, f"--config.init_from={kept}", *more, *still) == 0
    run, other = runs.load(workdir).train, runs.load(kept).train
    assert np.any(other.params["head"]["kernel"])
    jax.tree.map(np.testing.assert_array_equal, run.params, other.params)


def test_what_cannot_serve_is_one_clear_line(trained, tmp_path, capsys):
    _, source, kept = trained
    np.savez(
        tmp_path / "rgb.npz", image=np.zeros((48, 28, 28, 3), np.uint8), label=np.zeros(48, int)
    )
    whole = "--config.init_what=all"
    freeze = "--config.freeze="
    for folder, more, message in (
        (source, [], f"init_from={source} holds no run"),
        (kept, ["--config.init_what=head"], "init_what must be one of encoder, all, got 'head'"),
        (kept, ["--config.encoder.width=16"], "as stage1_block1/norm1/mean, this run needs [16]"),
        (kept, [f"{freeze}first:9"], "freeze=first:N takes 1 to 3, the layers there are: first:9"),
        (kept, [f"{freeze}heads"], "or a pattern of names such as encoder/stage1*; no parameter"),
        (kept, [whole], "this run needs nothing; init_what=encoder asks for the encoder alone"),
        (kept, [f"--config.data.source=arrays:{tmp_path}/rgb.npz"],
         f"init_from={kept} was trained on images of 1 channel, these have 3: give data.channels"),
    ):  # fmt: skip
        assert pretrain("simclr", tmp_path / "new", f"--config.init_from={folder}", *more) == 2
        error = capsys.readouterr().err.strip()
        assert error.startswith("jssl: ")
        assert message in error
        assert len(error.splitlines()) == 1
    assert not (tmp_path / "new" / "config.json").exists()
