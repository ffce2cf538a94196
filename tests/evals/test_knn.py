import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from jssl.evals.knn import knn


def blobs(seed, n, classes=5, d=16, noise=1.5):
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((classes, d))
    y = rng.integers(0, classes, n).astype(np.int32)
    return (centres[y] + noise * rng.standard_normal((n, d))).astype(np.float32), y


def reference(train_x, train_y, test_x, *, k, temperature):
    """The same rule by scikit-learn, in float64: cosine distance is 1 - similarity."""
    model = KNeighborsClassifier(
        k, weights=lambda distance: np.exp((1 - distance) / temperature), metric="cosine"
    )
    return model.fit(train_x.astype(float), train_y).predict(test_x.astype(float))


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.07), (20, 0.07), (50, 1.0), (300, 0.02)])
@pytest.mark.parametrize("chunks", [(256, 65536), (7, 37)])
def test_agrees_with_scikit_learn(k, temperature, chunks):
    (train_x, train_y), (test_x, test_y) = blobs(0, 300), blobs(1, 101)
    expected = reference(train_x, train_y, test_x, k=k, temperature=temperature)
    accuracy, predicted = knn(
        train_x,
        train_y,
        test_x,
        test_y,
        k=k,
        temperature=temperature,
        num_classes=5,
        test_chunk=chunks[0],
        train_chunk=chunks[1],
        return_predictions=True,
    )
    np.testing.assert_array_equal(predicted, expected)
    assert accuracy == (expected == test_y).mean()
    assert 0.3 < accuracy < 1  # neither trivial nor chance


def test_padding_of_the_last_chunk_never_votes():
    """Its similarity of 0 would beat all others here, and its label is 0."""
    x = np.abs(blobs(0, 10)[0])
    y = np.ones(10, np.int32)
    assert knn(x, y, -x, y, k=1, num_classes=2, train_chunk=4) == 1


def test_scale_of_the_embedding_does_not_matter():
    (train_x, train_y), (test_x, test_y) = blobs(0, 300), blobs(1, 101)
    scales = np.random.default_rng(2).uniform(1e-3, 1e3, (300, 1)).astype(np.float32)
    one = knn(train_x, train_y, test_x, test_y, num_classes=5)
    assert one == knn(scales * train_x, train_y, test_x * 1e6, test_y, num_classes=5)


def test_constant_embedding_is_chance():
    y = np.arange(400, dtype=np.int32) % 10
    x = np.full((400, 8), 0.3, np.float32)
    assert knn(x, y, x, y, num_classes=10) == pytest.approx(0.1)
    assert knn(0 * x, y, 0 * x, y, num_classes=10) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": 31}, r"k must lie in \[1, 30\]"),
        ({"temperature": 0.0}, "temperature must be > 0, got 0"),
        ({"num_classes": 2}, r"train_y must lie in \[0, 2\), got 0 to 4"),
        ({"train_y": np.full(30, -1)}, "leave unlabelled examples out"),
        ({"test_x": np.full((4, 16), np.nan, np.float32)}, "nan or inf in 4 rows"),
        ({"train_chunk": 0}, "train_chunk must be at least 1, got 0"),
    ],
)
def test_bad_input_is_named(change, message):
    x, y = blobs(0, 30)
    arguments = {"train_x": x, "train_y": y, "test_x": x[:4], "test_y": y[:4], "num_classes": 5}
    with pytest.raises(ValueError, match=message):
        knn(**(arguments | change))
