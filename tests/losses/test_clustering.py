"""Codes and swapped prediction against the authors' code."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from references import clustering as reference
from references.agreement import agree, agree_when_split

from jssl.losses import clustering

RNG = np.random.default_rng(0)
HIGH, LOW = RNG.uniform(-1, 1, (2, 6, 5)), RNG.uniform(-1, 1, (3, 6, 5))


@pytest.mark.usefixtures("x64")
class TestSinkhorn:
    @pytest.mark.parametrize("epsilon", [0.03, 0.05, 1.0])
    @pytest.mark.parametrize("iterations", [1, 3, 10])
    def test_is_the_plain_version(self, epsilon, iterations):
        codes = clustering.sinkhorn(jnp.asarray(HIGH[0]), epsilon, iterations)
        expected = reference.distributed_sinkhorn(HIGH[0], epsilon, iterations)
        np.testing.assert_allclose(codes, expected, rtol=1e-10, atol=1e-300)

    def test_examples_have_mass_one_and_prototypes_equal_mass(self):
        codes = clustering.sinkhorn(jnp.asarray(HIGH[0]), 0.5, 100)
        np.testing.assert_allclose(codes.sum(1), 1, rtol=1e-12)
        np.testing.assert_allclose(codes.sum(0), 6 / 5, rtol=1e-9)

    def test_neither_a_prototype_nor_an_example_liked_by_all_changes_anything(self):
        codes = clustering.sinkhorn(jnp.asarray(HIGH[0]))
        offset = RNG.normal(size=(1, 5))
        np.testing.assert_allclose(
            clustering.sinkhorn(jnp.asarray(HIGH[0] + offset)), codes, rtol=1e-9
        )
        np.testing.assert_allclose(clustering.sinkhorn(jnp.asarray(HIGH[0] + 7)), codes, rtol=1e-9)

    def test_scores_that_overflow_the_plain_version_have_codes(self):
        codes = clustering.sinkhorn(jnp.asarray(HIGH[0] * 100, jnp.float32), 0.05)
        assert np.isfinite(codes).all()
        np.testing.assert_allclose(codes.sum(1), 1, rtol=1e-6)

    def test_has_no_gradient(self):
        gradient = jax.grad(lambda s: clustering.sinkhorn(s)[0, 0])(jnp.asarray(HIGH[0]))
        np.testing.assert_array_equal(gradient, 0)


@pytest.mark.usefixtures("x64")
class TestReferences:
    @pytest.mark.parametrize("small", [False, True])
    def test_swav(self, small):
        codes = np.stack([reference.distributed_sinkhorn(s, 0.05, 3) for s in HIGH])
        if small:
            agree(
                lambda high, low: clustering.swav(high, low, 0.1, 0.05, 3),
                lambda high, low: reference.swav(np.concatenate([high, low]), codes, 0.1),
                HIGH,
                LOW,
            )
        else:
            agree(
                lambda high: clustering.swav(high),
                lambda high: reference.swav(high, codes, 0.1),
                HIGH,
            )


@pytest.mark.usefixtures("x64")
class TestInvariances:
    def test_swav_knows_neither_the_order_of_examples_nor_of_prototypes(self):
        value = clustering.swav(jnp.asarray(HIGH), jnp.asarray(LOW))
        rows, columns = RNG.permutation(6), RNG.permutation(5)
        for high, low in (
            (HIGH[:, rows], LOW[:, rows]),
            (HIGH[:, :, columns], LOW[:, :, columns]),
            (HIGH[::-1], LOW[::-1]),
        ):
            np.testing.assert_allclose(
                clustering.swav(jnp.asarray(high), jnp.asarray(low)), value, rtol=1e-12
            )

    def test_swav_of_equal_scores_is_chance(self):
        np.testing.assert_allclose(clustering.swav(jnp.ones((2, 6, 5))), np.log(5), rtol=1e-12)

    def test_no_crop_predicts_its_own_code(self):
        codes = jax.nn.one_hot(jnp.asarray([[0, 1], [2, 3]]), 5, dtype=jnp.float64)
        swapped = clustering.swapped_accuracy(codes, codes[::-1])[1]
        own = clustering.swapped_accuracy(codes, codes)[1]
        np.testing.assert_allclose([swapped, own], [1, 0])


@pytest.mark.usefixtures("x64")
def test_axis_name_gives_the_loss_of_the_whole_batch():
    agree_when_split(
        lambda x, axis_name=None: clustering.swav(
            x[:, :10].reshape(-1, 2, 5).swapaxes(0, 1), x[None, :, 10:], axis_name=axis_name
        ),
        RNG.normal(size=(8, 15)),
    )


def test_bfloat16_gives_a_float32_loss():
    scores = jnp.asarray(HIGH, jnp.bfloat16)
    assert clustering.swav(scores).dtype == jnp.float32


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"temperature": 0.0}, "temperature must be > 0, got 0.0"),
        ({"epsilon": -1.0}, "epsilon must be > 0, got -1.0"),
        ({"iterations": 0}, "iterations must be at least 1, got 0"),
    ],
)
def test_bad_options(options, words):
    with pytest.raises(ValueError, match=words):
        clustering.swav(jnp.ones((2, 3, 4)), **options)


def test_one_crop_predicts_nothing():
    with pytest.raises(ValueError, match="at least 2 crops, got 1"):
        clustering.swav(jnp.ones((1, 3, 4)))
