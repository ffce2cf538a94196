"""`series:PATH` as a source: windows, masks, scaling, what is refused; through the command line."""

import json

import jax
import numpy as np
import pytest

from jssl import data
from jssl.cli import main

HEADING = "date,a,b\n"


def write(path, text):
    path.write_text(text)
    return path


def hourly(hours, values=None):
    values = [(h, -2 * h) for h in hours] if values is None else values
    rows = (f"2020-01-01 {h:02d}:00:00,{a},{b}\n" for h, (a, b) in zip(hours, values, strict=True))
    return HEADING + "".join(rows)


def opened(path, split="train", **options):
    return data.open_source(f"series:{path}", split, **({"length": 4} | options))


def test_windows_of_a_csv_and_its_test_split(tmp_path):
    path = write(tmp_path / "x.csv", hourly(range(20)))
    rows = data.read_all(opened(path, stride=3, training=0.5))
    np.testing.assert_array_equal(rows["series"][:, 0, 0], [0, 3, 6])
    assert rows["observed"].all()
    rows = data.read_all(opened(path, "test", stride=3, training=11))
    np.testing.assert_array_equal(rows["series"][:, 0, 0], [11, 14, 17])
    # Nothing is dropped: the last window is padded, and says so.
    np.testing.assert_array_equal(rows["observed"][2, :, 1], [True, True, True, False])
    assert rows["series"].dtype == np.float32
    assert "steps 14 to 17" in opened(path, "test", stride=3, training=11).place(1)


def test_scaling_is_that_of_the_values_that_there_are(tmp_path):
    text = hourly(range(8), [(1, 5), ("", 5), (3, 5), (5, 5)] + [(99, 99)] * 4)
    fitted = opened(write(tmp_path / "x.csv", text), training=4, missing=True).reader.describe()
    assert fitted["columns"] == ["a", "b"]
    np.testing.assert_allclose(fitted["mean"], [3, 5])
    np.testing.assert_allclose(fitted["std"], [np.std([1, 3, 5]), 1])


def test_steps_left_out_have_no_value(tmp_path):
    path = write(tmp_path / "x.csv", hourly([0, 1, 2, 5, 6]))
    row = data.read_all(opened(path, length=7, training=1.0, missing=True))
    np.testing.assert_array_equal(row["observed"][0, :, 0], [1, 1, 1, 0, 0, 1, 1])
    np.testing.assert_array_equal(row["series"][0, :, 0], [0, 1, 2, 0, 0, 5, 6])


def test_ts_files_with_classes_and_lengths(tmp_path):
    head = "# x\n@problemName x\n@classLabel true up down\n@data\n"
    write(tmp_path / "X_TRAIN.ts", head + "1,2,3:4,5,6:up\n1,?:3,4:down\n")
    write(tmp_path / "X_TEST.ts", head + "7,8,9:4,5,6:down\n")
    train = opened(tmp_path / "X_TRAIN.ts", length=3, missing=True)
    rows = data.read_all(train)
    assert train.class_names == ("up", "down")
    assert rows["label"].tolist() == [0, 1]
    np.testing.assert_array_equal(rows["series"][0], [[1, 4], [2, 5], [3, 6]])
    np.testing.assert_array_equal(rows["observed"][1], [[1, 1], [0, 1], [0, 0]])
    test = data.read_all(opened(tmp_path / "X_TRAIN.ts", "test", length=3))
    assert test["label"].tolist() == [1]


def test_npz(tmp_path):
    x = np.arange(24.0).reshape(2, 4, 3)
    np.savez(tmp_path / "x.npz", x_train=x, y_train=np.array([1, 0]), x_test=x[:1])
    rows = data.read_all(opened(tmp_path / "x.npz"))
    np.testing.assert_array_equal(rows["series"], x)
    assert rows["label"].tolist() == [1, 0]
    assert data.read_all(opened(tmp_path / "x.npz", "test"))["label"].tolist() == [-1]
    np.savez(tmp_path / "long.npz", series=x[0])
    assert len(opened(tmp_path / "long.npz", length=2, training=1.0)) == 2


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.csv", "", "empty, there must be a heading and a row"),
        ("x.csv", HEADING, "empty, there must be a heading and a row"),
        ("x.csv", HEADING + "2020-01-01,1\n", "row 1 has 2 columns, the heading 3"),
        ("x.csv", HEADING + "2020-01-01,1,x\n", "row 1, column b: 'x' is no number"),
        ("x.csv", HEADING + "later,1,2\n", "column date: Invalid isoformat"),
        ("x.csv", "a,b\n1,\n", "b is missing at step 0 of series 0; data.missing=True"),
        ("x.csv", "a,b\n1,nan\n", "b is missing at step 0 of series 0; data.missing=True"),
        ("x.csv", "a,b\n1,inf\n", "b is inf at step 0"),
        ("x.csv", hourly([0, 2, 1]), "dates must grow, row 3 does not"),
        ("x.csv", "date\n2020-01-01\n", "no channels"),
        ("x.ts", "@classLabel true a\n@data\n1,2:b\n", "'b' is no class of a"),
        ("x.ts", "@data\n1,2\n1,2:3,4\n", "series 2 has channels of other number"),
        ("x.ts", "@data\n", "empty, no series after @data"),
        ("x.txt", "1", "takes a file of .csv, .npz, .ts"),
        ("y", None, "no such file"),
    ],
)
def test_bad_input_is_one_line(tmp_path, name, text, message):
    if text is not None:
        write(tmp_path / name, text)
    with pytest.raises(data.DataError, match=message) as error:
        opened(tmp_path / name, training=1.0)
    assert "\n" not in str(error.value)


def test_other_bad_input(tmp_path):
    np.savez(tmp_path / "x.npz", x_train=np.zeros(3))
    with pytest.raises(data.DataError, match=r"x_train must be numbers \[n t c\], got float64"):
        opened(tmp_path / "x.npz")
    with pytest.raises(data.DataError, match="no array series or x_test"):
        opened(tmp_path / "x.npz", "test")
    path = write(tmp_path / "x.csv", hourly(range(3)))
    for options, message in (
        ({"length": 0}, "length must be at least 1"),
        ({"training": 9}, "training=9 of 3 steps leaves no train"),
        ({"training": 0.0}, "training must be > 0"),
    ):
        with pytest.raises(data.DataError, match=message):
            opened(path, **options)
    text = HEADING + "".join(f"2020-01-01 00:{m:02d}:00,1,2\n" for m in (0, 10, 20, 25))
    with pytest.raises(data.DataError, match="row 4 is no whole number of steps of 600 s"):
        opened(write(tmp_path / "y.csv", text))


SMALL = ["--config.encoder.dim=4", "--config.encoder.width=4", "--config.encoder.depth=1"]
SMALL += ["--config.train.steps=1", "--config.train.batch_size=8", "--config.data.stride=1"]


@pytest.fixture
def told():
    with jax.numpy_dtype_promotion("standard"):  # optax's schedules mix float and int
        yield


@pytest.mark.long
def test_pretrain_and_embed_a_csv(tmp_path, capsys, told):
    path = write(tmp_path / "x.csv", hourly(range(20)))
    run = ["--workdir", str(tmp_path / "run")]
    config = ["--config", f"ts2vec:data=series:{path}", "--config.data.length=4"]
    assert main(["pretrain", *config, *run, *SMALL]) == 0
    asked = write(tmp_path / "other.csv", hourly(range(6)))
    out = tmp_path / "z.npz"
    assert main(["embed", *run, "--input", str(asked), "--output", str(out)]) == 0
    with np.load(out) as found:
        assert found["embedding"].shape == (3, 4)
        assert np.isfinite(found["embedding"]).all()
    wrong = write(tmp_path / "wrong.csv", hourly(range(6)).replace("a,b", "a,c"))
    capsys.readouterr()
    assert main(["embed", *run, "--input", str(wrong), "--output", str(out)]) == 2
    error = capsys.readouterr().err
    assert "--input has channels a, c, the run is on a, b" in error
    assert error.count("\n") == 1


@pytest.mark.long
def test_classes_of_series_are_evaluated_beside_the_raw_values(tmp_path, capsys, told):
    rng, run = np.random.default_rng(0), ["--workdir", str(tmp_path / "run")]
    label = rng.integers(0, 2, (2, 40)).astype(np.int32)
    x = rng.normal(size=(2, 40, 6, 1)) + np.where(label, 4, -4)[:, :, None, None]
    arrays = {"x_train": x[0], "y_train": label[0], "x_test": x[1], "y_test": label[1]}
    np.savez(tmp_path / "x.npz", **arrays)
    config = ["--config", f"ts2vec:data=series:{tmp_path}/x.npz", "--config.data.length=6"]
    assert main(["pretrain", *config, *run, *SMALL]) == 0
    capsys.readouterr()
    assert main(["evaluate", *run, "--json", "--protocols", "knn,linear"]) == 0
    rows = json.loads(capsys.readouterr().out.strip().split("\n")[-1])
    assert rows.keys() == {"raw_values", "random_encoder", "pretrained"}
    assert rows["raw_values"]["linear"] == 1.0
    assert main(["evaluate", *run, "--rows", "raw_pixels"]) == 2
    assert "raw_pixels is of images" in capsys.readouterr().err
