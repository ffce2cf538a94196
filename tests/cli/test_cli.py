"""The command line as a user meets it: runs, kills, resumes, refuses."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from backend import ONE_DEVICE
from PIL import Image

SMALL = [
    "--config.data.limit=96",
    "--config.train.batch_size=16",
    # Two blocks: most of the time of a short run is compiling.
    "--config.encoder.name=resnet",
    "--config.encoder.blocks=(1,1)",
    "--config.encoder.width=8",
    "--config.train.log_every=2",
    "--config.eval.limit=200",
    "--config.eval.k=5",
]
ENVIRONMENT = os.environ | {
    "XLA_FLAGS": ONE_DEVICE,
    "PYTHONWARNINGS": "default",
}


def jssl(*arguments, code=0, env=None):
    done = subprocess.run(
        [sys.executable, "-m", "jssl", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=ENVIRONMENT | (env or {}),
        timeout=600,
    )
    assert done.returncode == code, done.stderr + done.stdout
    return done


def pretrain(workdir, *more, config="simclr", **options):
    return jssl("pretrain", "--config", config, "--workdir", workdir, *SMALL, *more, **options)


def inspect(workdir):
    return json.loads(jssl("inspect", "--workdir", workdir, "--json").stdout)


# The tests of one finished run share a process, so that it is trained once.
of_one_run = pytest.mark.xdist_group("of_one_run")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run of 12 steps."""
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    done = pretrain(workdir, "--config.train.epochs=2", "--config.checkpoint.every_steps=4")
    assert "Epoch 2/2  loss" in done.stdout
    assert "proxy accuracy" in done.stdout
    assert "collapsed" not in done.stdout
    return workdir


@of_one_run
def test_inspect(trained):
    found = inspect(trained)
    assert found["step"] == 12
    assert found["parameters"] > 1000
    assert len(found["sha256"]) == 64
    table = jssl("inspect", "--workdir", trained).stdout
    assert "encoder/" in table
    assert "sha256" in table


@of_one_run
def test_the_same_command_again_does_nothing(trained):
    before = inspect(trained)
    pretrain(trained, "--config.train.epochs=2", "--config.checkpoint.every_steps=4")
    assert inspect(trained) == before


@of_one_run
@pytest.mark.slow
def test_killed_at_any_moment_ends_in_the_same_bits(trained, tmp_path):
    """kill -9 at several moments, the last of them while checkpoints are being written."""
    workdir = tmp_path / "killed"
    command = [sys.executable, "-m", "jssl", "pretrain", "--config", "simclr"]
    command += ["--workdir", str(workdir), *SMALL, "--config.train.epochs=2"]
    command += ["--config.checkpoint.every_steps=4"]
    rng = np.random.default_rng(0)
    killed = 0
    for step in (1, 4, 8, 9):
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENVIRONMENT
        )
        metrics, deadline = workdir / "metrics.jsonl", time.time() + 300
        while process.poll() is None and time.time() < deadline:
            if metrics.exists() and f'"step": {step + step % 2},' in metrics.read_text():
                break
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.05))
        process.kill()
        killed += process.wait() == -signal.SIGKILL
    assert killed >= 2  # the others had finished before the signal came
    pretrain(workdir, "--config.train.epochs=2", "--config.checkpoint.every_steps=4")
    assert inspect(workdir) == inspect(trained)


@of_one_run
def test_sigterm_saves_and_the_same_command_goes_on(trained, tmp_path):
    workdir = tmp_path / "stopped"
    more = ["--config.train.epochs=2", "--config.checkpoint.every_steps=4"]
    command = [sys.executable, "-m", "jssl", "pretrain", "--config", "simclr"]
    command += ["--workdir", str(workdir), *SMALL, *more]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
    while not (workdir / "metrics.jsonl").exists() or not (workdir / "metrics.jsonl").read_text():
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=300)
    if process.returncode:  # else it had finished before the signal came
        assert process.returncode == 130
        assert "the same command goes on from there" in out
    pretrain(workdir, *more)
    assert inspect(workdir) == inspect(trained)


@of_one_run
def test_evaluate_embed_report(trained, tmp_path):
    rows = json.loads(jssl("evaluate", "--workdir", trained, "--json").stdout)
    assert rows == json.loads((trained / "table.json").read_text())
    assert list(rows) == ["raw_pixels", "random_encoder", "pretrained"]
    for row in rows.values():
        interval = row.pop("linear_10_per_class_interval", None)
        assert list(row) == ["knn", "linear", "linear_10_per_class"]
        assert all(0.1 < value < 1 for value in row.values() if value is not None)
        assert interval is None or interval[0] <= row["linear_10_per_class"] <= interval[1]

    row = json.loads(jssl("compare", trained, "--json").stdout)["rows"][-1]
    assert row["metrics"]["knn"] == [rows["pretrained"]["knn"]]
    assert row["cost"]["parameters"] == [inspect(trained)["parameters"]]
    assert row["cost"]["flops"][0] > 1e5

    tuned = ["evaluate", "--workdir", trained, "--protocols", "fine_tuned_10_percent", "--json"]
    rows = json.loads(jssl(*tuned, "--rows", "raw_pixels,pretrained").stdout)
    assert rows["raw_pixels"] == {"fine_tuned_10_percent": None}
    # Of a few dozen labels there is little to learn: that it runs is all that this says.
    assert 0 < rows["pretrained"]["fine_tuned_10_percent"] < 1

    photos = tmp_path / "photos"
    photos.mkdir()
    for i in range(5):
        pixels = np.random.default_rng(i).integers(0, 255, (40 + i, 50, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(photos / f"photo {i}.png")
    arguments = ("embed", "--workdir", trained, "--input", photos, "--output")
    jssl(*arguments, tmp_path / "e.npz")
    embedded = np.load(tmp_path / "e.npz")
    assert embedded["embedding"].shape == (5, 16)
    assert embedded["name"].tolist() == [f"photo {i}.png" for i in range(5)]
    jssl(*arguments, tmp_path / "e.parquet")
    from pyarrow import parquet

    table = parquet.read_table(tmp_path / "e.parquet")
    np.testing.assert_array_equal(np.stack(table["embedding"].to_numpy()), embedded["embedding"])
    assert table["name"].to_pylist() == embedded["name"].tolist()

    said = jssl("report", "--workdir", trained).stdout
    page = (trained / "report.html").read_text()
    assert str(trained / "report.html") in said
    assert "simclr" in page


@pytest.mark.long
def test_a_run_of_many_crops_is_evaluated_and_shown(tmp_path):
    """Crops of two sizes, prototypes in the parameters, and a teacherless state: SwAV."""
    crops = ["--config.augment_local.count=2", "--config.method.prototypes=16"]
    pretrain(tmp_path, *crops, "--config.train.steps=4", config="swav")
    evaluate = ["evaluate", "--workdir", tmp_path, "--rows", "pretrained", "--protocols", "knn"]
    assert list(json.loads(jssl(*evaluate, "--json").stdout)) == ["pretrained"]
    assert np.load(tmp_path / "pictures.npz")["views"].shape == (8, 4, 28, 28, 1)
    jssl("report", "--workdir", tmp_path)
    assert "Alignment" in (tmp_path / "report.html").read_text()


@pytest.mark.slow
def test_a_forced_collapse_is_called_in_the_progress_line_and_in_the_report(tmp_path):
    """BYOL without predictor and without EMA (its paper's table 5)."""
    options = ["--config.train.epochs=20", "--config.eval.every_epochs=0"]
    forced = ["--config.method.predict=false", "--config.method.tau=0"]
    healthy = pretrain(tmp_path / "healthy", *options, config="byol")
    assert "collapsed" not in healthy.stdout
    said = pretrain(tmp_path / "collapsed", *options, *forced, config="byol").stdout.strip()
    assert "collapsed: All projections fall close to one point" in said.splitlines()[-1]
    assert "collapsed" not in said.partition("Epoch 2/")[0]
    jssl("report", "--workdir", tmp_path / "collapsed")
    assert "<b>Collapsed.</b>" in (tmp_path / "collapsed" / "report.html").read_text()


@of_one_run
def test_another_config_in_the_same_folder_is_refused(trained):
    done = pretrain(trained, "--config.optimizer.lr=7", code=2)
    assert "holds a run with" in done.stderr
    assert "choose another --workdir" in done.stderr
    assert "Traceback" not in done.stderr


@of_one_run
def test_a_method_that_fills_nothing_in_is_refused(trained):
    done = jssl("reconstruct", "--workdir", trained, code=2)
    assert done.stderr.strip() == "jssl: simclr fills nothing in: nothing to reconstruct"


def test_a_second_process_in_one_workdir_is_refused(tmp_path, capsys):
    """The lock goes with its holder, even where that is killed outright."""
    from jssl.cli import main, runs

    hold = (
        "import pathlib, sys, time; from jssl.cli import runs\n"
        "with runs.alone(pathlib.Path(sys.argv[1])):\n"
        "    print('held', flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", hold, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        arguments = ["pretrain", "--config", "simclr", "--workdir", str(tmp_path), *SMALL]
        assert main(arguments) == 2
        error = capsys.readouterr().err.strip()
        told = f"{tmp_path} is being trained by another process (pid {holder.pid})"
        assert error == f"jssl: {told}"
        assert not (tmp_path / "config.json").exists()
        holder.kill()
    for _ in range(2):  # and goes when it is done, too
        with runs.alone(tmp_path):
            assert (tmp_path / "lock").read_text() == str(os.getpid())


@of_one_run
def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_is_used(trained, tmp_path):
    import shutil

    workdir = tmp_path / "damaged"
    shutil.copytree(trained, workdir)
    files = [f for f in (workdir / "checkpoints" / "12").rglob("*") if f.is_file()]
    largest = max(files, key=lambda f: f.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-100])
    more = ("--config.train.epochs=2", "--config.checkpoint.every_steps=4")
    done = pretrain(workdir, *more)
    assert "checkpoint 12 is damaged" in done.stderr
    assert "Going on from the checkpoint of step 8" in done.stdout
    assert inspect(workdir) == inspect(trained)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pretrain", "--config", "simclr", "--workdir", "W", "--confg.x=1"], "--confg.x=1"),
        (["pretrain", "--config", "simclr", "--workdir", "W", "--config.tran.epochs=1"], "train."),
        (["pretrain", "--config", "simclr:data=flder:x", "--workdir", "W"], "flder:x"),
        (["pretrain", "--config", "simclr:data=folder:/none", "--workdir", "W"], "/none"),
        (["pretrain", "--config", "simclr:data=arrays:/none.npz", "--workdir", "W"], "/none.npz"),
        (["pretrain", "--config", "simclr", "--workdir", "W", "--config.train.batch_size=99999"],
         "99999"),
        (["pretrain", "--config", "simclr", "--workdir", "W", "--config.mesh.fsdp=3"], "mesh.fsdp"),
        (["pretrain", "--config", "simclr", "--workdir", "W", "--config.method.temperature=-1"],
         "temperature must be > 0, got -1"),
        (["pretrain", "--config", "simclr", "--workdir", "W", "--config.train.batch_size=100"],
         "train.batch_size=100 must be a multiple of devices"),
        (["pretrain", "--config", "simclr", "--workdir", "W", "--config.augment_local.count=2",
          "--config.augment_local.size=40"], "between 1 and augment.size=28, got 40"),
        (["pretrain", "--config", "mae:encoder=resnet18", "--workdir", "W"], "mae needs a ViT"),
        (["pretrain", "--config", "mae", "--workdir", "W", "--config.encoder.patch=5"], "patch"),
        (["pretrain", "--config", "simclr", "--workdir", "W", "--config.train.trace=9"], "A:B"),
        (["evaluate", "--workdir", "/none"], "/none holds no run"),
        (["evaluate", "--workdir", "/none", "--rows", "raw_pixel"], "did you mean raw_pixels?"),
        (["inspect", "--workdir", "/none"], "/none holds no run"),
        (["report", "--workdir", "/none"], "/none holds no run"),
        (["embed", "--workdir", "/none", "--input", "x", "--output", "y.txt"], "y.txt"),
    ],
)  # fmt: skip
def test_bad_input_is_one_clear_line_and_exit_2(arguments, message, tmp_path, capsys, monkeypatch):
    from jssl.cli import main

    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert error.startswith("jssl: ")
    assert len(error.splitlines()) == 1


def test_help_and_list_answer_at_once():
    for arguments in (["--help"], ["list"], ["list", "--json"]):
        seconds = []
        for _ in range(3):  # the best of three: other tests share the machine
            began = time.perf_counter()
            jssl(*arguments)
            seconds.append(time.perf_counter() - began)
        assert min(seconds) < 2
    verbs = ("quickstart", "pretrain", "evaluate", "embed", "reconstruct", "report", "inspect")
    for verb in (*verbs, "list"):
        assert "--" in jssl(verb, "--help").stdout
    found = json.loads(jssl("list", "--json").stdout)
    assert {"simclr", "byol", "mae"} <= found["methods"].keys()
    assert "resnet18" in found["encoders"]
    assert found["recipes"]["mae"] == ["small", "imagenet"]
    assert "quickstart" not in found["recipes"]


def test_a_second_process_reuses_the_compiled_programs(tmp_path):
    env = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache")}
    more = ["--config.train.steps=1", "--config.eval.every_epochs=0"]

    def steps():
        # Others take about as long to compile as is worth keeping, and are there by chance.
        return {f.name for f in (tmp_path / "cache").glob("jit_step-*-cache")}

    pretrain(tmp_path / "a", *more, env=env)
    (step,) = steps()
    pretrain(tmp_path / "b", *more, env=env)
    assert steps() == {step}
