import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score

from jssl.evals.linear import L2_CANDIDATES
from jssl.evals.regression import r2, regression_probe

RNG = np.random.default_rng(0)
X = RNG.normal(size=(90, 30)) * 0.8 ** np.arange(30) + 3
T = X @ RNG.normal(size=(30, 2)) * [1, 100] + RNG.normal(size=(90, 2)) * [0.3, 30]


def scikit(x, t, l2, asked):
    scale = x.std(axis=0)
    model = Ridge(alpha=l2 * len(x)).fit((x - x.mean(axis=0)) / scale, t)
    return model.predict((asked - x.mean(axis=0)) / scale)


def test_agrees_with_scikit_learn_and_chooses_on_the_training_part():
    found = regression_probe(X[:60], T[:60], X[60:], T[60:])
    predicted = scikit(X[:60], T[:60], found["l2"], X[60:])
    assert found["r2"] == pytest.approx(r2_score(T[60:], predicted), abs=1e-12)
    assert r2(T[60:], predicted) == pytest.approx(found["r2"], abs=1e-12)
    assert 0.1 < found["r2"] < 1
    order = np.random.default_rng(0).permutation(60)
    out, inner = order[:12], order[12:]
    error = [
        (np.square(scikit(X[inner], T[inner], l2, X[out]) - T[out]) / T[:60].var(axis=0)).mean()
        for l2 in L2_CANDIDATES
    ]
    assert found["l2"] == L2_CANDIDATES[np.argmin(error)]


def test_a_planted_leak_is_harmless():
    """Test targets as another regulariser predicts them: who looked would choose that one."""
    honest = regression_probe(X[:60], T[:60], X[60:], T[60:])
    other = 10.0 if honest["l2"] < 1 else 1e-6
    leak = scikit(X[:60], T[:60], other, X[60:])
    found = regression_probe(X[:60], T[:60], X[60:], leak)
    assert found["l2"] == honest["l2"]
    assert found["r2"] < 1 - 1e-3


def test_a_constant_target_is_refused_and_a_constant_feature_is_none():
    with pytest.raises(ValueError, match="train_targets must be finite and change"):
        regression_probe(X, 0 * T, X, T)
    wide = np.concatenate([X, np.full((90, 1), 1 / 3)], axis=1)
    one, two = (regression_probe(x[:60], T[:60], x[60:], T[60:]) for x in (X, wide))
    assert two["r2"] == pytest.approx(one["r2"], abs=1e-9)
