"""What a method fills in, as a user meets it: pictures of a folder, and the table beside them."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from jssl.augment import compose
from jssl.cli import build, config, main, pictures, runs

# The tests of one finished run share a process, so that it is trained once.
pytestmark = pytest.mark.xdist_group("of_one_mae")


@pytest.fixture(scope="module")
def trained(tiny_mae):
    return tiny_mae


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    for i, name in enumerate(["cat.png", "cat.jpg", "sub/cat.png", "sub/deep/dog 1.webp"]):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        # Rows and columns of random brightness: wide enough to survive a resize.
        light = np.random.default_rng(i).integers(0, 255, (6, 8, 3)).astype(np.uint8)
        Image.fromarray(light.repeat(5, 0).repeat(5, 1)).save(folder / name)
    return folder


def reconstruct(*arguments, code=0):
    with jax.numpy_dtype_promotion("standard"):  # optax's schedules mix float and int
        assert main(["reconstruct", *map(str, arguments)]) == code


def test_one_picture_an_image_under_its_own_name(trained, photos, tmp_path, capsys):
    out = tmp_path / "out"
    reconstruct("--workdir", trained, "--input", photos, "--output", out)
    names = "original | masked | reconstruction (true patch statistics)"
    assert capsys.readouterr().out.strip() == f"4 pictures ({names}) in {out}"
    found = {str(f.relative_to(out)): np.asarray(Image.open(f)) for f in out.rglob("*.*")}
    assert found.keys() == {"cat.png.png", "cat.jpg.png", "sub/cat.png", "sub/deep/dog 1.png"}
    side = 5 * 28  # at least 128 pixels
    for row in found.values():
        assert row.shape == (side, 3 * side + 2 * 4)
        blocks = row[:, :side].reshape(28, 5, 28, 5)
        assert (blocks == blocks[:, :1, :, :1]).all()  # enlarged, not smoothed
        assert (row[:, side : side + 4] == 255).all()
        original, masked = row[::5, :side:5], row[::5, side + 4 : 2 * side + 4 : 5]
        # 37 of 49 patches of 4 x 4 pixels are hidden, the others are as they were.
        same = (original == masked).reshape(7, 4, 7, 4).all((1, 3))
        assert same.sum() == 12
    middle = Image.open(photos / "sub/cat.png").convert("L").crop((5, 0, 35, 30))
    shown = found["sub/cat.png"][::5, :side:5].astype(int)
    assert abs(np.asarray(middle.resize((28, 28), Image.Resampling.BILINEAR)) - shown).max() <= 3

    # An image alone as among others; another seed draws another mask.
    alone = ["--workdir", trained, "--input", photos / "sub" / "deep", "--output"]
    reconstruct(*alone, tmp_path / "alone")
    reconstruct(*alone, tmp_path / "seed", "--seed", 1)
    whole, part, other = (
        np.asarray(Image.open(f), int)
        for f in (
            out / "sub/deep/dog 1.png",
            tmp_path / "alone" / "dog 1.png",
            tmp_path / "seed" / "dog 1.png",
        )
    )
    assert abs(whole - part).max() <= 1  # of rounding
    np.testing.assert_array_equal(whole[:, :side], other[:, :side])
    assert (whole[:, side : 2 * side] != other[:, side : 2 * side]).any()


def test_inputs_are_never_lost(trained, photos, capsys):
    before = {f: f.read_bytes() for f in photos.rglob("*.*")}
    reconstruct("--workdir", trained, "--input", photos, "--output", photos, code=2)
    assert "would overwrite the input" in capsys.readouterr().err
    assert {f: f.read_bytes() for f in photos.rglob("*.*")} == before
    with pytest.raises(ValueError, match=r"a\.jpg\.png and a\.jpg would both be written to"):
        pictures.targets(Path("out"), ["a.jpg.png", "a.jpg", "a.png"])


def test_the_table_of_held_out_images_and_the_report(trained, capsys):
    reconstruct("--workdir", trained, "--limit", 40, "--json")
    result = json.loads(capsys.readouterr().out)
    assert result == json.loads((trained / "restoration.json").read_text())
    assert result["source"] == "bundled"
    assert result["images"] == 40
    assert not result["seen"]
    assert result["hidden"] == pytest.approx(37 / 49, abs=0.05)
    told = "reconstruction (true patch statistics)"
    assert list(result["rows"]) == ["mean_fill", "blur", "masked", told]
    assert all(value is not None for row in result["rows"].values() for value in row.values())
    assert "compare it with none of them" in result["notes"][-1]
    with np.load(trained / "pictures.npz") as arrays:
        assert arrays["reconstruct_names"].tolist() == ["original", "masked", told]
        # The image itself, where the views are crops of it.
        np.testing.assert_array_equal(arrays["reconstruct_original"], arrays["originals"])
    assert main(["report", "--workdir", str(trained)]) == 0
    page = (trained / "report.html").read_text()
    assert "How well it restores" in page
    assert f"<th>{told}</th>" in page


def test_images_that_were_trained_on_are_called_so(trained, photos, tmp_path, capsys):
    reconstruct("--workdir", trained, "--input", photos)
    assert "mean fill" in capsys.readouterr().out
    for file in ("config.json", "data.json"):
        (tmp_path / file).write_text((trained / file).read_text())
    (tmp_path / "checkpoints").symlink_to(trained / "checkpoints")
    content = json.loads((tmp_path / "config.json").read_text())
    content["data"] |= {"source": f"folder:{photos}", "size": 28, "channels": 1}
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.MonkeyPatch.context() as patch:  # a fifth of four files
        patch.setattr(runs, "HELD_OUT", 0.9)
        patch.setattr(pictures, "save", lambda *arguments: None)
        reconstruct("--workdir", tmp_path, "--json")
    result = json.loads(capsys.readouterr().out)
    assert result["seen"]
    assert "the method has seen them" in result["notes"][-1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--input", "EMPTY", "--output", "out"], "EMPTY: no images"),
        (["--input", "none", "--output", "out"], "folder:none: no such folder"),
        (["--input", "EMPTY", "--output", "FILE"], "--output takes a folder, FILE is a file"),
        (["--limit", "0"], "limit must be at least 1, got 0"),
        (["--workdir", "EMPTY"], "EMPTY holds no run"),
    ],
)
def test_bad_input_is_one_clear_line(trained, arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "EMPTY").mkdir()
    (tmp_path / "FILE").write_text("")
    reconstruct("--workdir", trained, *arguments, code=2)
    error = capsys.readouterr().err.strip()
    assert message in error
    assert error.startswith("jssl: ")
    assert len(error.splitlines()) == 1


def test_unaugmented_views_are_the_images_themselves():
    cfg = config.load("swav", {"augment_local.count": "2", "augment_local.size": "14"})
    with cfg.unlocked(), cfg.ignore_type():
        cfg.augment.update({"size": 28, "mean": (0.3,), "std": (0.3,), "solarize_p": 0.5})
        cfg.augment2.update({"blur_p": 1.0, "scale": (0.1, 0.2)})
    plain = build.unaugmented(cfg)
    assert cfg.augment2.blur_p == 1.0
    rng = np.random.default_rng(0)
    batch = {"image": rng.integers(0, 256, (3, 28, 28, 1), dtype=np.uint8)}
    look = build.views(plain)
    large, small = jax.jit(look.crops)(jax.random.key(0), batch)
    expected = np.asarray(look.prepare(batch))
    np.testing.assert_allclose(large, np.stack([expected] * 2, 1), atol=1e-6)
    assert small.shape == (3, 2, 14, 14, 1)
    np.testing.assert_allclose(small[:, 0], small[:, 1], atol=1e-6)
    # Whatever an augmentation is called, its chance is nought.
    chances = {k for k in config.signature(compose.image_view) if k.endswith("_p") or k == "flip"}
    assert chances <= build.IDENTITY.keys()
    assert all(build.IDENTITY[k] == 0 for k in chances)
