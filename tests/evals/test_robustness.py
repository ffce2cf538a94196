import numpy as np
import pytest

from jssl.augment import corruptions
from jssl.evals import robustness
from jssl.evals.calibration import expected_calibration_error
from jssl.evals.linear import linear_probe, probabilities


@pytest.mark.parametrize("asked", [["brightness", "contrast"]])
def test_accuracy_is_the_mean_over_strengths_and_only_test_images_are_corrupted(asked, monkeypatch):
    chosen = {name: corruptions.CORRUPTIONS[name] for name in asked}
    monkeypatch.setattr(corruptions, "CORRUPTIONS", chosen)
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    images = rng.integers(60, 120, (60, 4, 4, 1)) + 60 * y[:, None, None, None]
    images = images.astype(np.uint8)

    def encode(x):
        assert x.dtype == np.uint8
        return x.reshape(len(x), -1).astype(np.float32) / 255

    train, test = slice(0, 40), slice(40, 60)
    x = encode(images)
    probe = linear_probe(x[train], y[train], x[test], y[test], num_classes=2)
    found = robustness.under_corruptions(encode, probe, images[test], y[test])
    assert list(found) == ["clean", *asked, "mean", "ece"]
    assert found["clean"] == probe.accuracy == 1
    said = []
    for name in asked:
        right = []
        for level in chosen[name][1]:
            z = images[test] / 255
            if name == "brightness":
                z = np.minimum(z + level, 1)
            else:
                mean = z.mean(axis=(1, 2), keepdims=True)
                z = mean + level * (z - mean)
            said.append(probabilities(probe, encode(np.round(255 * z).astype(np.uint8))))
            right.append((said[-1].argmax(axis=1) == y[test]).mean())
        assert found[name] == pytest.approx(np.mean(right), abs=1 / 100)
    assert found["mean"] == pytest.approx(np.mean([found[name] for name in asked]))
    ece = expected_calibration_error(np.concatenate(said), np.tile(y[test], 10))
    assert found["ece"] == pytest.approx(ece, abs=0.03)  # a level of gray may round otherwise
    assert found["brightness"] < 1
