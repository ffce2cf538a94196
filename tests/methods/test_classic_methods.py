"""Classic pretext tasks: what is asked is what was done, and short-cuts do not answer it."""

import cases
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jssl.augment import image


def test_rotation_asks_for_all_four_turns_of_each_image():
    method, batch = cases.make("rotation", cases.resnet), cases.batch(3)
    seen = np.asarray(jax.jit(method.views)(jax.random.key(0), batch))
    assert seen.shape == (3, 4, cases.SIZE, cases.SIZE, 3)
    for turns in range(4):
        np.testing.assert_array_equal(seen[:, turns], np.rot90(seen[:, 0], turns, axes=(1, 2)))


def test_rotation_of_a_constant_image_is_chance():
    """All turns of it are one image, so one of the four is told right, whatever the classifier."""
    method, batch = cases.make("rotation", cases.resnet), cases.batch()
    batch |= {"image": jnp.broadcast_to(batch["image"][:, :1, :1], batch["image"].shape)}
    train = cases.first(method, optax.sgd(0.1), batch)

    @jax.jit
    def loss(batch):
        views = method.views(jax.random.key(0), batch)
        return method.loss(train.params, train.state, views, jax.random.key(1), 0)

    value, out = loss(batch)
    np.testing.assert_allclose(out.metrics["proxy_accuracy"], 1 / 4)
    assert value >= np.log(4) - 1e-5


def test_rotation_wants_square_images():
    with pytest.raises(ValueError, match="images must be square to be rotated, got 4x6"):
        image.rotations(jnp.zeros((2, 4, 6, 3)))
