import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.evals import saliency

RNG = np.random.default_rng(0)
IMAGES = RNG.random((2, 5, 6, 3))
WEIGHTS = RNG.normal(size=(5 * 6 * 3, 4))


def encode(x):
    return jnp.square(x).reshape(len(x), -1) @ jnp.asarray(WEIGHTS)


def test_occlusion_is_the_mean_distance_over_the_patches_that_cover_a_pixel(x64):
    fill = np.array([0.2, 0.5, 0.9])
    total, times = np.zeros((2, 5, 6)), np.zeros((5, 6))
    whole = np.asarray(encode(IMAGES))
    for top in (0, 2):
        for left in (0, 2, 3):  # the last is flush with the edge
            covered = IMAGES.copy()
            covered[:, top : top + 3, left : left + 3] = fill
            z = np.asarray(encode(covered))
            norms = np.linalg.norm(z, axis=1) * np.linalg.norm(whole, axis=1)
            gap = 1 - (z * whole).sum(axis=1) / norms
            total[:, top : top + 3, left : left + 3] += gap[:, None, None]
            times[top : top + 3, left : left + 3] += 1
    found = saliency.occlusion(
        encode, jnp.asarray(IMAGES), size=3, stride=2, fill=jnp.asarray(fill)
    )
    np.testing.assert_allclose(found, total / times, rtol=1e-9, atol=1e-12)
    assert total.max() > 1e-3


def test_the_gradient_is_that_of_noisy_images_and_of_the_squared_norm_without(x64):
    images, key = jnp.asarray(IMAGES), jax.random.key(3)
    toward = RNG.normal(size=(2, 4))
    keys = jax.random.split(key, 7)
    shifts = [0.3 * np.asarray(jax.random.normal(k, IMAGES.shape, jnp.float64)) for k in keys]
    pull = (toward @ WEIGHTS.T).reshape(IMAGES.shape)
    each = [2 * (IMAGES + shift) * pull for shift in shifts]
    options = {"samples": 7, "noise": 0.3}
    found = saliency.smooth_gradient(encode, images, jnp.asarray(toward), key, **options)
    np.testing.assert_allclose(found, np.abs(np.mean(each, axis=0)).max(axis=-1), rtol=1e-9)

    own = saliency.smooth_gradient(encode, images, encode(images), key, samples=1, noise=0.0)
    half_square = jax.grad(lambda x: 0.5 * jnp.sum(jnp.square(encode(x))))(images)
    np.testing.assert_allclose(own, np.abs(half_square).max(axis=-1), rtol=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"size": 6, "stride": 1}, "at most 5"), ({"size": 2, "stride": 0}, "stride must be")],
)
def test_patches_that_cannot_slide_are_refused(options, message):
    x = jnp.asarray(IMAGES, jnp.float32)
    with pytest.raises(ValueError, match=message):
        saliency.occlusion(encode, x, fill=jnp.zeros(3), **options)
    with pytest.raises(ValueError, match="noise must be >= 0"):
        saliency.smooth_gradient(encode, x, jnp.ones((2, 4)), jax.random.key(0), noise=-1.0)
