"""`table:PATH` as a source: kinds of columns, splits, what is refused; through the command line."""

import json

import jax
import numpy as np
import pytest

from jssl import data
from jssl.cli import config, main, runs

TEXT = "size,colour,label\n1,red,no\n2,blue,yes\n6,red,yes\n"


def write(path, text):
    path.write_text(text)
    return path


def opened(path, split="train", **options):
    return data.open_source(f"table:{path}", split, **({"training": 1.0} | options))


def test_numbers_categories_and_classes(tmp_path):
    source = opened(write(tmp_path / "x.csv", TEXT))
    rows = data.read_all(source)
    np.testing.assert_array_equal(rows["row"], [[1, 1], [2, 0], [6, 1]])
    assert rows["label"].tolist() == [0, 1, 1]
    assert source.class_names == ("no", "yes")
    size, colour = source.reader.describe()["columns"]
    assert colour == {"name": "colour", "categories": ["blue", "red"]}
    np.testing.assert_allclose([size["mean"], size["std"]], [3, np.std([1, 2, 6])])


def test_splits_are_of_all_rows_and_stay_when_rows_are_added(tmp_path):
    text = "a\n" + "".join(f"{i}\n" for i in range(400))
    parts = [data.read_all(opened(write(tmp_path / "x.csv", text), split, training=0.7))["row"]
             for split in ("train", "test")]  # fmt: skip
    assert sorted(np.concatenate(parts).ravel().tolist()) == list(range(400))
    assert 240 < len(parts[0]) < 320
    more = opened(write(tmp_path / "y.csv", text + "900\n"), training=0.7)
    assert set(parts[0].ravel()) <= set(data.read_all(more)["row"].ravel())
    fitted = opened(tmp_path / "x.csv", training=0.7).reader.describe()
    np.testing.assert_allclose(fitted["columns"][0]["mean"], parts[0].mean())


def test_what_is_missing_is_told(tmp_path):
    path = write(tmp_path / "x.csv", "a,b\n1,x\n,y\n3,?\n")
    source = opened(path, missing=True)
    np.testing.assert_array_equal(data.read_all(source)["row"], [[1, 0], [np.nan, 1], [3, -1]])
    assert source.reader.describe()["columns"][0]["mean"] == 2
    with pytest.raises(data.DataError, match="row 2, column a: missing"):
        opened(path)


def test_rows_are_read_as_those_of_another_table(tmp_path):
    described = opened(write(tmp_path / "x.csv", TEXT)).reader.describe()
    other = opened(write(tmp_path / "y.csv", "size,colour\n5,red\n")).reader
    other.read_like(described)
    np.testing.assert_array_equal(other.read(0)[0], [5, 1])
    for text, message in (
        ("size,colour\n5,green\n", "row 1, column colour: 'green' is no category of blue, red"),
        ("size,colour\nbig,red\n", "row 1, column size: 'big' is no number"),
        ("colour,size\nred,1\n", "has columns colour, size, those of the run are size, colour"),
    ):
        with pytest.raises(data.DataError, match=message):
            opened(write(tmp_path / "y.csv", text)).reader.read_like(described)


def test_evaluation_data_is_read_as_the_training_data(tmp_path):
    train = write(tmp_path / "x.csv", "a\n" + "red\nblue\n" * 20)
    cfg = config.load(f"scarf:data=table:{train}")
    with cfg.unlocked(), cfg.ignore_type():
        cfg.data.training = 0.5
        cfg.data.eval_source = f"table:{tmp_path}/y.csv"
    write(tmp_path / "y.csv", "a\n" + "red\n" * 20)
    assert set(data.read_all(runs.open_data(cfg, "test"))["row"].ravel()) == {1.0}


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, "empty, there must be a heading and a row"),
        ("a,b\n1\n", {}, "row 1 has 1 columns, the heading 2"),
        ("a,a\n1,2\n", {}, "two columns have one heading"),
        ("label\nx\n", {}, "no columns but label"),
        ("a\ninf\n", {}, "row 1, column a: 'inf' is no number"),
        ("a\n1\n", {"training": 2.0}, r"training must be a share in \(0, 1\], got 2"),
        ("a\n1\n", {"split": "test"}, "has no test split with training=1"),
        (None, {}, "no such file"),
    ],
)
def test_bad_input_is_one_line(tmp_path, text, options, message):
    if text is not None:
        write(tmp_path / "x.csv", text)
    with pytest.raises(data.DataError, match=message) as error:
        opened(tmp_path / "x.csv", **options)
    assert "\n" not in str(error.value)


@pytest.mark.long
def test_a_table_is_learned_from_evaluated_and_embedded(tmp_path, capsys):
    rng, run = np.random.default_rng(0), ["--workdir", str(tmp_path / "run")]
    lines = ["a,b,c,label"]
    for _ in range(120):
        label = rng.integers(2)
        a, b = rng.normal(size=2) + 8 * label
        lines.append(f"{a},{b},{'xy'[label]},{'pq'[label]}")
    path = write(tmp_path / "x.csv", "\n".join(lines))
    config = ["--config", f"scarf:data=table:{path},batch_size=16", "--config.train.steps=2"]
    asked = write(tmp_path / "y.csv", "a,b,c\n1,2,x\n3,4,y\n")
    embed = ["embed", *run, "--output", str(tmp_path / "z.npz"), "--input"]
    with jax.numpy_dtype_promotion("standard"):  # optax's schedules mix float and int
        assert main(["pretrain", *config, *run, "--config.encoder.dim=8"]) == 0
        capsys.readouterr()
        assert main(["evaluate", *run, "--json", "--protocols", "knn,linear"]) == 0
        rows = json.loads(capsys.readouterr().out.strip().split("\n")[-1])
        assert main([*embed, str(asked)]) == 0
    assert rows.keys() == {"raw_values", "random_encoder", "pretrained"}
    assert rows["raw_values"]["linear"] == 1.0
    with np.load(tmp_path / "z.npz") as found:
        assert found["embedding"].shape == (2, 8)
    capsys.readouterr()
    assert main([*embed, str(write(asked, "a,b,c\n1,2,z\n"))]) == 2
    assert "'z' is no category of x, y" in capsys.readouterr().err
