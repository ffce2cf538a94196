"""Cross-entropy of classes, some of them unknown, against the authors' code."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from references import clustering as reference
from references.agreement import agree, agree_when_split

from jssl.losses import classification, regression

RNG = np.random.default_rng(0)
LOGITS = RNG.uniform(-1, 1, (6, 5))
LABELS = np.array([3, 0, -1, 4, 4, -1])
WEIGHTS = RNG.uniform(0.1, 2, 6)


@pytest.mark.usefixtures("x64")
def test_is_the_reference():
    agree(
        lambda logits: classification.cross_entropy_accuracy(
            logits, jnp.asarray(LABELS), jnp.asarray(WEIGHTS)
        )[0],
        lambda logits: reference.cross_entropy(logits, LABELS, WEIGHTS, ignore_index=-1),
        LOGITS,
    )


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["even", "weighted"])
def test_what_no_label_is_known_of_is_chance_without_gradient(weights):
    none = -jnp.ones(6, jnp.int32)
    (loss, accuracy), gradient = jax.value_and_grad(
        classification.cross_entropy_accuracy, has_aux=True
    )(jnp.asarray(LOGITS), none, None if weights is None else jnp.asarray(weights))
    np.testing.assert_allclose([loss, accuracy], [np.log(5), 1 / 5], rtol=1e-12)
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.usefixtures("x64")
def test_accuracy_counts_known_examples():
    logits = jax.nn.one_hot(jnp.asarray([3, 0, 0, 1, 4, 2]), 5, dtype=jnp.float64)
    accuracy = classification.cross_entropy_accuracy(logits, jnp.asarray(LABELS))[1]
    np.testing.assert_allclose(accuracy, 3 / 4)


@pytest.mark.usefixtures("x64")
def test_axis_name_gives_the_loss_of_the_whole_batch():
    """Devices with different numbers of known labels."""
    agree_when_split(
        lambda x, axis_name=None: classification.cross_entropy_accuracy(
            x, jnp.where(x[:, 0] > 0.3, 2, -1), x[:, 1] ** 2, axis_name=axis_name
        )[0],
        RNG.normal(size=(8, 15)),
    )


def test_bfloat16_gives_a_float32_loss():
    logits = jnp.asarray(LOGITS, jnp.bfloat16)
    labels = jnp.zeros(6, jnp.int32)
    assert classification.cross_entropy_accuracy(logits, labels)[0].dtype == jnp.float32


def test_shared_labels_against_numpy_and_the_same_as_whole_ones(x64):
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(8, 5)), np.array([0, 1, 2, 3, 4, -1, 0, 1])
    whole = np.eye(6)[labels][:, :5]

    def shared(logits, targets, smoothing=0.0):
        return classification.shared_cross_entropy_accuracy(
            jnp.asarray(logits), jnp.asarray(targets), smoothing
        )

    plain = classification.cross_entropy_accuracy(jnp.asarray(logits), jnp.asarray(labels))
    np.testing.assert_allclose(shared(logits, whole), plain, rtol=1e-12)

    share = rng.random((8, 1))
    targets = share * whole + (1 - share) * np.roll(whole, 1, axis=0)
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    smooth = 0.9 * targets + 0.1 * targets.sum(1, keepdims=True) / 5
    expected = -(smooth * log_p).sum() / targets.sum()
    loss, accuracy = shared(logits, targets, 0.1)
    np.testing.assert_allclose(loss, expected, rtol=1e-12)
    hits = targets[np.arange(8), logits.argmax(1)].sum() / targets.sum()
    np.testing.assert_allclose(accuracy, hits, rtol=1e-12)
    # The gradient of a cross-entropy: what is said less what is asked for.
    grad = jax.grad(lambda x: shared(x, targets, 0.1)[0])(jnp.asarray(logits))
    asked = np.exp(log_p) * smooth.sum(1, keepdims=True) - smooth
    np.testing.assert_allclose(grad, asked / targets.sum(), rtol=1e-10, atol=1e-15)
    nothing = shared(logits, np.zeros((8, 5)), 0.1)
    np.testing.assert_allclose(nothing, [np.log(5), 0.2], rtol=1e-12)


def test_many_labels_and_values_against_numpy_where_they_are_known(x64):
    rng = np.random.default_rng(0)
    out, targets = rng.normal(size=(6, 4)), rng.integers(0, 2, (6, 4)).astype(float)
    targets[2, 1] = targets[4] = np.nan
    known = ~np.isnan(targets)

    def loss(x, targets=targets):
        return classification.binary_cross_entropy_accuracy(x, jnp.asarray(targets), 0.1)

    p, t = 1 / (1 + np.exp(-out)), 0.9 * targets + 0.05
    entropy = -(t * np.log(p) + (1 - t) * np.log(1 - p))
    right = ((out > 0) == (targets > 0.5))[known].mean()
    np.testing.assert_allclose(loss(jnp.asarray(out)), [entropy[known].mean(), right], rtol=1e-12)
    grad = jax.grad(lambda x: loss(x)[0])(jnp.asarray(out))
    expected = np.where(known, p - t, 0) / known.sum()
    np.testing.assert_allclose(grad, expected, rtol=1e-10, atol=1e-16)
    nothing = loss(jnp.asarray(out), np.full((6, 4), np.nan))
    np.testing.assert_allclose(nothing, [np.log(2), 0.5], rtol=1e-12)

    gap = (out - targets)[known]
    found = regression.errors(jnp.asarray(out), jnp.asarray(targets))
    np.testing.assert_allclose(found, [(gap**2).mean(), np.abs(gap).mean()], rtol=1e-12)
    grad = jax.grad(lambda x: regression.errors(x, jnp.asarray(targets))[0])(jnp.asarray(out))
    expected = np.where(known, 2 * (out - targets), 0) / known.sum()
    np.testing.assert_allclose(grad, expected, rtol=1e-10, atol=1e-16)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    "loss",
    [
        classification.shared_cross_entropy_accuracy,
        classification.binary_cross_entropy_accuracy,
        regression.errors,
    ],
)
def test_over_a_split_batch_they_are_those_of_the_whole(loss):
    unknown = 0 if loss is classification.shared_cross_entropy_accuracy else jnp.nan

    def of_some(x, axis_name=None):
        targets = jnp.where(x > 1, unknown, (x > 0.3).astype(x.dtype))
        return loss(x, targets, axis_name=axis_name)[0]

    agree_when_split(of_some, np.random.default_rng(2).normal(size=(16, 4)))
