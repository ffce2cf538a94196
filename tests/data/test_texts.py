"""`text:PATH` as a source: packed rows of what the file says, and a run on them."""

import json
import pickle

import jax
import numpy as np
import pytest

from jssl import data
from jssl.cli import main
from jssl.data.tokenizer import load_tokenizer, train_tokenizer

LINES = [f"বাংলা {i} ক্ষমা কৌশল, স্বাধীনতা {i * i}।" for i in range(60)]


@pytest.fixture
def corpus(tmp_path):
    (tmp_path / "text.txt").write_text("\n".join(LINES), "utf-8")
    train_tokenizer(LINES, 300).save(str(tmp_path / "tokenizer.json"))
    return f"text:{tmp_path / 'text.txt'}", str(tmp_path / "tokenizer.json")


def test_rows_hold_the_whole_text_each_document_with_its_end(corpus):
    spec, file = corpus
    source = data.open_source(spec, tokenizer=file, length=32)
    assert source[0].keys() == {"tokens", "segments", "label", "index"}
    rows = data.read_all(pickle.loads(pickle.dumps(source)))
    assert rows["tokens"].shape == rows["segments"].shape == (len(source), 32)
    stream = rows["tokens"][rows["segments"] > 0]
    made = load_tokenizer(file)
    parts = np.split(stream, 1 + np.flatnonzero(stream == made.token_to_id("[EOS]")))[:-1]
    assert [made.decode(part.tolist()) for part in parts] == LINES
    whole = {
        int(i)
        for part in ("fit", "holdout")
        for i in data.open_source(spec, tokenizer=file, length=32, holdout=0.3, part=part).rows
    }
    assert whole == set(range(len(source)))


def test_what_is_told_of_a_tokenizer(corpus, tmp_path):
    told = data.describe_tokens(corpus[1])
    made = load_tokenizer(corpus[1])
    assert told["vocabulary"] == len(told["word_starts"]) == made.get_vocab_size()
    assert (told["pad_token"], told["cls_token"], told["mask_token"]) == (0, 2, 4)
    encoded = made.encode("ক্ষমা কৌশল")
    starts = [told["word_starts"][i] for i in encoded.ids]
    assert starts.count("1") == 1
    assert encoded.tokens[starts.index("1")].startswith("Ġ")


def test_what_cannot_be_opened(corpus):
    for options, message in (
        ({}, "needs a tokenizer; `jssl tokenizer` trains one"),
        ({"tokenizer": corpus[1], "split": "test"}, "has no test split"),
    ):
        with pytest.raises(data.DataError, match=message):
            data.open_source(corpus[0], **options)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bert", "gpt"])
def test_pretrain_runs_and_goes_on(name, corpus, tmp_path, capsys):
    folder = tmp_path / "run"
    small = {
        "data.vocabulary": 300,
        "data.length": 16,
        "encoder.dim": 16,
        "encoder.heads": 2,
        "encoder.depth": 1,
        "train.batch_size": 8,
        "train.steps": 3,
    }
    arguments = ["pretrain", "--config", f"{name}:data={corpus[0]}", "--workdir", str(folder)]
    arguments += [f"--config.{key}={value}" for key, value in small.items()]
    with jax.numpy_dtype_promotion("standard"):  # optax's schedules mix float and int
        assert main(arguments) == 0
    kept = (folder / "tokenizer.json").read_text()
    assert json.loads((folder / "data.json").read_text())["tokens"]["vocabulary"] == 300
    with jax.numpy_dtype_promotion("standard"):
        assert main(arguments) == 0
    assert "Finished already" in capsys.readouterr().out
    assert (folder / "tokenizer.json").read_text() == kept


def test_methods_of_images_say_what_they_miss(corpus, tmp_path, capsys):
    arguments = ["pretrain", "--config", f"simclr:data={corpus[0]}", "--workdir", str(tmp_path)]
    small = ["--config.data.vocabulary=300", "--config.train.batch_size=8"]
    assert main([*arguments, *small]) == 2
    assert "method simclr cannot learn from text:" in capsys.readouterr().err
    assert main(["pretrain", "--config", "gpt:data=bundled", "--workdir", str(tmp_path / "g")]) == 2
    assert "encoder gpt_tiny is for texts" in capsys.readouterr().err
