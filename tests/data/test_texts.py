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


def test_whole_documents_are_held_out(corpus):
    spec, file = corpus
    made, found = load_tokenizer(file), []
    for part in ("fit", "holdout"):
        options = {"holdout": 0.3, "part": part, "limit": 50}
        rows = data.read_all(data.open_source(spec, tokenizer=file, length=32, **options))
        stream = rows["tokens"][rows["segments"] > 0]
        ends = 1 + np.flatnonzero(stream == made.token_to_id("[EOS]"))
        found.append([made.decode(x.tolist()) for x in np.split(stream, ends)[:-1]])
    assert min(map(len, found)) > 5
    assert sorted(found[0] + found[1]) == sorted(LINES[:50])


def layouts(folder):
    """The same texts and labels, in every way in which they can be given."""
    rows = [("one fine day", "pos"), ("a bad day", "neg"), ('no "good" day', "neg")]
    lines = {name: [x for x, y in rows if y == name] for name in ("neg", "pos")}
    for split in ("train", "test"):
        (folder / "files" / split).mkdir(parents=True)
        for name, texts in lines.items():
            (folder / "files" / split / f"{name}.txt").write_text("\n".join(texts) + "\n")
    for name, texts in lines.items():
        (folder / "folders" / name).mkdir(parents=True)
        for i, x in enumerate(texts):
            (folder / "folders" / name / f"{i}.txt").write_text(x)
    objects = [json.dumps({"body": x, "y": y}) for x, y in rows]
    (folder / "a.jsonl").write_text("\n".join(objects))
    (folder / "a.tsv").write_text("\n".join(f"{x}\t{y}" for x, y in rows))
    return [
        *(f"{folder}/files", f"{folder}/folders"),
        *(f"{folder}/a.jsonl@body@y", f"{folder}/a.tsv@0@1"),
    ]


def test_labels_by_file_folder_and_column(corpus, tmp_path):
    _, file = corpus
    made = load_tokenizer(file)
    for path in layouts(tmp_path):
        for split in ("train", "test") if path.endswith("files") else ("train",):
            options = {"tokenizer": file, "length": 40, "pack": False}
            source = data.open_source(f"text:{path}", split, **options)
            assert (source.num_classes, source.class_names) == (2, ("neg", "pos"))
            rows = data.read_all(pickle.loads(pickle.dumps(source)))
            said = {
                made.decode(t[s > 0].tolist()): int(y)
                for t, s, y in zip(rows["tokens"], rows["segments"], rows["label"], strict=True)
            }
            assert said == {"one fine day": 1, "a bad day": 0, 'no "good" day': 0}, path
    with pytest.raises(data.DataError, match="row 1 has no column '7'; there are: 0, 1"):
        data.open_source(f"text:{tmp_path}/a.tsv@7", tokenizer=file)
    with pytest.raises(data.DataError, match="no val/ or valid/ or validation/ subfolder"):
        data.open_source(f"text:{tmp_path}/files", "val", tokenizer=file)


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
    with pytest.raises(data.DataError, match="needs a tokenizer; `jssl tokenizer` trains one"):
        data.open_source(corpus[0])


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


@pytest.mark.long
def test_texts_are_evaluated_and_embedded(corpus, tmp_path, capsys):
    rng = np.random.default_rng(0)
    for split, count in (("train", 60), ("test", 30)):
        (tmp_path / "set" / split).mkdir(parents=True)
        for name, words in (("neg", ["bad", "awful", "day"]), ("pos", ["good", "fine", "day"])):
            lines = [" ".join(rng.choice(words, 6)) for _ in range(count)]
            (tmp_path / "set" / split / f"{name}.txt").write_text("\n".join(lines))
    run, output = str(tmp_path / "run"), tmp_path / "out.npz"
    small = {"data.vocabulary": 300, "data.length": 16, "encoder.dim": 16, "encoder.depth": 1}
    small |= {"train.batch_size": 8, "train.steps": 2, "encoder.heads": 2}
    arguments = ["pretrain", "--config", f"bert:data=text:{tmp_path}/set", "--workdir", run]
    arguments += [f"--config.{key}={value}" for key, value in small.items()]
    with jax.numpy_dtype_promotion("standard"):
        assert main(arguments) == 0
        assert main(["evaluate", "--workdir", run, "--json", "--protocols", "all"]) == 0
        rows = json.loads(capsys.readouterr().out.strip().split("\n")[-1])
        given = ["--workdir", run, "--input", f"{tmp_path}/set", "--split", "test"]
        assert main(["embed", *given, "--output", str(output)]) == 0
    assert rows.keys() == {"random_encoder", "pretrained"}
    # A word tells the class, and even a random encoder tells words apart.
    assert min(row["linear"] for row in rows.values()) > 0.9
    assert min(row["fine_tuned_10_percent"] for row in rows.values()) > 0.9
    found = np.load(output)
    assert found["embedding"].shape == (60, 16)
    np.testing.assert_array_equal(found["label"], [0] * 30 + [1] * 30)
    for more, message in (
        (["evaluate", "--rows", "raw_pixels"], "raw_pixels is of images"),
        (["embed", "--input", "bundled", "--output", "x.npz"], "--input can only be of texts"),
    ):
        assert main([more[0], "--workdir", run, *more[1:]]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.long
def test_blanks_are_filled_and_texts_continued(tmp_path, capsys):
    (tmp_path / "a.txt").write_text("\n".join(["one two three four five six seven"] * 64))
    small = {"data.vocabulary": 300, "data.length": 16, "encoder.dim": 32, "encoder.depth": 1}
    small |= {"train.batch_size": 8, "train.steps": 300, "encoder.heads": 2, "optimizer.lr": 0.01}
    small["checkpoint.every_steps"] = 300
    runs = {}
    for name in ("gpt", "bert"):
        runs[name] = str(tmp_path / name)
        spec = f"{name}:data=text:{tmp_path}/a.txt"
        arguments = ["pretrain", "--config", spec, "--workdir", runs[name], "--quiet"]
        more = ["--config.method.next_sentence=false"] if name == "bert" else []
        with jax.numpy_dtype_promotion("standard"):
            assert main(arguments + more + [f"--config.{k}={v}" for k, v in small.items()]) == 0
    capsys.readouterr()
    asked = ["generate", "--workdir", runs["gpt"], "--prompt", "one two", "--length", "9"]
    assert main([*asked, "--temperature", "0"]) == 0
    assert capsys.readouterr().out == "one two three four five six seven\n"
    assert main(["fill", "one two [MASK] four", "--workdir", runs["bert"], "--json"]) == 0
    ((best, chance), *others) = json.loads(capsys.readouterr().out)[0]
    assert best.strip() == "three"
    assert len(others) == 4
    assert 0.5 < chance <= 1
    (tmp_path / "b.txt").write_text("\n".join(["two three four five six seven"] * 3))
    asked_bits = ["bits", "--workdir", runs["gpt"], "--input"]
    assert main([*asked_bits, f"text:{tmp_path}/b.txt", "--json"]) == 0
    bits = json.loads(capsys.readouterr().out)
    assert bits["bytes"] == 90
    # The first token is not foretold; the rest is known by heart.
    assert 3 * np.log2(300) / 90 < bits["bits_per_byte"] < 1.5
    for arguments, message in (
        ([*asked_bits, f"text:{tmp_path}/a.txt"], "was trained on these texts"),
        (["bits", "--workdir", runs["bert"]], "predicts no next token"),
        (["generate", "--workdir", runs["bert"], "--prompt", "x"], "predicts no next token"),
        (["fill", "x [MASK]", "--workdir", runs["gpt"]], "sees no later token"),
        (["fill", "x", "--workdir", runs["bert"]], "there is no [MASK] in 'x'"),
        ([*asked, "--top-p", "2"], "top_p must be in (0, 1], got 2.0"),
    ):
        assert main(arguments) == 2
        assert message in capsys.readouterr().err
