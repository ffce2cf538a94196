import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics
from sklearn.decomposition import PCA

from jssl.evals import anomaly, calibration, ranking


@pytest.mark.parametrize("ties", [False, True])
def test_ranking_agrees_with_scikit_learn(ties):
    rng = np.random.default_rng(0)
    positive = rng.random(300) < 0.3
    score = rng.normal(size=300) + positive
    score = np.round(score) if ties else score
    false, true, _ = metrics.roc_curve(positive, score, drop_intermediate=False)
    assert ranking.roc_auc(positive, score) == pytest.approx(metrics.auc(false, true), abs=1e-12)
    expected = metrics.average_precision_score(positive, score)
    assert ranking.average_precision(positive, score) == pytest.approx(expected, abs=1e-12)
    assert ranking.false_positive_rate(positive, score) == false[true >= 0.95].min()
    error = ranking.equal_error_rate(positive, score)
    assert 1 - np.interp(error, false, true) == pytest.approx(error, abs=0.01 if ties else 0.02)


def test_one_kind_alone_is_refused():
    with pytest.raises(ValueError, match="both kinds"):
        ranking.roc_auc(np.ones(3, bool), np.arange(3.0))


def test_calibration_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.3, 0.7]])
    error = calibration.expected_calibration_error(probabilities, np.array([0, 1, 1, 1]), bins=10)
    assert error == pytest.approx((abs(1 - 1.8) + 0.4 + 0.3) / 4)


def test_anomaly_scores_against_numpy():
    rng = np.random.default_rng(0)
    normal, x = rng.normal(size=(40, 6)), rng.normal(size=(20, 6))
    with jax.enable_x64(True):
        far = np.asarray(anomaly.knn_distance(jnp.asarray(normal), jnp.asarray(x), k=3))
        found = anomaly.spectral(jnp.asarray(np.pad(normal, ((0, 3), (0, 0)))), jnp.asarray(x), 40)
    unit = [a / np.linalg.norm(a, axis=1, keepdims=True) for a in (x, normal)]
    distance = np.linalg.norm(unit[0][:, None] - unit[1][None], axis=-1)
    np.testing.assert_allclose(far, np.sort(distance, axis=1)[:, 2], atol=1e-9)
    s = np.cov(normal.T, bias=True)
    s = 0.99 * s + 0.01 * np.trace(s) / 6 * np.eye(6)
    gap = x - normal.mean(axis=0)
    expected = np.einsum("ni,ij,nj->n", gap, np.linalg.inv(s), gap)
    np.testing.assert_allclose(found["mahalanobis"], expected)
    pca = PCA(0.9).fit(normal)
    rebuilt = pca.inverse_transform(pca.transform(x))
    np.testing.assert_allclose(found["reconstruction"], np.square(x - rebuilt).sum(axis=1))


def test_one_class_finds_far_classes():
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(3), 20)
    x = (4 * np.eye(3, 8)[y] + 0.1 * rng.normal(size=(60, 8))).astype(np.float32)
    found = anomaly.one_class(x, y, x + 0.01, y)
    assert len(found) == 9
    assert found["knn_auroc"] == found["mahalanobis_auroc"] == 1
    assert found["knn_fpr95"] == 0
    mixed = anomaly.one_class(x, y, x, rng.permutation(y))
    assert 0.35 < mixed["knn_auroc"] < 0.65
