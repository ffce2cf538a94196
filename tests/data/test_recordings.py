"""`audio:PATH` as a source: what is read of files, what their names say, what is refused."""

import json
import pickle
import shutil

import jax
import numpy as np
import pytest
import soundfile

from jssl import data
from jssl.cli import main

RATE = 8000
PATTERN = "{label}_{group}_{index}"


def tone(seconds, rate=RATE, hertz=440.0):
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


@pytest.fixture
def folder(tmp_path):
    at = tmp_path / "set" / "recordings"
    at.mkdir(parents=True)
    for label in ("0", "1", "10"):
        for group in ("ann", "bob"):
            for i, seconds in enumerate((0.05, 0.2)):
                soundfile.write(at / f"{label}_{group}_{i}.wav", tone(seconds), RATE)
    return at


def opened(path, **options):
    options = {"rate": RATE, "seconds": 0.1, "pattern": PATTERN} | options
    return data.open_source(f"audio:{path}", **options)


@pytest.mark.parametrize("packed", [False, True])
def test_names_say_labels_and_held_groups_are_the_test_split(folder, packed):
    path = folder
    if packed:
        path = shutil.make_archive(str(folder.parent / "set"), "zip", folder.parent, "recordings")
    train, test = (opened(path, split=split, held="bob") for split in ("train", "test"))
    assert train.class_names == test.class_names == ("0", "1", "10")
    assert all("ann" in name for name in train.names)
    assert all("bob" in name for name in test.names)
    assert len(train) == len(test) == 6
    rows = data.read_all(pickle.loads(pickle.dumps(train)))
    assert rows["label"].tolist() == [0, 0, 1, 1, 2, 2]
    assert rows["samples"].tolist() == [400, 800] * 3
    short, long = tone(0.05), tone(0.2)[400:1200]
    np.testing.assert_allclose(rows["signal"][0], np.pad(short, (0, 400)), atol=1e-4)
    np.testing.assert_allclose(rows["signal"][1], long, atol=1e-4)


def test_subfolders_are_classes(folder):
    source = opened(folder.parent, pattern=None)
    assert source.class_names == ("recordings",)
    assert opened(folder, pattern=None).class_names is None


@pytest.mark.parametrize(("ending", "rate"), [("flac", 44100), ("ogg", 16000), ("wav", 11025)])
def test_channels_are_averaged_and_rates_brought_to_one(tmp_path, ending, rate):
    both = np.stack([tone(0.3, rate), np.zeros(round(0.3 * rate))], axis=1)
    soundfile.write(tmp_path / f"a.{ending}", both, rate)
    signal = opened(tmp_path, pattern=None, seconds=0.3)[0]["signal"]
    inner = slice(400, 2000)  # the resampling filter rings at the ends
    np.testing.assert_allclose(signal[inner], tone(0.3)[inner] / 2, atol=0.01)


def test_what_cannot_be_opened(folder, tmp_path):
    (tmp_path / "file").write_bytes(b"no zip")
    for path, options, message in (
        (folder, {"split": "test"}, "has no test split; data.held names groups"),
        (folder, {"held": "carl"}, "groups that are not there, got 'carl'; ann, bob are"),
        (folder, {"pattern": "{index}"}, "pattern must hold"),
        (folder, {"pattern": "{label}-{index}"}, "is not of the pattern"),
        (folder, {"pattern": "{label}_{"}, "brace that is no field's"),
        (folder, {"seconds": 0.0}, "must leave a sample"),
        (tmp_path / "none", {}, "no such folder or zip"),
        (tmp_path / "file", {}, "neither a folder nor a zip"),
    ):
        with pytest.raises(data.DataError, match=message):
            opened(path, **options)


def test_a_damaged_file_is_named_in_one_line(folder):
    names = "0_ann_0", "0_ann_1", "0_bob_0", "0_bob_1"
    paths = [folder / f"{name}.wav" for name in names]
    paths[0].write_bytes(b"")
    paths[1].write_bytes(b"RIFF but no wave at all")
    soundfile.write(paths[2], np.zeros(0), RATE)
    soundfile.write(paths[3], np.full(99, np.nan, np.float32), RATE, subtype="FLOAT")
    source = opened(folder)
    reasons = "empty file", "not recognised", "holds no samples", "not finite"
    for i, reason in enumerate(reasons):
        with pytest.raises(data.Undecodable, match=reason) as error:
            source[i]
        assert str(paths[i]) in str(error.value)
        assert "\n" not in str(error.value)


def test_a_method_of_images_says_so_in_one_line(folder, tmp_path, capsys):
    config = f"simclr:data=audio:{folder}"
    options = [f"--config.data.rate={RATE}", "--config.train.batch_size=8"]
    assert main(["pretrain", "--config", config, "--workdir", str(tmp_path / "run"), *options]) == 2
    assert (
        f"simclr cannot learn from audio:{folder}, which gives no views" in capsys.readouterr().err
    )


@pytest.mark.long
def test_recordings_are_learned_from_evaluated_and_embedded(tmp_path, capsys):
    rng = np.random.default_rng(0)
    (tmp_path / "set").mkdir()
    for group in ("ann", "bob"):
        for label, hertz in (("low", 300), ("high", 900)):
            for i in range(40):
                sound = tone(0.1, hertz=hertz * rng.uniform(0.9, 1.1))
                soundfile.write(tmp_path / "set" / f"{label}_{group}_{i}.wav", sound, RATE)
    run, output = tmp_path / "run", tmp_path / "out.npz"
    small = {"data.seconds": 0.1, "data.pattern": PATTERN, "data.held": "bob", "data.bands": 16}
    small |= {"encoder.dim": 8, "encoder.context": 8, "method.steps": 3}
    small |= {"train.batch_size": 8, "train.steps": 2, "eval.k": 5}
    command = ["pretrain", "--config", f"cpc:data=audio:{tmp_path}/set", "--workdir", str(run)]
    command += [f"--config.{key}={value}" for key, value in small.items()]
    protocols = ["--protocols", "linear,verification,fine_tuned_10_percent"]
    stereo = np.stack([tone(0.3, 22050), tone(0.3, 22050)], axis=1)
    (tmp_path / "other").mkdir()
    soundfile.write(tmp_path / "other" / "a b.wav", stereo, 22050)
    with jax.numpy_dtype_promotion("standard"):
        assert main(command) == 0
        assert main(["evaluate", "--workdir", str(run), "--json", *protocols]) == 0
        rows = json.loads(capsys.readouterr().out.strip().split("\n")[-1])
        embed = ["embed", "--workdir", str(run), "--output", str(output), "--input"]
        assert main([*embed, f"{tmp_path}/other"]) == 0
    assert rows.keys() == {"log_mel", "random_encoder", "pretrained"}
    assert rows["log_mel"]["linear"] == 1.0
    assert rows["log_mel"]["fine_tuned_10_percent"] is None
    assert 0 <= rows["pretrained"]["verification"]["eer"] <= 1
    found = np.load(output)
    assert found["embedding"].shape == (1, 8)
    assert found["name"].tolist() == ["a b.wav"]
    (tmp_path / "other" / "empty.wav").write_bytes(b"")
    for more, message in (
        ([*embed, f"{tmp_path}/other"], "empty.wav"),
        ([*embed, "bundled"], "--input can only be of recordings"),
        (["evaluate", "--workdir", str(run), "--rows", "raw_pixels"], "raw_pixels is of images"),
        (["reconstruct", "--workdir", str(run)], "cpc fills nothing in"),
    ):
        assert main(more) == 2
        assert message in capsys.readouterr().err
    bundled = ["pretrain", "--config", "cpc:data=bundled", "--workdir", str(tmp_path / "i")]
    assert main(bundled) == 2
    assert "encoder cpc is for recordings: give data.source=audio:PATH" in capsys.readouterr().err
