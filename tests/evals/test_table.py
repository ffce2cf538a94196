import json

import numpy as np
import pytest

from jssl.evals.few_labels import few_labels
from jssl.evals.knn import knn
from jssl.evals.linear import linear_probe
from jssl.evals.table import evaluate, format_table, raw_pixels


def clusters(seed, per_class):
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(3), per_class).astype(np.int32)
    return (np.eye(3)[y] * 1.5 + rng.standard_normal((len(y), 3))).astype(np.float32), y


def test_row_is_made_of_the_three_evaluations():
    data = (*clusters(0, 20), *clusters(1, 30))
    row = evaluate(*data, num_classes=3, k=5, seed=2)
    few = few_labels(*data, num_classes=3, per_class=10, seed=2)
    assert row == {
        "knn": knn(*data, k=5, num_classes=3),
        "linear": linear_probe(*data, num_classes=3, seed=2).accuracy,
        "linear_10_per_class": few.mean,
        "linear_10_per_class_interval": list(few.interval),
    }
    assert json.loads(json.dumps(row)) == row
    assert 0.4 < min(row["knn"], row["linear"], row["linear_10_per_class"]) < 0.95


def test_too_few_labels_for_a_column_leave_it_empty():
    row = evaluate(*clusters(0, 9), *clusters(1, 5), num_classes=3, k=5)
    assert row["linear_10_per_class"] is None
    assert row["linear"] > 0.3


def test_pixels_are_scaled_flattened_and_centred():
    images = np.random.default_rng(0).integers(0, 256, (6, 5, 7, 3), dtype=np.uint8)
    train, test = raw_pixels(images[:4], images[4:])
    expected = images.astype(float) / 255
    mean = expected[:4].mean(0)
    np.testing.assert_allclose(train, (expected[:4] - mean).reshape(4, -1), atol=1e-6)
    np.testing.assert_allclose(test, (expected[4:] - mean).reshape(2, -1), atol=1e-6)
    wide = raw_pixels(images[:4].astype(np.uint16) * 257, images[4:].astype(np.uint16) * 257)
    np.testing.assert_allclose(wide[0], train, atol=1e-6)
    floats = raw_pixels(*np.split((images / 255).astype(np.float32), [4]))
    np.testing.assert_allclose(floats[1], test, atol=1e-6)


def test_large_images_are_averaged_over_blocks():
    images = np.random.default_rng(0).random((3, 65, 50, 1)).astype(np.float32)
    train, test = raw_pixels(images, images[:1])
    assert train.shape == (3, 22 * 17)
    block = images[:, 3:6, 6:9].mean((1, 2)) - images[:, 3:6, 6:9].mean()
    np.testing.assert_allclose(train.reshape(3, 22, 17, 1)[:, 1, 2], block, atol=1e-6)
    corner = images[:, 63:, 48:].mean((1, 2)) - images[:, 63:, 48:].mean()
    np.testing.assert_allclose(train.reshape(3, 22, 17, 1)[:, -1, -1], corner, atol=1e-6)
    np.testing.assert_allclose(test, train[:1], atol=1e-6)
    with pytest.raises(ValueError, match="images must be alike"):
        raw_pixels(images, images[:, 1:])


def test_text_table_in_percent():
    rows = {
        "raw_pixels": {"knn": 0.835, "linear": 0.8, "linear_10_per_class": None},
        "pretrained": {"knn": 0.9, "linear": 1.0, "linear_10_per_class": 0.7123},
    }
    lines = format_table(rows).splitlines()
    assert lines[0].split("  ")[-1] == "linear, 10 labels a class"
    assert lines[1].split() == ["raw", "pixels", "83.5", "%", "80.0", "%", "–"]
    assert lines[2].split() == ["pretrained", "90.0", "%", "100.0", "%", "71.2", "%"]
    assert len({len(line) for line in lines}) == 1


def test_metrics_that_some_rows_lack_have_a_line():
    rows = {"a": {"x": {"one": 1.0}}, "b": {"x": {"one": 2.0, "two": 3.0}}, "c": {"x": None}}
    lines = [line.split() for line in format_table(rows).splitlines()]
    assert lines == [
        ["a", "b", "c"],
        ["x:", "one", "1", "2", "–"],
        ["x:", "two", "–", "3", "–"],
    ]
