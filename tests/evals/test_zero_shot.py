"""Zero-shot accuracy and recall between images and texts, against loops."""

import numpy as np
import pytest

from jssl.evals import retrieval, zero_shot


def test_accuracy_chance_and_the_mean_over_classes():
    scores = np.array([[3, 1, 0], [2, 1, 0], [0, 5, 1], [0, 9, 1], [0, 0, 7.0]])
    found = zero_shot.accuracy(scores, np.array([0, 0, 0, 1, -1]))
    expected = {"accuracy": 3 / 4, "class_accuracy": (2 / 3 + 1) / 2, "chance": 1 / 3}
    assert found == pytest.approx(expected | {"majority": 3 / 4, "examples": 4})
    with pytest.raises(ValueError, match="needs labels, the test data has none"):
        zero_shot.accuracy(scores, np.full(5, -1))


def test_recall_both_ways_with_several_captions_of_an_image():
    rng = np.random.default_rng(0)
    group = np.sort(np.r_[np.arange(30), 4, 4, 9]).astype(np.int32)
    images = rng.normal(size=(30, 6))[group]
    texts = images + 1.5 * rng.normal(size=images.shape)
    found = retrieval.between(images.astype(np.float32), texts.astype(np.float32), group)
    assert (found["images"], found["texts"]) == (30, 33)
    _, first = np.unique(group, return_index=True)
    sides = {"image": (images[first], group[first]), "text": (texts, group)}
    for asked, gallery in (("image", "text"), ("text", "image")):
        (x, y), (known, labels) = sides[asked], sides[gallery]
        cosines = (x / np.linalg.norm(x, axis=1)[:, None]) @ (
            known / np.linalg.norm(known, axis=1)[:, None]
        ).T
        order = np.argsort(-cosines, axis=1)
        for k in (1, 5, 10):
            right = [(labels[row[:k]] == c).any() for row, c in zip(order, y, strict=True)]
            got = found[f"{asked}_to_{gallery}"][f"recall_at_{k}"]
            assert got == pytest.approx(np.mean(right))
            draws = [rng.permutation(len(labels))[:k] for _ in range(300)]
            by_chance = [(labels[d] == c).any() for d in draws for c in y]
            chance = found[f"chance_{asked}_to_{gallery}"][f"recall_at_{k}"]
            assert chance == pytest.approx(np.mean(by_chance), abs=0.02)
