"""Losses of few labels against the released code, transcribed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from references import few_labels as reference
from references.agreement import agree, agree_when_split

from jssl.losses import consistency

RNG = np.random.default_rng(0)
WEAK, STRONG = RNG.normal(size=(2, 8, 5)) * 2
THRESHOLD = float(np.median(reference.softmax(WEAK).max(1)))

pytestmark = pytest.mark.usefixtures("x64")


def followed(strong, weak, **options):
    labels, sure = consistency.pseudo_labels(weak)
    return consistency.confident_cross_entropy(strong, labels, sure >= THRESHOLD, **options)


def test_confident_cross_entropy_is_the_reference():
    def theirs(strong):
        whole, _ = reference.fixmatch(strong, np.zeros(8, int), WEAK, strong, THRESHOLD, 1.0)
        return whole - reference.cross_entropy(strong, np.zeros(8, int)).mean()

    agree(lambda strong: followed(strong, jnp.asarray(WEAK)), theirs, STRONG)
    # Its own labels, as of Lee: the label itself is no function of the logits.
    agree(
        lambda x: followed(x, x), lambda x: reference.pseudo_label(x, THRESHOLD - 1e-9), WEAK.copy()
    )


def test_no_gradient_reaches_what_gives_the_labels():
    gradient = jax.grad(followed, argnums=1)(jnp.asarray(STRONG), jnp.asarray(WEAK))
    np.testing.assert_array_equal(gradient, 0)


def test_squared_is_the_reference():
    agree(consistency.squared, reference.squared, STRONG, WEAK)


@pytest.mark.parametrize("loss", [followed, consistency.squared])
def test_split_over_devices(loss):
    agree_when_split(loss, STRONG, WEAK)


@pytest.mark.parametrize("unused", [0, 4, 30])
def test_flexible_thresholds_are_the_reference(unused):
    """As long as the unused are more than the best class they hold all thresholds down."""
    selected = np.concatenate([np.repeat([0, 1, 2], [9, 4, 1]), np.full(unused, -1)])
    expected = reference.classwise_thresholds(selected, 4, 0.95)
    found = consistency.flexible_thresholds(jnp.asarray(selected), 4, 0.95)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert found[3] == 0
    assert (found[0] < 0.9) == (unused > 9)
