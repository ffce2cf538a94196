"""`jssl explain` as a user meets it: pictures, a table of layers, and their place in the report."""

import json

import jax
import numpy as np
import pytest
from PIL import Image

from jssl.cli import main, pictures

# The tests of one finished run share a process, so that it is trained once.
pytestmark = pytest.mark.xdist_group("of_one_mae")


def jssl(verb, *arguments, code=0):
    with jax.numpy_dtype_promotion("standard"):  # optax's schedules mix float and int
        assert main([verb, *map(str, arguments)]) == code


@pytest.mark.long
def test_pictures_of_a_folder_the_table_of_layers_and_the_report(tiny_mae, tmp_path, capsys):
    light = np.random.default_rng(0).integers(0, 255, (3, 30, 40, 3)).astype(np.uint8)
    for name, image in zip(("a.png", "b.png", "c.png"), light, strict=True):
        Image.fromarray(image).save(tmp_path / name)
    more = ["--other", tiny_mae, "--limit", 2, "--json"]
    jssl("explain", "--workdir", tiny_mae, "--input", tmp_path, *more)
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads((tiny_mae / "explain.json").read_text())
    assert list(found["layers"]) == found["other_layers"] == ["blocks_0", "embedding"]
    assert found["examples"] == [64, 70]
    for row in found["layers"].values():
        assert 0 <= row["knn"] <= 1
        assert 0 <= row["linear"] <= 1
    np.testing.assert_allclose(np.diag(found["cka"]), 1, atol=1e-5)
    np.testing.assert_allclose(found["other_cka"], found["cka"], atol=1e-5)

    with np.load(tiny_mae / "explain.npz") as arrays:
        assert arrays["shown"].tolist() == [
            "image",
            "attention",
            "rollout",
            "occlusion",
            "gradient",
        ]
        assert arrays["shown_gradient"].shape == (2, 28, 28, 3)
        assert arrays["neighbours"].shape == (2, 8, 28, 28, 3)
        assert (np.diff(arrays["similarity"], axis=1) <= 1e-6).all()
        # One weight a patch of 4 pixels.
        patches = arrays["shown_image"].astype(int) * 0.35
        glow = (arrays["shown_attention"] - patches).reshape(2, 7, 4, 7, 4, 3)
        assert np.ptp(glow, axis=(2, 4)).max() <= 1.1
        assert np.ptp(glow, axis=(1, 3)).max() > 50
    files = sorted(f.name for f in (tiny_mae / "explain").iterdir())
    assert files == ["a.png", "c.png"]  # spread evenly
    assert np.asarray(Image.open(tiny_mae / "explain" / "a.png")).shape == (140, 5 * 140 + 16, 3)
    jssl("report", "--workdir", tiny_mae)
    page = (tiny_mae / "report.html").read_text()
    for title in ("Where it looks", "Nearest training examples", "What each layer holds"):
        assert f"<h2>{title}</h2>" in page
    assert "Left out, explain" not in page


def test_what_cannot_be_explained_is_one_line(tiny_mae, tmp_path, capsys):
    jssl("explain", "--workdir", tiny_mae, "--limit", 0, code=2)
    assert "limit must be at least 1, got 0" in capsys.readouterr().err
    jssl("explain", "--workdir", tiny_mae, "--other", tmp_path, code=2)
    assert "holds no run" in capsys.readouterr().err


def test_heat_goes_from_dark_to_bright_on_every_image():
    images = np.full((2, 10, 10, 1), 100, np.uint8)
    values = np.stack([np.arange(100.0).reshape(10, 10), np.zeros((10, 10))])
    found = pictures.heat(images, values)
    brightness = found[0].astype(int).sum(axis=-1).ravel()
    assert (np.diff(brightness) >= -3).all()
    assert brightness[-1] - brightness[0] > 300
    assert (found[1] == found[0, 0, 0]).all()  # nothing there
