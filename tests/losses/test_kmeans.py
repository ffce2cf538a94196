"""k-means against numpy, on blobs, with rows left out; PCA whitening against singular values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from references import clustering as reference

from jssl.losses import kmeans

RNG = np.random.default_rng(0)
KEY = jax.random.key(0)
BOTH = pytest.mark.parametrize("algorithm", [kmeans.spherical_kmeans, kmeans.kmeans])


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def blobs(n=60, k=4, d=5, noise=0.05):
    """Rows of length one about k directions at right angles, and of each its direction."""
    labels = np.arange(n) % k
    return unit(np.eye(k, d)[labels] + noise * RNG.normal(size=(n, d))), labels


def same_partition(a, b):
    return len(set(zip(a.tolist(), b.tolist(), strict=True))) == len(set(a.tolist()))


def first_centroids(key, x, k, mask=None):
    """Those that the k-means of this key begins with: of one iteration's, the ones before it."""
    order = np.argsort(
        np.where(
            np.ones(len(x), bool) if mask is None else mask,
            jax.random.uniform(jax.random.split(key)[0], (len(x),), jnp.float64),
            np.inf,
        )
    )
    return x[order[:k]]


@pytest.mark.usefixtures("x64")
class TestReferences:
    @pytest.mark.parametrize("iterations", [1, 10])
    def test_spherical(self, iterations):
        x = unit(RNG.normal(size=(50, 4)))
        # Two of the first centroids stand on one row each in a crowd: some clusters are empty.
        x[:30] = unit(x[:1] + 1e-3 * x[:30])
        centroids, labels = kmeans.spherical_kmeans(KEY, jnp.asarray(x), 12, iterations)
        first = first_centroids(KEY, x, 12)
        expected, expected_labels = reference.cluster_memory(x, first, iterations)
        np.testing.assert_allclose(centroids, expected, rtol=1e-10, atol=1e-12)
        np.testing.assert_array_equal(labels, expected_labels)
        assert labels.dtype == jnp.int32

    @pytest.mark.parametrize("iterations", [1, 10])
    def test_euclidean(self, iterations):
        x = RNG.normal(size=(50, 3)) * [1, 2, 3]
        centroids, labels = kmeans.kmeans(KEY, jnp.asarray(x), 4, iterations)
        expected, expected_labels = reference.lloyd(x, first_centroids(KEY, x, 4), iterations)
        np.testing.assert_allclose(centroids, expected, rtol=1e-10)
        np.testing.assert_array_equal(labels, expected_labels)

    def test_pca_whitening(self):
        x = RNG.normal(size=(40, 6)) @ RNG.normal(size=(6, 6)) + 5
        ours = kmeans.pca_whiten(jnp.asarray(x), 4)
        theirs = reference.preprocess_features(x, 4)
        # Components have no sign of their own.
        signs = np.sign((np.asarray(ours) * theirs).sum(0))
        np.testing.assert_allclose(np.asarray(ours) * signs, theirs, rtol=1e-8, atol=1e-10)


@BOTH
@pytest.mark.usefixtures("x64")
class TestBoth:
    def test_finds_blobs(self, algorithm):
        x, labels = blobs()
        runs = [
            algorithm(jax.random.key(seed), jnp.asarray(x), 4, mask=jnp.ones(60, bool))[1]
            for seed in range(8)
        ]
        # A choice of first centroids may be unlucky, but not often.
        assert sum(same_partition(np.asarray(found), labels) for found in runs) >= 2

    def test_rows_outside_take_no_part(self, algorithm):
        x, mask = unit(RNG.normal(size=(40, 4))), RNG.random(40) < 0.6
        left, labels = algorithm(KEY, jnp.asarray(x), 5, mask=jnp.asarray(mask))
        x[~mask] = np.nan
        right, again = algorithm(KEY, jnp.asarray(x), 5, mask=jnp.asarray(mask))
        np.testing.assert_array_equal(left, right)
        np.testing.assert_array_equal(labels, again)
        assert ((np.asarray(labels) == -1) == ~mask).all()
        assert set(np.asarray(labels)[mask].tolist()) == set(range(5))

    def test_fewer_rows_than_clusters_are_their_own_clusters(self, algorithm):
        x, mask = unit(RNG.normal(size=(20, 4))), np.arange(20) < 3
        centroids, labels = algorithm(KEY, jnp.asarray(x), 8, mask=jnp.asarray(mask))
        assert len(set(np.asarray(labels)[:3].tolist())) == 3
        np.testing.assert_allclose(np.asarray(centroids)[np.asarray(labels)[:3]], x[:3], rtol=1e-2)

    def test_parts_give_the_same(self, algorithm, monkeypatch):
        x = jnp.asarray(unit(RNG.normal(size=(50, 4))))
        centroids, labels = algorithm(KEY, x, 5)
        monkeypatch.setattr(kmeans, "SCORES", 60)  # parts of 12 rows, the last one of 2
        in_parts, labels_in_parts = algorithm(KEY, x, 5)
        np.testing.assert_allclose(in_parts, centroids, rtol=1e-12, atol=1e-14)
        np.testing.assert_array_equal(labels_in_parts, labels)

    @pytest.mark.parametrize(
        ("k", "iterations", "words"),
        [
            (0, 3, "k must be between 1 and the 7 rows, got 0"),
            (8, 3, "k must be between 1 and the 7 rows, got 8"),
            (2, 0, "iterations must be at least 1, got 0"),
        ],
    )
    def test_bad_options(self, algorithm, k, iterations, words):
        with pytest.raises(ValueError, match=words):
            algorithm(KEY, jnp.ones((7, 2)), k, iterations)


@pytest.mark.usefixtures("x64")
class TestEmptyClusters:
    # Half of the rows are equal, so some of the first centroids are, and all but one of them empty.
    CROWD = np.concatenate([np.ones((20, 3)), RNG.normal(size=(20, 3)) + 5])

    def test_euclidean_splits_another(self):
        _, labels = kmeans.kmeans(KEY, jnp.asarray(self.CROWD), 12, 20)
        assert len(set(np.asarray(labels).tolist())) >= 10

    def test_the_new_centroid_stands_close_to_its_donor(self):
        x = jnp.asarray(np.concatenate([np.ones((20, 3)), 3 * np.ones((1, 3))]))
        centroids = np.asarray(kmeans.kmeans(KEY, x, 4, 1)[0])
        ones = centroids[np.abs(centroids - 1).max(1) < 0.1]
        assert len(ones) >= 3
        np.testing.assert_allclose(np.sort(np.unique(np.abs(ones - 1)))[-1], 1 / 1024)

    def test_spherical_keeps_it(self):
        x = unit(self.CROWD)
        centroids = np.asarray(kmeans.spherical_kmeans(KEY, jnp.asarray(x), 12, 1)[0])
        first = first_centroids(KEY, x, 12)
        twins = np.abs(first - x[0]).max(1) < 1e-12
        assert twins.sum() > 2
        np.testing.assert_allclose(centroids[np.flatnonzero(twins)[1:]], first[twins][1:])


@pytest.mark.usefixtures("x64")
class TestWhitening:
    def test_rows_outside_are_transformed_by_what_those_inside_have(self):
        x, mask = RNG.normal(size=(40, 5)), np.arange(40) < 25
        part = kmeans.pca_whiten(jnp.asarray(x[:25]), 3)
        whole = kmeans.pca_whiten(jnp.asarray(x), 3, jnp.asarray(mask))
        np.testing.assert_allclose(np.abs(whole[:25]), np.abs(part), rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(np.linalg.norm(whole, axis=1), 1, rtol=1e-12)

    def test_what_does_not_vary_stays_out(self):
        x = np.concatenate([RNG.normal(size=(40, 2)), np.full((40, 3), 7.0)], axis=1)
        white = np.asarray(kmeans.pca_whiten(jnp.asarray(x, jnp.float32), 256))
        assert white.shape == (40, 5)
        np.testing.assert_array_equal(white[:, 2:], 0)
        assert np.isfinite(white).all()

    def test_bad_dimensions(self):
        with pytest.raises(ValueError, match="dimensions must be at least 1, got 0"):
            kmeans.pca_whiten(jnp.ones((3, 2)), 0)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_dtypes(dtype):
    centroids, labels = kmeans.spherical_kmeans(KEY, jnp.eye(4, dtype=dtype), 2)
    assert (centroids.dtype, labels.dtype) == (jnp.float32, jnp.int32)
