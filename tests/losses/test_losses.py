"""Value and gradient of every loss against the authors' code, and the papers' invariances."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from references import losses as reference
from references.agreement import agree, agree_when_split

from jssl.losses import contrastive, reconstruction, regression

RNG = np.random.default_rng(0)
Z1, Z2 = RNG.normal(size=(6, 5)), RNG.normal(size=(6, 5)) * 3


@pytest.mark.usefixtures("x64")
class TestReferences:
    @pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0])
    def test_ntxent(self, temperature):
        agree(
            lambda a, b: contrastive.ntxent(a, b, temperature),
            lambda a, b: reference.simclr(a, b, temperature) / 2,  # mean over 2n, not sum of halves
            Z1,
            Z2,
        )

    def test_negative_cosine_is_byol(self):
        p1, p2 = RNG.normal(size=(2, 6, 5))
        agree(
            lambda p1, p2: (
                4
                + 2 * regression.negative_cosine(p1, jnp.asarray(Z2))
                + 2 * regression.negative_cosine(p2, jnp.asarray(Z1))
            ),
            lambda p1, p2: reference.byol(p1, p2, Z1, Z2),
            p1,
            p2,
        )

    @pytest.mark.parametrize("norm_pix", [False, True])
    def test_masked_mse_is_mae(self, norm_pix):
        target, pred = RNG.normal(size=(2, 3, 4, 12))
        mask = RNG.random((3, 4)) < 0.75
        goal = reconstruction.normalize_patches if norm_pix else (lambda x: x)
        agree(
            lambda pred: reconstruction.masked_mse(
                pred, goal(jnp.asarray(target)), jnp.asarray(mask)
            ),
            lambda pred: reference.mae(target, pred, mask, norm_pix),
            pred,
        )

    def test_masked_cross_entropy_is_beits(self):
        logits, labels = RNG.normal(size=(3, 4, 5)), RNG.integers(0, 5, (3, 4))
        mask = RNG.random((3, 4)) < 0.4
        agree(
            lambda logits: reconstruction.masked_cross_entropy(
                logits, jnp.asarray(labels), jnp.asarray(mask)
            )[0],
            lambda logits: reference.beit(logits, labels, mask)[0],
            logits,
        )
        _, accuracy = reconstruction.masked_cross_entropy(*map(jnp.asarray, (logits, labels, mask)))
        np.testing.assert_allclose(accuracy, reference.beit(logits, labels, mask)[1])

    def test_no_gradient_flows_into_the_target(self):
        gradient = jax.grad(lambda z: regression.negative_cosine(jnp.asarray(Z1), z))(
            jnp.asarray(Z2)
        )
        np.testing.assert_array_equal(gradient, 0)


@pytest.mark.usefixtures("x64")
class TestInvariances:
    def test_ntxent_does_not_know_the_order_of_the_batch(self):
        order = RNG.permutation(6)
        np.testing.assert_allclose(
            contrastive.ntxent(jnp.asarray(Z1[order]), jnp.asarray(Z2[order])),
            contrastive.ntxent(jnp.asarray(Z1), jnp.asarray(Z2)),
            rtol=1e-12,
        )

    def test_ntxent_does_not_know_rotation_scale_or_which_view_is_first(self):
        rotation = np.linalg.qr(RNG.normal(size=(5, 5)))[0]
        value = contrastive.ntxent(jnp.asarray(Z1), jnp.asarray(Z2))
        for a, b in ((Z1 @ rotation, Z2 @ rotation), (Z1 * 7, Z2 * 0.1), (Z2, Z1)):
            np.testing.assert_allclose(
                contrastive.ntxent(jnp.asarray(a), jnp.asarray(b)), value, rtol=1e-12
            )

    def test_ntxent_of_equal_vectors_is_chance(self):
        ones = jnp.ones((6, 5))
        np.testing.assert_allclose(contrastive.ntxent(ones, ones), np.log(11), rtol=1e-12)

    def test_proxy_accuracy(self):
        accuracy = contrastive.ntxent_accuracy(jnp.asarray(Z1), jnp.asarray(Z1 * 2))[1]
        np.testing.assert_allclose(accuracy, 1)
        far = contrastive.ntxent_accuracy(jnp.asarray(Z1), jnp.asarray(-Z1))[1]
        np.testing.assert_allclose(far, 0)

    def test_negative_cosine_bounds(self):
        same = regression.negative_cosine(jnp.asarray(Z1), jnp.asarray(3 * Z1))
        opposite = regression.negative_cosine(jnp.asarray(Z1), jnp.asarray(-Z1))
        np.testing.assert_allclose([same, opposite], [-1, 1], rtol=1e-12)

    def test_masked_mse_ignores_what_was_visible(self):
        mask = jnp.asarray([[True, False, True]])
        pred, target = jnp.zeros((1, 3, 2)), jnp.asarray([[[1.0, 1], [9, 9], [3, 3]]])
        np.testing.assert_allclose(reconstruction.masked_mse(pred, target, mask), 5)

    @pytest.mark.parametrize("x", [np.zeros((2, 3)), np.full((2, 3), 1e-30)])
    def test_zero_vectors_have_a_finite_gradient(self, x):
        gradient = jax.grad(lambda z: contrastive.ntxent(z, jnp.ones((2, 3))))(jnp.asarray(x))
        assert np.isfinite(gradient).all()


@pytest.mark.parametrize(
    "loss",
    [
        contrastive.ntxent,
        regression.negative_cosine,
        lambda a, b, axis_name=None: reconstruction.masked_mse(
            a[:, None], b[:, None], a[:, :1] > 0, axis_name=axis_name
        ),
    ],
    ids=["ntxent", "negative_cosine", "masked_mse"],
)
@pytest.mark.usefixtures("x64")
def test_axis_name_gives_the_loss_of_the_whole_batch(loss):
    agree_when_split(loss, *RNG.normal(size=(2, 8, 5)))


def test_bfloat16_projections_give_a_float32_loss():
    a, b = jnp.asarray(Z1, jnp.bfloat16), jnp.asarray(Z2, jnp.bfloat16)
    assert contrastive.ntxent(a, b).dtype == jnp.float32
    assert regression.negative_cosine(a, b).dtype == jnp.float32


def test_bad_temperature():
    with pytest.raises(ValueError, match=r"temperature must be > 0, got -0.1"):
        contrastive.ntxent(jnp.ones((2, 3)), jnp.ones((2, 3)), -0.1)
