"""Losses of denoising and of colorization against numpy, and what does not count in them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from references import pixels as reference
from references.agreement import agree, agree_when_split

from jssl.losses import reconstruction

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(2, 3, 7)) * 2
TARGETS = RNG.dirichlet(np.full(7, 0.5), (2, 3))
MASK = np.array([[True, True, False], [False, True, True]])
PRIOR = RNG.dirichlet(np.ones(7))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 1.0), (2.0, 0.5), (1.0, 0.0)])
def test_emphasized_mse_is_the_reference(alpha, beta):
    x, z = RNG.normal(size=(2, 2, 3, 4, 2))
    corrupted = RNG.random(x.shape) < 0.4
    agree(
        lambda z: reconstruction.emphasized_mse(
            z, jnp.asarray(x), jnp.asarray(corrupted), alpha, beta
        ),
        lambda z: reference.emphasized(x, z, corrupted, alpha, beta),
        z,
    )


@pytest.mark.usefixtures("x64")
def test_soft_cross_entropy_is_the_reference():
    weights = reference.prior_factor(PRIOR, 0.5)[TARGETS.argmax(-1)]
    agree(
        lambda logits: reconstruction.soft_cross_entropy(
            logits, *map(jnp.asarray, (TARGETS, weights, MASK))
        )[0],
        lambda logits: reference.colorization(
            logits.reshape(-1, 7),
            TARGETS.reshape(-1, 7),
            reference.prior_factor(PRIOR, 0.5),
            MASK.ravel(),
        ),
        LOGITS,
    )
    right = (LOGITS.argmax(-1) == TARGETS.argmax(-1))[MASK].mean()
    accuracy = reconstruction.soft_cross_entropy(
        *map(jnp.asarray, (LOGITS, TARGETS, weights, MASK))
    )[1]
    np.testing.assert_allclose(accuracy, right)


@pytest.mark.usefixtures("x64")
def test_where_nothing_counts_the_loss_is_chance_without_gradient():
    def loss(logits):
        return reconstruction.soft_cross_entropy(
            logits, jnp.asarray(TARGETS), jnp.ones((2, 3)), jnp.zeros((2, 3), bool)
        )

    (value, accuracy), gradient = jax.value_and_grad(loss, has_aux=True)(jnp.asarray(LOGITS))
    np.testing.assert_allclose([value, accuracy], [np.log(7), 1 / 7], rtol=1e-12)
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.usefixtures("x64")
def test_rarity_weights():
    """Rarer is heavier; the mean is 1 under the prior; at lambda = 1 all are the same."""
    weights = reconstruction.rarity_weights(jnp.asarray(PRIOR), 0.3)
    np.testing.assert_allclose(weights, reference.prior_factor(PRIOR, 0.3), rtol=1e-12)
    np.testing.assert_allclose(PRIOR @ np.asarray(weights), 1, rtol=1e-12)
    assert (np.argsort(weights) == np.argsort(-PRIOR)).all()
    np.testing.assert_allclose(reconstruction.rarity_weights(jnp.asarray(PRIOR), 1.0), 1)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    "loss",
    [
        lambda x, axis_name=None: reconstruction.emphasized_mse(
            x[:, None, None], 0 * x[:, None, None], x[:, None, None] > 0, 3.0, axis_name=axis_name
        ),
        lambda x, axis_name=None: reconstruction.soft_cross_entropy(
            x.reshape(-1, 3, 5),
            jax.nn.softmax(2 * x.reshape(-1, 3, 5)),
            x[:, :3] ** 2,
            x[:, 3:6] > 0.2,
            axis_name=axis_name,
        )[0],
    ],
    ids=["emphasized_mse", "soft_cross_entropy"],
)
def test_axis_name_gives_the_loss_of_the_whole_batch(loss):
    """Devices with different numbers of places that count."""
    agree_when_split(loss, RNG.normal(size=(8, 15)))


def test_bfloat16_gives_a_float32_loss():
    x = jnp.asarray(LOGITS, jnp.bfloat16)
    even = jnp.ones((2, 3), jnp.bfloat16)
    assert reconstruction.soft_cross_entropy(x, x, even, even > 0)[0].dtype == jnp.float32
    assert reconstruction.emphasized_mse(x[None], x[None], x[None] > 0).dtype == jnp.float32
