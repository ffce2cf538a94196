"""A run that needs another, finished one: BEiT and its tokenizer, from folder to folder."""

import json
import shutil

import jax
import numpy as np
import pytest

from jssl.cli import main, runs

TINY = [
    "--config.data.limit=48",
    "--config.train.batch_size=16",
    "--config.train.steps=4",
    "--config.checkpoint.every_steps=2",
    "--config.eval.every_epochs=0",
    "--config.eval.limit=50",
    "--config.eval.k=3",
]
VQVAE = ["--config.encoder.width=8", "--config.encoder.blocks=(1,1)", "--config.method.k=16",
         "--config.method.dim=8", "--config.method.width=16"]  # fmt: skip
BEIT = ["--config.encoder.dim=24", "--config.encoder.depth=1", "--config.encoder.heads=2"]
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("frozen")]


# The tests of one pair of runs share a process, so that they are trained once.
pytestmark = [pytest.mark.xdist_group("frozen runs"), pytest.mark.slow]


@pytest.fixture(autouse=True)
def as_a_user():
    """Outside tests jax promotes; what is strict is tried elsewhere."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def vqvae(workdir, *more):
    arguments = ["--workdir", workdir, *TINY, *VQVAE, *more, "--quiet"]
    return main(["pretrain", "--config", "vqvae", *map(str, arguments)])


def beit(workdir, tokenizer, *more):
    set_to = [] if tokenizer is None else [f"--config.method.tokenizer={tokenizer}"]
    arguments = ["--workdir", workdir, *TINY, *BEIT, *set_to, *more, "--quiet"]
    return main(["pretrain", "--config", "beit", *map(str, arguments)])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished BEiT, the folder of its tokenizer, which is gone by now, and a copy of that."""
    folder = tmp_path_factory.mktemp("frozen")
    tokenizer, kept, workdir = folder / "vqvae", folder / "kept", folder / "beit"
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        assert vqvae(tokenizer) == 0
        assert beit(workdir, tokenizer) == 0
    tokenizer.rename(kept)
    return workdir, tokenizer, kept


def test_the_tokenizer_stays_bit_for_bit_what_was_learned(trained):
    workdir, _, kept = trained
    learned, run = runs.load(kept).train, runs.load(workdir)
    frozen = run.train.state["tokenizer"]
    jax.tree.map(np.testing.assert_array_equal, frozen.params, learned.params)
    jax.tree.map(np.testing.assert_array_equal, frozen.state, learned.state)
    said = run.facts["frozen"]["tokenizer"]["sha256"]
    assert said == runs.sha256({"params": learned.params, "state": learned.state})


def test_no_verb_needs_its_folder_again(trained, capsys):
    workdir, tokenizer, _ = trained
    assert not tokenizer.exists()
    one = ["--rows", "pretrained", "--protocols", "knn", "--json"]
    assert main(["evaluate", "--workdir", str(workdir), *one]) == 0
    assert json.loads(capsys.readouterr().out).keys() == {"pretrained"}
    pictures = np.load(workdir / "pictures.npz")
    assert pictures["reconstruct_names"].tolist() == ["original", "masked", "reconstruction"]
    assert main(["report", "--workdir", str(workdir)]) == 0
    assert main(["inspect", "--workdir", str(workdir), "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["step"] == 4


def test_a_run_goes_on_without_its_folder_and_ends_in_the_same_bits(trained, tmp_path):
    workdir, tokenizer, _ = trained
    part = tmp_path / "part"
    shutil.copytree(workdir, part)
    shutil.rmtree(part / "checkpoints" / "4")
    assert beit(part, tokenizer) == 0
    whole, again = (runs.load(folder).train for folder in (workdir, part))
    assert int(again.step) == 4
    both = (runs.sha256({"params": run.params, "state": run.state}) for run in (whole, again))
    assert len(set(both)) == 1


def test_what_cannot_serve_is_one_clear_line(trained, tmp_path, capsys):
    workdir, tokenizer, kept = trained
    part = tmp_path / "part"
    shutil.copytree(kept, part)
    shutil.rmtree(part / "checkpoints" / "4")
    grey, colours = tmp_path / "grey.npz", tmp_path / "colours.npz"
    for file, channels in ((grey, 1), (colours, 3)):
        image = np.zeros((48, 28, 28, channels), np.uint8)
        np.savez(file, image=image, label=np.zeros(48, np.int32))
    for folder, more, message in (
        (None, [], "beit needs a tokenizer: train one with"),
        (tokenizer, [], f"{tokenizer} holds no run"),
        (part, [], f"{part} stopped at step 2 of 4: finish it"),
        (workdir, [], "tokenizer must be a run of a method that has codes"),
        (kept, ["--config.encoder.patch=7"], "patches, 4x4; it makes 7x7"),
        (kept, [f"--config.data.source=arrays:{colours}"],
         f"method.tokenizer={kept} was trained on images of 1 channel, these have 3"),
    ):  # fmt: skip
        assert beit(tmp_path / "new", folder, *more) == 2
        error = capsys.readouterr().err.strip()
        assert error.startswith("jssl: ")
        assert message in error
        assert len(error.splitlines()) == 1
    assert not (tmp_path / "new" / "config.json").exists()
