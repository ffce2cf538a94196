"""What the report draws: curves, pictures, neighbours, maps."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from jssl.report import curves, maps, pictures

RNG = np.random.default_rng(0)


def images(*shape):
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def test_newest_line_of_a_step_counts_and_epochs_are_the_axis_if_all_have_them():
    lines = [{"step": 1, "epoch": 0.5, "a": 1.0}, {"step": 1, "epoch": 0.5, "a": 2.0}]
    assert curves.series(lines, "a") == ("epoch", [(0.5, 2.0)], [])
    assert curves.series([*lines, {"step": 2, "a": 3.0}], "a")[0] == "step"
    assert curves.series([{"step": 1, "a": True}, {"step": 2, "a": "x"}], "a")[1:] == ([], [])


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1.0, [0, 0.5, 1.0]),
        (3.4, 8.9, [2, 4, 6, 8, 10]),
        (-1.0, 1.0, [-1, -0.5, 0, 0.5, 1]),
        (0.0, 3e-5, [0, 1e-5, 2e-5, 3e-5]),
        (990.0, 1010.0, [990, 995, 1000, 1005, 1010]),
    ],
)
def test_ticks_are_round_and_span_the_values(low, high, expected):
    np.testing.assert_allclose(curves.ticks(low, high), expected)


def test_thinning_keeps_ends_count_and_mean():
    points = [(float(i), float(i % 7)) for i in range(5000)]
    thin = curves.thinned(points, 400)
    assert len(thin) == 400
    assert (thin[0], thin[-1]) == (points[0], points[-1])
    assert [x for x, _ in thin] == sorted(x for x, _ in thin)
    assert np.mean([y for _, y in thin]) == pytest.approx(3, abs=0.05)


@pytest.mark.parametrize("values", [[0.0], [0.0] * 5, [1e-30, 1e30], [-5.0, -5.0], [1.0, 1 + 1e-9]])
def test_curves_of_any_values_can_be_drawn(values):
    lines = [{"step": i, "loss": value} for i, value in enumerate(values)]
    drawn = curves.figure(lines, curves.CURVES[0])
    assert "<polyline" in drawn
    assert "nan" not in drawn


def decoded(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))))


def test_pictures_of_any_channel_count_and_size():
    for channels, shown in ((1, 1), (2, 1), (3, 3), (4, 3), (13, 3)):
        image = images(9, 7, channels)
        got = decoded(pictures.data_uri(image)).reshape(9, 7, -1)
        np.testing.assert_array_equal(got, image[:, :, :shown])
    large = pictures.data_uri(images(640, 320, 3))
    assert large.startswith("data:image/jpeg")
    assert decoded(large).shape == (160, 80, 3)
    with pytest.raises(ValueError, match="must be uint8"):
        pictures.data_uri(np.zeros((4, 4, 3), np.float32))


def test_neighbours_are_the_nearest_and_framed_by_agreement():
    angles = np.array([0.0, 0.1, 0.3, 2.0, 2.05])
    unit = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    labels = np.array([0, 0, 1, 1, 1])
    thumbnails = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 1), np.uint8)
    text = pictures.neighbours(unit, labels, thumbnails, ["a", "b"], 2)
    found = [
        (kind, int(decoded(uri).flat[0]))
        for uri, kind in re.findall(r'<img src="([^"]*)"[^>]*class="(\w*)"', text)
    ]
    nearest = {0: [1, 2], 2: [1, 0], 1: [0, 2], 3: [4, 2], 4: [3, 2]}
    expected = []
    for query in (0, 2, 1, 3, 4):  # the classes in turn
        frames = ["same" if labels[i] == labels[query] else "other" for i in nearest[query]]
        expected += [("query", query), *zip(frames, nearest[query], strict=True)]
    assert found == expected
    assert pictures.agreement(unit, labels, 1) == pytest.approx(4 / 5)


def test_pca_is_the_plane_of_largest_variance():
    points = RNG.standard_normal((500, 10)) * [5, 3, *[0.1] * 8] + 7
    flat, share = maps.pca(points)
    variances = np.linalg.eigvalsh(np.cov(points.T, bias=True))[::-1]
    np.testing.assert_allclose(flat.var(axis=0), variances[:2])
    assert share == pytest.approx(variances[:2].sum() / variances.sum())
    assert abs(np.corrcoef(flat[:, 0], points[:, 0])[0, 1]) > 0.99
    assert maps.pca(np.ones((5, 1)))[0].shape == (5, 2)


def test_large_embeddings_are_sampled_and_every_point_is_drawn_once():
    assert len(maps.sample(100_000)) == 2000
    assert len(set(maps.sample(100_000))) == 2000
    labels = RNG.integers(0, 30, 300)
    drawn = maps.scatter(RNG.standard_normal((300, 2)), labels, "map")
    assert drawn.count("h0") == 300
    assert "and" not in maps.legend(labels, [])
    assert "10 more classes" in maps.legend(labels, [])
