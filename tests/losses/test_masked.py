"""The losses of SimMIM, data2vec and I-JEPA against the authors' code."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from references import masked as reference
from references.agreement import agree, agree_when_split

from jssl.losses import reconstruction, spread

RNG = np.random.default_rng(0)
PRED, TARGET = RNG.normal(size=(2, 3, 4, 12)) * 2
MASK = RNG.random((3, 4)) < 0.6


@pytest.mark.usefixtures("x64")
class TestReferences:
    def test_masked_l1_is_simmim(self):
        """On pixels as the tokens of an image of 4 x 3 with 12 channels."""
        x, mask = TARGET.reshape(3, 2, 2, 12), MASK.reshape(3, 2, 2)
        agree(
            lambda pred: reconstruction.masked_l1(pred, jnp.asarray(TARGET), jnp.asarray(MASK)),
            lambda pred: reference.simmim(x, pred.reshape(x.shape), mask),
            PRED,
        )

    @pytest.mark.parametrize("beta", [0.12, 1.0, 2.0])
    def test_masked_smooth_l1_is_torchs(self, beta):
        agree(
            lambda pred: reconstruction.masked_smooth_l1(
                pred, jnp.asarray(TARGET), jnp.asarray(MASK), beta
            ),
            lambda pred: reference.smooth_l1(pred[MASK], TARGET[MASK], beta),
            PRED,
        )

    def test_layer_norm_is_torchs(self):
        agree(
            lambda x: (reconstruction.layer_norm(x) * jnp.asarray(TARGET)).sum(),
            lambda x: (reference.layer_norm(x) * TARGET).sum(),
            PRED,
        )

    def test_no_gradient_flows_into_a_teachers_features(self):
        gradient = jax.grad(
            lambda y: reconstruction.masked_smooth_l1(jnp.asarray(PRED), y, jnp.asarray(MASK))
        )(jnp.asarray(TARGET))
        np.testing.assert_array_equal(gradient, 0)

    @pytest.mark.parametrize("loss", [reconstruction.masked_l1, reconstruction.masked_smooth_l1])
    def test_axis_name_gives_the_loss_of_the_whole_batch(self, loss):
        def split(a, b, axis_name=None):
            return loss(a[:, None], b[:, None], a[:, :1] > 0, axis_name=axis_name)

        agree_when_split(split, *RNG.normal(size=(2, 8, 5)))


@pytest.mark.parametrize("loss", [reconstruction.masked_l1, reconstruction.masked_smooth_l1])
def test_what_was_visible_does_not_count_and_bfloat16_is_summed_in_float32(loss):
    pred, target = jnp.asarray(PRED, jnp.bfloat16), jnp.asarray(TARGET, jnp.bfloat16)
    mask = jnp.asarray(MASK)
    value = loss(pred, target, mask)
    assert value.dtype == jnp.float32
    other = jnp.where(mask[:, :, None], target, target + 3)
    np.testing.assert_array_equal(loss(pred, other, mask), value)


def test_token_spread_sees_tokens_that_tell_their_place_alone():
    def measure(h):
        return float(spread.token_spread(jnp.asarray(h, jnp.float32))["projection_spread"])

    by_image = RNG.normal(size=(64, 6, 16))
    by_place = np.broadcast_to(RNG.normal(size=(1, 6, 16)), by_image.shape)
    assert measure(by_image) == pytest.approx(1, abs=0.05)
    assert measure(by_place) < 1e-3
    assert measure(np.ones_like(by_image)) < 1e-3
    assert 0.1 < measure(by_place + 0.3 * by_image) < 0.4
