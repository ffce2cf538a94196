"""`pairs:PATH` as a source: images beside their captions, splits, and what is refused."""

import json
import pickle
import shutil

import numpy as np
import pytest
from PIL import Image

from jssl import data
from jssl.cli.main import main
from jssl.data.tokenizer import load_tokenizer, train_tokenizer

WORDS = ["লাল বাস", "red bus", "ক্ষুদ্র পাখি", "small bird", "two keys"]
OPENED = {"length": 8}


@pytest.fixture
def rows():
    return [
        {"image": f"{i}.png", "name": WORDS[i % 5], "tags": ["a", "b"], "kind": str(i % 2)}
        for i in range(40)
    ]


@pytest.fixture
def folder(tmp_path, rng, rows):
    (tmp_path / "set" / "images").mkdir(parents=True)
    for row in rows:
        pixels = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "set" / "images" / row["image"])
    train_tokenizer(WORDS, 300).save(str(tmp_path / "tokenizer.json"))
    write(tmp_path / "set", rows)
    return tmp_path / "set"


def write(folder, rows, encoding="utf-8"):
    text = json.dumps(rows, ensure_ascii=False)
    (folder / "captions.json").write_text(text, encoding)


def opened(folder, path, split="train"):
    file = str(folder.parent / "tokenizer.json")
    return data.open_source(f"pairs:{path}", split, tokenizer=file, **OPENED)


@pytest.mark.parametrize("layout", ["folder", "zip", "jsonl"])
def test_each_image_has_its_caption_and_label(folder, rows, layout):
    path = folder
    if layout == "zip":
        path = shutil.make_archive(str(folder), "zip", folder.parent, "set")
    elif layout == "jsonl":
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
        path = folder / "some.jsonl"
        path.write_text("\n".join(lines), "utf-8")
    train, test = (opened(folder, f"{path}@name@kind", split) for split in ("train", "test"))
    assert len(train) + len(test) == 40
    assert 2 <= len(test) <= 16
    assert not set(train.names) & set(test.names)
    assert train.class_names == test.class_names == ("0", "1")
    made = load_tokenizer(folder.parent / "tokenizer.json")
    for source in (train, test):
        batch = data.read_all(pickle.loads(pickle.dumps(source)))
        assert batch["tokens"].shape == batch["segments"].shape == (len(source), 8)
        for i, name in enumerate(source.names):
            row = rows[int(name.split("/")[-1].removesuffix(".png"))]
            shown = np.asarray(Image.open(folder / "images" / row["image"]))
            np.testing.assert_array_equal(batch["image"][i], shown)
            assert batch["label"][i] == int(row["kind"])
            ids = batch["tokens"][i][batch["segments"][i] > 0].tolist()
            assert ids[-1] == made.token_to_id("[EOS]")
            said = made.decode(ids)
            assert row["name"].startswith(said.rstrip("\ufffd"))
            assert len(ids) == 8 or said == row["name"]


def test_a_split_of_the_rows_own_and_several_captions_of_an_image(folder, rows):
    for i, row in enumerate(rows):
        row["split"] = "test" if i < 3 else "train"
    write(folder, [*rows, rows[0] | {"name": "another"}])
    train, test = (opened(folder, f"{folder}@name+tags", split) for split in ("train", "test"))
    assert len(train) == 37
    assert test.reader.captions[0] == "লাল বাস, a, b"
    assert test.names[3] == test.names[0]
    assert test.reader.captions[3] == "another, a, b"


def test_all_captions_of_an_image_are_on_one_side(folder, rows):
    write(folder, rows + [row | {"name": "another"} for row in rows])
    train, test = (opened(folder, f"{folder}@name", split) for split in ("train", "test"))
    assert not set(train.names) & set(test.names)
    assert len(train) == 2 * len(set(train.names))


WRONG = {
    "no caption 'name'; there are: image, tags": lambda rows: [rows[0] | {"name": ""}, *rows[1:]],
    "images/39.png has no caption": lambda rows: rows[:-1],
    "images/38.png and 1 more has no caption": lambda rows: rows[:-2],
    "a caption for image 'gone.png', which is not there": lambda rows: [{"image": "gone.png"}],
    "a caption for image None": lambda rows: [{"name": "x"}],
    "must be an object with 'image', got 7": lambda rows: [7],
    "is no JSON of rows": lambda rows: 7,
    "no captions in captions.json": lambda rows: [],
    "must be train or test, got 'val'": lambda rows: [r | {"split": "val"} for r in rows],
    "has no 'kind'": lambda rows: [{k: v for k, v in r.items() if k != "kind"} for r in rows],
}


@pytest.mark.parametrize("said", WRONG)
def test_bad_captions_are_one_line(folder, rows, said):
    made = WRONG[said](rows)
    if "'name'; " in said:
        del made[0]["name"], made[0]["kind"]
    write(folder, made)
    with pytest.raises(data.DataError, match="pairs:") as error:
        opened(folder, f"{folder}@name@kind")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_bad_files_are_one_line(folder, rows, capsys):
    write(folder, rows, "utf-16")
    command = ["pretrain", "--config", f"clip:data=pairs:{folder}@name"]
    assert main([*command, "--workdir", str(folder.parent / "run")]) == 2
    assert "not UTF-8: invalid start byte at byte 0" in capsys.readouterr().err
    (folder / "captions.json").unlink()
    with pytest.raises(data.DataError, match=r"has no captions.json or captions.jsonl"):
        opened(folder, folder)
    (folder / "bad.zip").write_text("no zip")
    with pytest.raises(data.DataError, match="neither a folder nor a zip"):
        opened(folder, folder / "bad.zip")
    with pytest.raises(data.DataError, match=r"no such folder, zip or .jsonl"):
        opened(folder, folder / "gone")
    with pytest.raises(data.DataError, match="needs a tokenizer; pretraining trains one"):
        data.open_source(f"pairs:{folder}")
    with pytest.raises(data.DataError, match="has no val split"):
        opened(folder, folder, "val")
