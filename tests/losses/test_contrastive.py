"""The contrastive family against transcribed code, and what the papers say they do not see."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from references import contrastive as reference
from references.agreement import agree, agree_when_split

from jssl.losses import contrastive

RNG = np.random.default_rng(0)
Z1, Z2 = RNG.normal(size=(6, 5)), RNG.normal(size=(6, 5)) * 3
ORDER = RNG.permutation(6)
ROTATION = np.linalg.qr(RNG.normal(size=(5, 5)))[0]
dclw = functools.partial(contrastive.decoupled, sigma=0.5)
QUEUE = RNG.normal(size=(7, 5))
QUEUE /= np.linalg.norm(QUEUE, axis=1, keepdims=True)


def moco(q, k, temperature=0.2, **options):
    return contrastive.infonce(q, k, jnp.asarray(QUEUE, q.dtype), temperature, **options)


def clip(a, b, temperature=0.2, **options):
    return contrastive.clip(a, b, 1 / temperature, **options)


def siglip(a, b, temperature=0.2, **options):
    return contrastive.siglip(a, b, 1 / temperature, -2.0, **options)


LOSSES = {
    "dcl": contrastive.decoupled,
    "dclw": dclw,
    "moco": moco,
    "moco_v3": functools.partial(contrastive.infonce, queue=None),
    "nnclr": contrastive.nnclr,
    "clip": clip,
    "siglip": siglip,
}
ACCURACIES = {
    "dcl": contrastive.decoupled_accuracy,
    "nnclr": contrastive.nnclr_accuracy,
    "clip": functools.partial(contrastive.clip_accuracy, scale=5.0),
    "siglip": functools.partial(contrastive.siglip_accuracy, scale=5.0, bias=-2.0),
}
every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


@pytest.mark.usefixtures("x64")
class TestReferences:
    @pytest.mark.parametrize("temperature", [0.1, 0.5])
    @pytest.mark.parametrize("sigma", [None, 0.5, 2.0])
    def test_decoupled(self, temperature, sigma):
        agree(
            lambda a, b: contrastive.decoupled(a, b, temperature, sigma),
            lambda a, b: reference.dcl(a, b, temperature, sigma) / 2,  # mean over 2n, not sum
            Z1,
            Z2,
        )

    @pytest.mark.parametrize("temperature", [0.07, 0.2])
    def test_infonce(self, temperature):
        """MoCo with a queue and MoCo v3 without; keys are constants."""
        k, queue = jnp.asarray(Z2), jnp.asarray(QUEUE)
        agree(
            lambda q: contrastive.infonce(q, k, queue, temperature),
            lambda q: reference.moco(q, Z2, QUEUE, temperature),
            Z1,
        )
        agree(
            lambda q: 2 * temperature * contrastive.infonce(q, k, None, temperature),
            lambda q: reference.moco_v3(q, Z2, temperature),
            Z1,
        )

    def test_nnclr(self):
        """The neighbours are constants, the predictions of all examples are not."""
        agree(
            lambda p: contrastive.nnclr(jnp.asarray(Z1), p, 0.2),
            lambda p: reference.nnclr(Z1, p, 0.2),
            Z2,
        )
        gradient = jax.grad(contrastive.nnclr)(jnp.asarray(Z1), jnp.asarray(Z2))
        np.testing.assert_array_equal(gradient, 0)

    @pytest.mark.parametrize("scale", [1.0, 20.0])
    def test_clip_and_siglip(self, scale):
        """Scale and bias learn too."""
        agree(contrastive.clip, reference.clip, Z1, Z2, np.asarray(scale))
        biased = (Z1, Z2, np.asarray(scale), np.asarray(-3.0))
        agree(contrastive.siglip, reference.siglip, *biased)


@every_loss
@pytest.mark.usefixtures("x64")
class TestInvariances:
    def test_order_and_scale(self, loss):
        value = loss(jnp.asarray(Z1), jnp.asarray(Z2))
        for a, b in ((Z1[ORDER], Z2[ORDER]), (Z1 * 7, Z2 * 0.1)):
            np.testing.assert_allclose(loss(jnp.asarray(a), jnp.asarray(b)), value, rtol=1e-12)

    def test_rotation(self, loss):
        value = loss(jnp.asarray(Z1), jnp.asarray(Z2))
        turned = loss(jnp.asarray(Z1 @ ROTATION), jnp.asarray(Z2 @ ROTATION))
        if loss is moco:  # whose queue would have to turn too
            queue = jnp.asarray(QUEUE @ ROTATION)
            turned = contrastive.infonce(
                jnp.asarray(Z1 @ ROTATION), jnp.asarray(Z2 @ ROTATION), queue
            )
        np.testing.assert_allclose(turned, value, rtol=1e-12)

    def test_the_pairing_matters(self, loss):
        a = loss(jnp.asarray(Z1), jnp.asarray(Z1 + 0.1 * Z2))
        assert a < loss(jnp.asarray(Z1), jnp.asarray((Z1 + 0.1 * Z2)[::-1])) - 0.5

    def test_axis_name_gives_the_loss_of_the_whole_batch(self, loss):
        agree_when_split(loss, *np.random.default_rng(1).normal(size=(2, 8, 5)))


@every_loss
def test_bfloat16_gives_a_float32_loss(loss):
    assert loss(jnp.asarray(Z1, jnp.bfloat16), jnp.asarray(Z2, jnp.bfloat16)).dtype == jnp.float32


@every_loss
@pytest.mark.parametrize("x", [np.zeros((2, 5)), np.full((2, 5), 1e-30)])
def test_zero_vectors_have_a_finite_gradient(loss, x):
    gradient = jax.grad(lambda z: loss(z, jnp.ones((2, 5))))(jnp.asarray(x))
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("loss", [LOSSES[name] for name in ("dcl", "moco", "moco_v3", "nnclr")])
def test_bad_temperature(loss):
    with pytest.raises(ValueError, match=r"temperature must be > 0, got -0.1"):
        loss(jnp.ones((2, 5)), jnp.ones((2, 5)), temperature=-0.1)


@pytest.mark.parametrize("accuracy", ACCURACIES.values(), ids=ACCURACIES)
def test_accuracy_is_the_share_of_positives_that_score_highest(accuracy):
    """Rows 0 and 1 find their partners, row 2 and 3 have theirs exchanged."""
    z = np.eye(4)
    for partners, expected in (([0, 1, 2, 3], 1), ([0, 1, 3, 2], 0.5), ([1, 0, 3, 2], 0)):
        got = accuracy(jnp.asarray(z), jnp.asarray(z[partners]))[1]
        np.testing.assert_allclose(got, expected)


@pytest.mark.usefixtures("x64")
class TestDecoupled:
    def test_it_does_not_know_which_view_is_first(self):
        a, b = jnp.asarray(Z1), jnp.asarray(Z2)
        for sigma in (None, 0.5):
            loss = functools.partial(contrastive.decoupled, sigma=sigma)
            np.testing.assert_allclose(loss(a, b), loss(b, a), rtol=1e-12)

    def test_weights_become_one_as_sigma_grows(self):
        a, b = jnp.asarray(Z1), jnp.asarray(Z2)
        plain = contrastive.decoupled(a, b)
        np.testing.assert_allclose(contrastive.decoupled(a, b, sigma=1e9), plain, rtol=1e-7)
        assert abs(dclw(a, b) - plain) > 1e-2

    def test_pulling_a_pair_together_does_not_fade(self):
        """The paper's point: the pull is 1 / temperature however well a pair agrees already."""
        easy = jnp.asarray([[1.0, 0, 0], [-1, 0, 0]])
        rotated = jnp.asarray([[0.0, 1, 0], [0, -1, 0]])

        def along(loss):
            return jax.grad(lambda t: loss(easy, jnp.cos(t) * easy + jnp.sin(t) * rotated, 0.1))(
                0.2
            )

        # Negatives push too, by the same angle here; the positive alone would give sin(0.2) / 0.1.
        assert along(contrastive.decoupled) > np.sin(0.2) / 0.1 > 1e6 * along(contrastive.ntxent)

    def test_bad_input(self):
        with pytest.raises(ValueError, match="sigma must be > 0, got 0"):
            contrastive.decoupled(jnp.ones((2, 3)), jnp.ones((2, 3)), 0.1, 0.0)
        with pytest.raises(ValueError, match="at least 2 examples, got 1"):
            contrastive.decoupled(jnp.ones((1, 3)), jnp.ones((1, 3)))


@pytest.mark.usefixtures("x64")
class TestInfonce:
    @pytest.mark.parametrize("queue", [None, QUEUE], ids=["batch", "queue"])
    def test_keys_have_no_gradient(self, queue):
        def loss(q, k, queue):
            return contrastive.infonce(q, k, queue)

        queue = None if queue is None else jnp.asarray(queue)
        inputs = (1,) if queue is None else (1, 2)
        for gradient in jax.grad(loss, inputs)(jnp.asarray(Z1), jnp.asarray(Z2), queue):
            np.testing.assert_array_equal(gradient, 0)

    def test_equal_vectors_are_chance(self):
        ones = jnp.ones((6, 4))
        np.testing.assert_allclose(contrastive.infonce(ones, ones), np.log(6), rtol=1e-12)
        queue = jnp.full((7, 4), 0.5)
        np.testing.assert_allclose(contrastive.infonce(ones, ones, queue), np.log(8), rtol=1e-12)

    def test_the_order_of_the_queue_does_not_matter(self):
        a, b = jnp.asarray(Z1), jnp.asarray(Z2)
        np.testing.assert_allclose(
            contrastive.infonce(a, b, jnp.asarray(QUEUE[::-1])), moco(a, b), rtol=1e-12
        )

    def test_accuracy_against_a_queue(self):
        z = jnp.eye(4)
        accuracy = contrastive.infonce_accuracy(z, z + 0.1, z[:1])[1]
        np.testing.assert_allclose(accuracy, 0.75)  # the first query itself stands in the queue
