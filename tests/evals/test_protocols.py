import json

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics

from jssl.evals import clustering, logistic, retrieval, table
from jssl.evals.linear import L2_CANDIDATES, linear_probe
from jssl.evals.protocols import PROTOCOLS


def test_agreement_is_scikit_learns():
    rng = np.random.default_rng(0)
    y, c = rng.integers(0, 4, 200), rng.integers(0, 5, 200)
    c = np.where(rng.random(200) < 0.5, y, c)
    found = clustering.agreement(y, c)
    assert found["nmi"] == pytest.approx(metrics.normalized_mutual_info_score(y, c), abs=1e-12)
    assert found["ari"] == pytest.approx(metrics.adjusted_rand_score(y, c), abs=1e-12)
    assert clustering.agreement(y, (y + 1) % 4)["accuracy"] == 1


def test_retrieval_is_scikit_learns():
    rng = np.random.default_rng(0)
    x, q = (rng.normal(size=(n, 6)).astype(np.float32) for n in (50, 21))
    y, asked = rng.integers(0, 3, 50), rng.integers(0, 3, 21)
    found = retrieval.retrieve(x, y, q, asked, chunk=8)
    s = q @ (x / np.linalg.norm(x, axis=1, keepdims=True)).T
    each = [metrics.average_precision_score(y == a, r) for a, r in zip(asked, s, strict=True)]
    assert found["map"] == pytest.approx(np.mean(each), abs=1e-5)
    assert found["recall_at_1"] == pytest.approx(np.mean(y[s.argmax(axis=1)] == asked))
    # Of examples that are all alike no order says anything: precision is the share of the class.
    same = retrieval.retrieve(np.ones((50, 6), np.float32), y, q, asked, chunk=8)
    assert same["map"] == pytest.approx(np.mean([(y == a).mean() for a in asked]))


def data(d=5):
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(3), 40)
    x = (np.eye(3, d)[y] + rng.normal(size=(120, d))).astype(np.float32)
    return x, y, rng.permutation(x), y


def test_a_planted_leak_is_harmless():
    """Test labels that one candidate gets all right: who looked at them would choose that one."""
    x, y, asked, _ = data()
    honest = linear_probe(x, y, asked, y, num_classes=3)
    other = max(set(L2_CANDIDATES) - {honest.l2}, key=lambda l2: abs(np.log(l2 / honest.l2)))
    fit = logistic.fit(jnp.asarray(x), jnp.asarray(y), jnp.asarray([other]), num_classes=3)
    leak = np.asarray(logistic.predict(fit, jnp.asarray(asked))[0])
    found = table.evaluate(x, y, asked, leak, num_classes=3, protocols=["linear"])
    logits = (asked - honest.mean) / honest.scale @ honest.weights + honest.bias
    assert found["linear"] == (logits.argmax(axis=1) == leak).mean() < 1


CHEAP = ["unlabelled", "knn_sweep", "verification", "clustering", "anomaly"]


@pytest.mark.parametrize(
    "names", [CHEAP, pytest.param(list(PROTOCOLS)[::-1], marks=pytest.mark.long)]
)
def test_protocols_in_the_order_asked(names):
    row = table.evaluate(*data(), num_classes=3, protocols=names)
    assert [name for name in row if not name.endswith("_interval")] == names
    assert json.loads(json.dumps(row)) == row
    again = table.evaluate(*data(), num_classes=3, protocols=names[:2])
    assert all(row[name] == again[name] for name in names[:2])
    for name in names:
        if name in ("linear_1_percent", "regression"):  # a label in all is too few; no targets
            assert row[name] is None
        else:
            values = row[name].values() if isinstance(row[name], dict) else [row[name]]
            assert np.isfinite(list(values)).all()
    text = table.format_table({"a": row, "b": row})
    for name in names:
        assert name in table.COLUMNS or f"{name.replace('_', ' ')}: " in text
