"""Runs on images with captions as a user meets them: labels in words, who belongs to whom, LiT."""

import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jssl.cli import main, runs, words
from jssl.data.pairs import encode
from jssl.data.tokenizer import train_tokenizer
from jssl.method import Towers

COLORS = {"red": (220, 40, 30), "green": (40, 200, 60), "blue": (30, 60, 220), "grey": (128,) * 3}
SMALL = [
    "--config.data.vocabulary=300",
    "--config.data.length=16",
    "--config.text_encoder.dim=16",
    "--config.text_encoder.depth=1",
    "--config.text_encoder.heads=2",
    "--config.train.batch_size=16",
    "--config.train.steps=60",
    "--config.optimizer.lr=3e-3",
    "--config.eval.every_epochs=0",
]
ENCODER = ["--config.encoder.name=resnet", "--config.encoder.blocks=(1,1)",
           "--config.encoder.width=8", "--config.encoder.stem=2x2"]  # fmt: skip


@pytest.fixture(autouse=True)
def as_a_user():
    """Outside tests jax promotes; what is strict is tried elsewhere."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def test_a_label_is_the_mean_of_its_names_in_all_templates(tmp_path):
    file = str(tmp_path / "tokenizer.json")
    train_tokenizer(["a red bus, two keys"], 300, alike=True).save(file)
    table = np.random.default_rng(0).normal(size=(300, 5)).astype(np.float32)

    def text(params, state, batch):
        return jnp.sum(jnp.where(batch["segments"][..., None] > 0, params[batch["tokens"]], 0), 1)

    trained = runs.Trained(
        config=SimpleNamespace(data=SimpleNamespace(tokenizer=file, length=16)),
        method=SimpleNamespace(towers=Towers(None, text)),
        facts={},
        train=SimpleNamespace(params=jnp.asarray(table), state={}),
    )

    def unit(x):
        return x / np.linalg.norm(x, axis=-1, keepdims=True)

    def said(*prompts):
        rows = encode(file, list(prompts), 16)
        vectors = [table[t[s > 0]].sum(0) for t, s in zip(*rows.values(), strict=True)]
        return unit(unit(np.stack(vectors)).mean(0))

    got = words.labels_of(trained, ["Bus| red bus", "KEY"], ["{}", "a {}!"])
    expected = [said("bus", "a bus!", "red bus", "a red bus!"), said("key", "a key!")]
    np.testing.assert_allclose(got, expected, atol=1e-6)
    with pytest.raises(
        ValueError, match=r"--template must hold \{\} where the label goes, got 'no'"
    ):
        words.labels_of(trained, ["bus"], ["{}", "no"])
    with pytest.raises(ValueError, match="--labels must not be empty"):
        words.labels_of(trained, ["bus", "key| "], ["{}"])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Noisy squares of four colours, told by captions; CLIP's run on them, and LiT's from it."""
    folder, rng = tmp_path_factory.mktemp("words"), np.random.default_rng(0)
    (folder / "set").mkdir()
    rows = []
    for i in range(120):
        name = list(COLORS)[i % 4]
        pixels = np.clip(COLORS[name] + 30 * rng.normal(size=(8, 8, 3)), 0, 255)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / "set" / f"{i}.png")
        thing = rng.choice(["square", "tile", "box"])
        rows.append({"image": f"{i}.png", "caption": f"One {name} {thing}", "color": name})
    (folder / "set" / "captions.json").write_text(json.dumps(rows))
    data = f"pairs:{folder}/set@caption@color"
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        clip = ["--config", f"clip:data={data}", "--workdir", str(folder / "clip"), *ENCODER]
        assert main(["pretrain", *clip, *SMALL, "--quiet"]) == 0
        lit = f"lit:data={data},image={folder}/clip,out=16"
        lit = ["--config", lit, "--workdir", str(folder / "lit")]
        assert main(["pretrain", *lit, *SMALL, "--quiet"]) == 0
    return folder


# The tests of these runs share a process, so that they are trained once.
of_these_runs = [pytest.mark.xdist_group("words"), pytest.mark.long]


def said(capsys, *arguments):
    assert main([*map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("run", ["clip", "lit"])
class TestRuns:
    pytestmark = of_these_runs

    def test_labels_are_told_that_were_only_in_captions(self, trained, capsys, run):
        found = said(capsys, "zeroshot", "--workdir", trained / run)
        assert found["labels"] == sorted(COLORS)
        assert found["chance"] == 0.25
        assert found["accuracy"] > 0.9
        labels = "One blue box|blue tile,GREEN,grey,red"
        command = ["zeroshot", "--workdir", trained / run, "--labels", labels]
        command += ["--template", "{}", "--template", "One {} square"]
        found = said(capsys, *command)
        assert found["accuracy"] > 0.9
        assert found["templates"] == ["{}", "One {} square"]

    def test_an_input_of_ones_own(self, trained, capsys, run, tmp_path):
        for name, color in COLORS.items():
            Image.new("RGB", (8, 8), color).save(tmp_path / f"{name}.png")
        command = ["zeroshot", "--workdir", trained / run, "--input", tmp_path]
        rows = said(capsys, *command, "--labels", "blue,green,grey,red")
        assert {row["name"]: row["labels"][0][0] for row in rows} == {
            f"{name}.png": name for name in COLORS
        }
        assert main([*map(str, command), "--labels", "red,green"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.split("\t")[0] for line in lines] == [f"{name}.png" for name in sorted(COLORS)]
        assert all(len(line.split("\t")) == 3 for line in lines)

    def test_images_and_captions_find_each_other(self, trained, capsys, run):
        found = said(capsys, "retrieve", "--workdir", trained / run)
        assert found["images"] == found["texts"]
        for way in ("image_to_text", "text_to_image"):
            # Captions repeat, so that only one of several like ones is right.
            assert found[way]["recall_at_10"] > found[f"chance_{way}"]["recall_at_10"] + 0.3
        assert main(["retrieve", "--workdir", str(trained / run)]) == 0
        assert "chance text to image" in capsys.readouterr().out

    def test_embed_gives_both_towers(self, trained, capsys, run, tmp_path):
        output, spec = tmp_path / "out.npz", f"pairs:{trained}/set"
        command = ["embed", "--workdir", trained / run, "--input", spec, "--output", output]
        assert main(list(map(str, command))) == 0
        found = np.load(output)
        out = {"clip": 128, "lit": 16}[run]
        assert found["embedding"].shape[1] == 16
        assert found["image_embedding"].shape == found["text_embedding"].shape
        assert found["image_embedding"].shape[1] == out
        norms = np.linalg.norm(found["text_embedding"], axis=1)
        np.testing.assert_allclose(norms, 1, rtol=1e-5)


class TestOfBoth:
    pytestmark = of_these_runs

    def test_lit_leaves_the_image_encoder_as_it_was(self, trained):
        lit, clip = (runs.load(trained / name).train for name in ("lit", "clip"))
        for kind in ("params", "state"):
            got, expected = (getattr(train, kind) for train in (lit, clip))
            if kind == "state":
                got, expected = got["batch_stats"], expected["batch_stats"]
            jax.tree.map(np.testing.assert_array_equal, got["encoder"], expected["encoder"])
        assert "image_head" not in lit.params

    @pytest.mark.parametrize(
        ("more", "message"),
        [
            (["--labels", "red,green"], "--labels must name each class of the test data in turn"),
            (["--labels", "red,,blue,grey"], "--labels must not be empty"),
            (["--template", "a photo"], "--template must hold {} where the label goes"),
            (["--input", "nowhere"], "nowhere"),
        ],
    )
    def test_what_is_refused(self, trained, capsys, more, message):
        assert main(["zeroshot", "--workdir", str(trained / "clip"), *more]) == 2
        assert message in capsys.readouterr().err


def test_images_without_captions_are_refused(tmp_path, capsys):
    command = ["pretrain", "--config", "clip:data=bundled", "--workdir", str(tmp_path / "run")]
    assert main(command) == 2
    message = "clip cannot learn from bundled, which gives no caption"
    assert message in capsys.readouterr().err
