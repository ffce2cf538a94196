import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from jssl.evals import logistic, split
from jssl.evals.few_labels import few_labels
from jssl.evals.linear import L2_CANDIDATES, linear_probe


def data(seed, n, d=20, classes=4, dtype=np.float32):
    """Correlated features of very different scales: what a real encoder gives."""
    mix = np.random.default_rng(7).standard_normal((d, d)) * 0.7 ** np.arange(d)[:, None]
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d)) @ mix + 3
    teacher = np.random.default_rng(8).standard_normal((d, classes))
    y = ((x - 3) @ teacher + 2 * rng.standard_normal((n, classes))).argmax(1)
    return (x * 10.0 ** np.linspace(-3, 3, d)).astype(dtype), y.astype(np.int32)


def scikit(x, y, l2):
    """The same objective: scikit-learn minimises C * sum of losses + 1/2 * ||W||^2."""
    x = (x - x.mean(0)) / x.std(0)
    model = LogisticRegression(
        C=1 / (l2 * len(x)), solver="newton-cholesky", tol=1e-12, max_iter=1000
    )
    return model.fit(x, y), x


@pytest.mark.parametrize("shape", [(300, 20), (30, 50)], ids=["tall", "wide"])
def test_weights_agree_with_scikit_learn(x64, shape):
    x, y = data(0, *shape, dtype=np.float64)
    l2s = [1e-3, 1e-2, 1.0]
    with jax.numpy_dtype_promotion("standard"):  # optax adds int32 to int64 under x64
        fit = logistic.fit(
            jnp.asarray(x),
            jnp.asarray(y),
            jnp.asarray(l2s),
            num_classes=4,
            tolerance=1e-9,
            max_iterations=1000,
        )
    for i, l2 in enumerate(l2s):
        model, _ = scikit(x, y, l2)
        weights = np.asarray(fit.weights[i])
        np.testing.assert_allclose(weights, model.coef_.T, atol=2e-6 * np.abs(model.coef_).max())
        bias = np.asarray(fit.bias[i]) - np.asarray(fit.bias[i]).mean()  # a common shift is free
        expected = model.intercept_ - model.intercept_.mean()
        np.testing.assert_allclose(bias, expected, atol=1e-5)
        assert fit.gradient_norm[i] <= 1e-9


def test_default_tolerance_in_float32_is_at_the_optimum():
    x, y = data(0, 500)
    for l2 in (1e-4, 1e-2, 1.0):
        model, standard = scikit(x.astype(float), y, l2)
        fit = logistic.fit(jnp.asarray(x), jnp.asarray(y), jnp.asarray([l2]), num_classes=4)

        def objective(weights, bias, standard=standard, l2=l2):
            logits = standard @ weights + bias
            logits -= logits.max(1, keepdims=True)
            losses = np.log(np.exp(logits).sum(1)) - logits[np.arange(len(y)), y]
            return losses.mean() + l2 / 2 * (weights**2).sum()

        ours = objective(np.asarray(fit.weights[0], float), np.asarray(fit.bias[0], float))
        best = objective(model.coef_.T, model.intercept_)
        assert best - 1e-9 <= ours <= best + 1e-5


def test_separable_data_and_tiny_regulariser_stay_finite():
    x = np.concatenate([np.eye(6), np.eye(6) * 2]).astype(np.float32)
    y = np.tile(np.arange(6), 2).astype(np.int32)
    fit = logistic.fit(jnp.asarray(x), jnp.asarray(y), jnp.asarray([1e-8]), num_classes=6)
    assert np.isfinite(np.asarray(fit.weights)).all()
    np.testing.assert_array_equal(np.asarray(logistic.predict(fit, jnp.asarray(x)))[0], y)


def test_probe_chooses_and_scores_like_scikit_learn():
    (train_x, train_y), (test_x, test_y) = data(0, 400), data(1, 400)
    probe = linear_probe(train_x, train_y, test_x, test_y, num_classes=4)
    fit, validation = split.stratified(train_y, 0.2, 0)
    for l2, accuracy in zip(L2_CANDIDATES, probe.validation_accuracies, strict=True):
        if l2 < 1e-4:
            continue  # hardly any curvature: stopping early is part of the answer
        x, y = train_x.astype(float), train_y
        model, _ = scikit(x[fit], y[fit], l2)
        held = (x[validation] - x[fit].mean(0)) / x[fit].std(0)
        assert accuracy == pytest.approx(model.score(held, y[validation]), abs=0.02)
    best = np.flatnonzero(probe.validation_accuracies == probe.validation_accuracies.max())
    assert probe.l2 == L2_CANDIDATES[best.max()]
    model, _ = scikit(train_x.astype(float), train_y, probe.l2)
    expected = model.score((test_x - train_x.mean(0)) / train_x.std(0), test_y)
    assert probe.accuracy == pytest.approx(expected, abs=0.01)
    assert probe.accuracy > 0.5
    assert probe.converged
    logits = (test_x - probe.mean) / probe.scale @ probe.weights + probe.bias
    assert probe.accuracy == (logits.argmax(1) == test_y).mean()


def test_regulariser_matters_and_is_found():
    """Labels follow one feature of many: a weak regulariser fits the noise."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1060, 60)).astype(np.float32)
    y = (x[:, 0] + 0.5 * rng.standard_normal(1060) > 0).astype(np.int32)
    probe = linear_probe(x[:60], y[:60], x[60:], y[60:], num_classes=2)
    weakest, _ = scikit(x[:60].astype(float), y[:60], 1e-6)
    held = (x[60:] - x[:60].mean(0)) / x[:60].std(0)
    assert probe.l2 >= 1e-2
    assert probe.accuracy > weakest.score(held, y[60:]) + 0.02


def test_test_labels_leave_no_trace():
    (train_x, train_y), (test_x, test_y) = data(0, 400), data(1, 400)
    shuffled = np.random.default_rng(0).permutation(test_y)
    one = linear_probe(train_x, train_y, test_x, test_y, num_classes=4)
    other = linear_probe(train_x, train_y, test_x, shuffled, num_classes=4)
    assert one.accuracy != other.accuracy
    for a, b in zip(one[1:], other[1:], strict=True):
        np.testing.assert_array_equal(a, b)
    few = few_labels(train_x, train_y, test_x, test_y, num_classes=4, draws=4)
    again = few_labels(train_x, train_y, test_x, shuffled, num_classes=4, draws=4)
    assert few.mean != again.mean
    np.testing.assert_array_equal(few.l2, again.l2)


def test_constant_embedding_is_chance():
    y = np.arange(400, dtype=np.int32) % 4
    x = np.full((400, 20), 0.1, np.float32)
    assert linear_probe(x, y, x, y, num_classes=4).accuracy == pytest.approx(0.25)
    assert few_labels(x, y, x, y, num_classes=4, draws=4).mean == pytest.approx(0.25)


def test_constant_feature_is_not_blown_up():
    """Its deviation in float32 is rounding; divided by that, it would become a feature."""
    x, y = data(0, 400)
    fits = []
    for value in (0.0, 1 / 3, 1e4 / 7):
        x[:, 0] = value
        fits.append(
            logistic.fit(jnp.asarray(x), jnp.asarray(y), jnp.asarray([1e-2]), num_classes=4)
        )
        assert fits[-1].scale[0] == 1
        np.testing.assert_allclose(fits[-1].weights[0, 0], 0, atol=1e-5)
    np.testing.assert_allclose(fits[0].weights, fits[2].weights, atol=1e-3)


def test_stratified_split_is_a_partition_with_the_share_of_every_class():
    labels = np.repeat([0, 1, 2], [10, 50, 1])
    fit, validation = split.stratified(labels, 0.2, seed=3)
    np.testing.assert_array_equal(np.sort(np.concatenate([fit, validation])), np.arange(61))
    np.testing.assert_array_equal(np.bincount(labels[validation], minlength=3), [2, 10, 0])
    assert not np.array_equal(validation, split.stratified(labels, 0.2, seed=4)[1])
    with pytest.raises(ValueError, match="every class has a single example"):
        split.stratified(np.arange(3), 0.2, 0)


@pytest.mark.parametrize("per_class", [2, 3, 5, 7, 10, 13])
def test_folds_hold_out_every_example_and_every_class(per_class):
    labels = np.repeat(np.arange(4), per_class)
    fits, validations = split.folds(4, per_class)
    for fit, validation in zip(fits, validations, strict=True):
        assert len(np.intersect1d(fit, validation)) == 0
        assert len(fit) + len(validation) == len(labels)
        assert len(set(np.bincount(labels[validation], minlength=4))) == 1
    assert set(validations.ravel()) == set(range(len(labels)))


def test_draws_are_balanced_and_depend_on_seed_and_number_alone():
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [30, 40, 12]))
    three, five = split.balanced(labels, 10, 3, seed=1), split.balanced(labels, 10, 5, seed=1)
    np.testing.assert_array_equal(three, five[:3])
    for draw in five:
        assert len(set(draw)) == 30
        np.testing.assert_array_equal(labels[draw], np.repeat([0, 1, 2], 10))
    assert len({tuple(sorted(draw)) for draw in five}) == 5
    with pytest.raises(ValueError, match="at most 12, the size of class 2, got 13"):
        split.balanced(labels, 13, 1, 0)


@pytest.mark.parametrize("per_class", [1, 10])
def test_few_labels_scores_like_probes_one_by_one(per_class):
    (train_x, train_y), (test_x, test_y) = data(0, 400), data(1, 400)
    few = few_labels(train_x, train_y, test_x, test_y, num_classes=4, per_class=per_class, draws=4)
    drawn = split.balanced(train_y, per_class, 4, seed=0)
    for draw, accuracy, l2 in zip(drawn, few.accuracies, few.l2, strict=True):
        x = train_x[draw].astype(float)
        scale = np.where(x.std(0) > 0, x.std(0), 1)
        model = LogisticRegression(C=1 / (l2 * len(x)), tol=1e-8, max_iter=5000)
        model.fit((x - x.mean(0)) / scale, train_y[draw])
        expected = model.score((test_x - x.mean(0)) / scale, test_y)
        assert accuracy == pytest.approx(expected, abs=0.03)
    assert few.mean == pytest.approx(few.accuracies.mean())
    from scipy import stats

    interval = stats.t.interval(0.95, 3, few.mean, stats.sem(few.accuracies))
    assert few.interval == pytest.approx(interval)


def test_few_labels_chooses_by_cross_validation_among_its_own():
    train_x, train_y = data(0, 400)
    options = {"num_classes": 4, "draws": 2, "l2_candidates": (1e-4, 1e-2, 1.0, 1000.0)}
    few = few_labels(train_x, train_y, train_x, train_y, **options)
    fits, validations = split.folds(4, 10)
    for draw, l2 in zip(split.balanced(train_y, 10, 2, seed=0), few.l2, strict=True):
        right = {}
        for candidate in options["l2_candidates"]:
            right[candidate] = 0
            for fit, validation in zip(draw[fits], draw[validations], strict=True):
                x = train_x[fit].astype(float)
                model, _ = scikit(x, train_y[fit], candidate)
                held = (train_x[validation] - x.mean(0)) / x.std(0)
                right[candidate] += (model.predict(held) == train_y[validation]).sum()
        assert right[l2] >= max(right.values()) - 1  # one near a border may fall either way
        assert right[1000.0] < right[l2] or l2 == 1000.0


def test_one_draw_has_no_interval_and_bad_input_is_named():
    x, y = data(0, 100)
    assert few_labels(x, y, x, y, num_classes=4, draws=1, per_class=3).interval is None
    with pytest.raises(ValueError, match=r"numbers > 0, got \[0.0\]"):
        linear_probe(x, y, x, y, num_classes=4, l2_candidates=[0.0])
    with pytest.raises(ValueError, match="strictly between 0 and 1, got"):
        linear_probe(x, y, x, y, num_classes=4, holdout=1.5)
    with pytest.raises(ValueError, match="equally wide, got 20 and 19"):
        split.check(x, y, x[:, 1:], y, 4)
    with pytest.raises(ValueError, match="draws must be at least 1, got 0"):
        few_labels(x, y, x, y, num_classes=4, draws=0)
