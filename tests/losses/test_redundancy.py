"""Losses against redundancy: the authors' code, the papers' invariances, split batches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from references import redundancy as reference
from references.agreement import agree, agree_when_split

from jssl.losses import redundancy

RNG = np.random.default_rng(0)
Z1 = RNG.normal(size=(8, 3)) @ RNG.normal(size=(3, 3))
Z2 = Z1 + 0.3 * RNG.normal(size=(8, 3))
ORDER = np.stack([RNG.permutation(8) for _ in range(3)])


def wmse(z1, z2, order=ORDER, axis_name=None, **options):
    return redundancy.wmse(z1, z2, jnp.asarray(order), 4, axis_name=axis_name, **options)


PAIRS = {"barlow_twins": redundancy.barlow_twins, "vicreg": redundancy.vicreg, "wmse": wmse}
every_pair = pytest.mark.parametrize("loss", PAIRS.values(), ids=PAIRS)


@pytest.mark.usefixtures("x64")
class TestReferences:
    @pytest.mark.parametrize("weight", [0.0, 0.0051, 1.0])
    def test_barlow_twins(self, weight):
        agree(
            lambda a, b: redundancy.barlow_twins(a, b, weight),
            lambda a, b: reference.barlow_twins(a, b, weight),
            Z1,
            Z2,
        )

    # Shrunk, so that all, some and none of the deviations are below the hinge.
    @pytest.mark.parametrize("scale", [0.1, 1.2, 10])
    @pytest.mark.parametrize("weights", [(25, 25, 1), (1, 0, 0), (0, 1, 0), (0, 0, 1)])
    def test_vicreg(self, weights, scale):
        agree(
            lambda a, b: redundancy.vicreg(a, b, *weights),
            lambda a, b: reference.vicreg(a, b, *weights),
            Z1 * scale,
            Z2 * scale,
        )

    def test_the_hinge_was_met_from_both_sides(self):
        deviation = Z1.std(0, ddof=1) * 1.2
        assert (deviation < 1).any()
        assert (deviation > 1).any()

    @pytest.mark.parametrize("epsilon", [0.0, 0.1])
    def test_whiten(self, epsilon):
        agree(
            lambda z: jnp.sum(jnp.sin(redundancy.whiten(z, epsilon))),
            lambda z: np.sin(reference.whitening(z, epsilon)).sum(),
            Z1,
        )

    @pytest.mark.parametrize("epsilon", [0.0, 0.1])
    @pytest.mark.parametrize("normalize", [True, False])
    def test_wmse(self, normalize, epsilon):
        agree(
            lambda a, b: wmse(a, b, normalize=normalize, epsilon=epsilon),
            lambda a, b: reference.w_mse(a, b, ORDER, 4, epsilon, normalize),
            Z1,
            Z2,
        )

    def test_koleo(self):
        agree(redundancy.koleo, reference.koleo, Z1)


@pytest.mark.usefixtures("x64")
class TestInvariances:
    @every_pair
    def test_the_order_of_the_batch_does_not_matter(self, loss):
        order = RNG.permutation(8)
        # W-MSE is cut in the same parts when its permutations follow the batch.
        given = {"order": np.argsort(order)[ORDER]} if loss is wmse else {}
        moved = loss(jnp.asarray(Z1[order]), jnp.asarray(Z2[order]), **given)
        np.testing.assert_allclose(moved, loss(jnp.asarray(Z1), jnp.asarray(Z2)), rtol=1e-10)

    @every_pair
    def test_which_view_is_first_does_not_matter(self, loss):
        a, b = jnp.asarray(Z1), jnp.asarray(Z2)
        np.testing.assert_allclose(loss(a, b), loss(b, a), rtol=1e-12)

    def test_barlow_twins_knows_neither_scale_nor_offset_of_a_feature(self):
        scale, offset = np.array([100, 200, 300.0]), np.array([5, -7, 1.0])
        # So large that the 1e-5 beside the variance is nothing.
        a, b = Z1 * 1e4, Z2 * 1e4
        moved = redundancy.barlow_twins(jnp.asarray(a * scale + offset), jnp.asarray(b / 10))
        np.testing.assert_allclose(
            moved, redundancy.barlow_twins(jnp.asarray(a), jnp.asarray(b)), rtol=1e-9
        )

    def test_barlow_twins_is_zero_for_uncorrelated_equal_views(self):
        z = jnp.asarray(np.linalg.qr(Z1 - Z1.mean(0))[0]) * 1e6
        assert redundancy.barlow_twins(z, z, 1.0) < 1e-12

    def test_vicreg_terms_know_what_they_should(self):
        a, b = jnp.asarray(Z1), jnp.asarray(Z2)
        terms = redundancy.vicreg_terms(a, b)
        moved = redundancy.vicreg_terms(a + 3, b - 2)
        for name in ("variance", "covariance"):
            np.testing.assert_allclose(moved[name], terms[name], rtol=1e-10)
        together = redundancy.vicreg_terms(a + 3, b + 3)
        np.testing.assert_allclose(together["invariance"], terms["invariance"], rtol=1e-10)
        assert redundancy.vicreg_terms(a, a)["invariance"] == 0
        flat = redundancy.vicreg_terms(jnp.zeros((4, 3)), jnp.zeros((4, 3)))
        np.testing.assert_allclose(
            [flat["variance"], flat["covariance"]], [0.99, 0], rtol=1e-12, atol=1e-12
        )
        wide = redundancy.vicreg_terms(100 * a, 100 * b)
        assert wide["variance"] == 0

    def test_whitened_features_have_unit_covariance(self):
        white = redundancy.whiten(jnp.asarray(Z1 * 5 + 2))
        np.testing.assert_allclose(np.cov(white.T), np.eye(3), atol=1e-12)
        np.testing.assert_allclose(white.mean(0), 0, atol=1e-12)

    def test_a_linear_map_only_rotates_whitened_features(self):
        white = redundancy.whiten(jnp.asarray(Z1))
        mapped = redundancy.whiten(jnp.asarray(Z1 @ RNG.normal(size=(3, 3)) + 4))
        np.testing.assert_allclose(mapped @ mapped.T, white @ white.T, atol=1e-10)
        assert np.abs(mapped - white).max() > 0.1

    def test_a_triangular_map_of_a_view_does_not_change_wmse(self):
        """Cholesky's factor takes it up: scale and offset of features among them."""
        lower = np.tril(RNG.normal(size=(3, 3)), -1) + np.diag([0.1, 2, 30.0])
        value = wmse(jnp.asarray(Z1), jnp.asarray(Z2))
        np.testing.assert_allclose(
            wmse(jnp.asarray(Z1 @ lower.T + 1), jnp.asarray(Z2)), value, rtol=1e-9
        )
        assert abs(wmse(jnp.asarray(Z1 @ lower + 1), jnp.asarray(Z2)) - value) > 1e-3

    def test_koleo_knows_neither_scale_nor_rotation_nor_order(self):
        rotation = np.linalg.qr(RNG.normal(size=(3, 3)))[0]
        order = RNG.permutation(8)
        moved = redundancy.koleo(jnp.asarray(7 * Z1[order] @ rotation))
        # 1e-8 is added to coordinates, which a rotation changes.
        np.testing.assert_allclose(moved, redundancy.koleo(jnp.asarray(Z1)), rtol=1e-6)

    def test_koleo_prefers_spread_points(self):
        spread = np.concatenate([np.eye(3), -np.eye(3)])
        close = np.ones((6, 3)) + 0.01 * RNG.normal(size=(6, 3))
        np.testing.assert_allclose(
            redundancy.koleo(jnp.asarray(spread)), -np.log(2**0.5), rtol=1e-6
        )
        assert redundancy.koleo(jnp.asarray(close)) > 2


@pytest.mark.parametrize("name", [*PAIRS, "koleo"])
def test_equal_points_have_a_finite_gradient(name):
    loss = PAIRS.get(name, lambda a, b: redundancy.koleo(a))
    options = {"epsilon": 0.1} if name == "wmse" else {}
    gradient = jax.grad(lambda z: loss(z, z, **options))(jnp.ones((8, 3)))
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("name", [*PAIRS, "koleo"])
def test_bfloat16_gives_a_float32_loss(name):
    loss = PAIRS.get(name, lambda a, b: redundancy.koleo(a))
    value = loss(jnp.asarray(Z1, jnp.bfloat16), jnp.asarray(Z2, jnp.bfloat16))
    assert value.dtype == jnp.float32
    assert np.isfinite(value)


@pytest.mark.parametrize("name", [*PAIRS, "koleo"])
@pytest.mark.usefixtures("x64")
def test_axis_name_gives_the_loss_of_the_whole_batch(name):
    loss = PAIRS.get(name, lambda a, b, axis_name=None: redundancy.koleo(a, axis_name=axis_name))
    agree_when_split(loss, Z1, Z2, rtol=1e-10)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda z: redundancy.barlow_twins(z, z, -1.0), r"weight must be at least 0, got -1.0"),
        (
            lambda z: redundancy.vicreg(z, z, variance=-2.0),
            r"variance must be at least 0, got -2.0",
        ),
        (lambda z: redundancy.vicreg(z[:1], z[:1]), r"vicreg needs at least 2 examples, got 1"),
        (lambda z: redundancy.koleo(z[:1]), r"koleo needs at least 2 examples, got 1"),
        (lambda z: redundancy.whiten(z, 1.5), r"epsilon must be in \[0, 1\], got 1.5"),
        (
            lambda z: redundancy.wmse(z, z, jnp.zeros((1, 6), int), 3),
            r"sub_batch must be more than the 3 dimensions, got 3",
        ),
        (
            lambda z: redundancy.wmse(z, z, jnp.zeros((1, 6), int), 4),
            r"sub_batch must divide the batch of 6, got 4",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call(jnp.ones((6, 3)))
