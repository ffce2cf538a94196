"""Classic pretext tasks: what is asked is what was done, and short-cuts do not answer it."""

from typing import Any

import cases
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from references import classic as reference
from references.agreement import agree

from jssl import methods
from jssl.augment import image, patches
from jssl.method import Features
from jssl.nn import encoders
from jssl.train import step as train_step


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


class Linear(nn.Module):
    """Features linear in the pixels, for references that are easy to write down."""

    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x, train=False):
        dense = nn.Dense(3, use_bias=False, dtype=self.dtype, param_dtype=self.param_dtype)
        return Features(dense(x.reshape(len(x), -1)), None)


class Perceptron(nn.Module):
    """Two layers: quick to compile, and enough to find every short-cut below."""

    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x, train=False):
        x = x.reshape(len(x), -1)
        for width in (128, 32):
            x = nn.relu(nn.Dense(width, dtype=self.dtype, param_dtype=self.param_dtype)(x))
        return Features(x, None)


CLASSIC = {
    "patch_location": {"patch": 4, "gap": 2, "jitter": 1, "hidden": 5},
    "jigsaw": {"tile": 3, "permutations": 7, "channel_shift": 1, "hidden": 5},
}


def plain(name, encoder, **options):
    """A method whose view is the image itself."""
    return methods.METHODS[name](
        encoder,
        view=lambda key, batch: batch["image"],
        prepare=lambda batch: batch["image"],
        **(CLASSIC[name] | options),
    )


@pytest.mark.parametrize("name", CLASSIC)
@pytest.mark.usefixtures("x64")
def test_loss_is_the_released_code_s(name):
    method = plain(name, Linear(param_dtype=jnp.float64))
    batch = {"image": jax.random.normal(jax.random.key(0), (6, 12, 12, 3), jnp.float64)}
    params, state = method.init(jax.random.key(1), batch)
    seen = jax.jit(method.views)(jax.random.key(2), batch)
    x, label = np.asarray(seen["patches"]), np.asarray(seen["label"])
    classifier = jax.tree.map(np.asarray, params["projector"])
    last = f"dense{sum(layer.startswith('dense') for layer in classifier)}"
    classifier[last]["bias"] = np.linspace(-1, 1, len(classifier[last]["bias"]))
    width = params["encoder"]["Dense_0"]["kernel"].shape

    def ours(kernel):
        given = {"encoder": {"Dense_0": {"kernel": kernel}}, "projector": classifier}
        return method.loss(given, state, seen, jax.random.key(3), 0)[0]

    def theirs(kernel):
        z = x.reshape(*x.shape[:2], -1) @ kernel
        if name == "jigsaw":
            return reference.jigsaw(z, label, classifier)
        return reference.patch_location(z[:, 0], z[:, 1], label, classifier)

    agree(jax.jit(ours), theirs, np.random.default_rng(0).normal(size=width) / 4)


def coordinates(n, side):
    """Images of which each pixel says where it is: side * row + column."""
    plane = jnp.arange(side**2, dtype=jnp.float32).reshape(1, side, side, 1)
    return {"image": jnp.broadcast_to(plane, (n, side, side, 1))}


def test_patch_location_asks_where_the_second_patch_lies():
    method = plain("patch_location", Linear(), jitter=0, colors=None, standardize=False, pairs=3)
    seen = jax.jit(method.views)(jax.random.key(0), coordinates(50, 16))
    x, label = np.asarray(seen["patches"]).astype(int), np.asarray(seen["label"])
    assert x.shape == (150, 2, 4, 4, 1)
    rows, columns = np.divmod(x[:, :, 0, 0, 0], 16)
    found = np.stack([rows[:, 1] - rows[:, 0], columns[:, 1] - columns[:, 0]], axis=1)
    np.testing.assert_array_equal(found, 6 * np.asarray(patches.NEIGHBOURS)[label])
    # Pairs of one image are drawn apart from each other.
    assert len(np.unique(label.reshape(50, 3), axis=0)) > 20


def test_jigsaw_shows_the_tiles_in_the_order_of_the_label():
    options = {"channel_shift": 0, "standardize": False, "puzzles": 3, "permutations": 20}
    method = plain("jigsaw", Linear(), tile=5, **options)
    seen = jax.jit(method.views)(jax.random.key(0), coordinates(50, 15))
    x, label = np.asarray(seen["patches"]).astype(int), np.asarray(seen["label"])
    assert x.shape == (150, 9, 5, 5, 1)
    # As large as their cells, tiles have one place each.
    rows, columns = np.divmod(x[:, :, 0, 0, 0], 15)
    shown = rows // 5 * 3 + columns // 5
    np.testing.assert_array_equal(shown, patches.far_permutations(20)[label])
    assert len(np.unique(label)) == 20


@pytest.mark.parametrize("name", CLASSIC)
def test_patches_of_a_constant_image_are_chance(name):
    """All of them are one patch, whatever is asked: with each label once, one of k is right."""
    k = {"patch_location": 8, "jigsaw": 7}[name]
    method = plain(name, cases.resnet())
    color = jax.random.uniform(jax.random.key(0), (k, 1, 1, 3))
    batch = {"image": jnp.broadcast_to(color, (k, 14, 14, 3))}
    train = cases.first(method, optax.sgd(0.1), batch)
    seen = jax.jit(method.views)(jax.random.key(1), batch)
    np.testing.assert_allclose(seen["patches"], 0, atol=1e-3)

    @jax.jit
    def loss(x):
        asked = {"patches": x, "label": jnp.arange(k, dtype=jnp.int32)}
        return method.loss(train.params, train.state, asked, jax.random.key(2), 0)

    value, out = loss(jnp.zeros_like(seen["patches"]))
    np.testing.assert_allclose(out.metrics["proxy_accuracy"], 1 / k, rtol=1e-6)
    np.testing.assert_allclose(out.metrics["chance"], 1 / k, rtol=1e-6)
    assert value >= np.log(k) - 1e-5


def ramps(key, n, side=18):
    """Colours that depend on the place alone, and a little noise, without which rounding tells."""
    ramp = jnp.broadcast_to(jnp.linspace(0, 1, side)[:, None], (side, side))
    colors = jnp.stack([ramp, jnp.zeros_like(ramp), ramp.T], axis=-1)
    return colors[None] + 0.02 * jax.random.normal(key, (n, side, side, 3))


def aberration(key, n, side=18, inset=2):
    """Grey noise of which the green channel is magnified around the middle of the image."""
    noise = image.blur(jax.random.uniform(key, (n, side, side, 1)), jnp.full(n, 0.8), 5)
    inner = jnp.asarray([[inset, inset, side - 2 * inset, side - 2 * inset]], jnp.int32)
    green = image.crop_resize(noise, jnp.tile(inner, (n, 1)), side)
    return jnp.concatenate([noise, green, noise], axis=-1)


@pytest.mark.parametrize(
    ("images", "options", "steps"),
    [(ramps, "standardize", 24), (aberration, "colors", 80)],
)
def test_colours_do_not_tell_where_a_patch_lies(images, options, steps):
    """Solved without the paper's remedy, and at chance with it."""

    def accuracy(**options):
        options = {"patch": 5, "gap": 3, "hidden": 64, "colors": None} | options
        method = plain("patch_location", Perceptron(), **options)
        tx = optax.adam(5e-3)
        step = train_step.make_step(method, tx)

        @jax.jit
        def train(key):
            first = train_step.init(method, tx, 0, {"image": images(key, 128)})
            keys = jax.random.split(key, steps)
            return jax.lax.scan(lambda s, k: step(s, {"image": images(k, 128)}), first, keys)[1]

        with jax.numpy_dtype_promotion("standard"):  # optax's bias correction
            return np.mean(train(jax.random.key(0))["proxy_accuracy"][-steps // 3 :])

    without = {"standardize": {"standardize": False}, "colors": {"colors": None}}[options]
    with_it = {"standardize": {}, "colors": {"colors": "drop"}}[options]
    solved, chance = accuracy(**without), accuracy(**with_it)
    assert solved > 0.5
    assert abs(chance - 1 / 8) < 0.02


@pytest.mark.parametrize("name", CLASSIC)
def test_embed_looks_at_images_as_training_does_at_patches(name):
    """Standardised: neither a cast nor brightness changes the features; a ViT takes any grid."""
    vit = encoders.build("vit", dim=24, depth=1, heads=2, patch=4, pool="mean")
    size = {"patch_location": "patch", "jigsaw": "tile"}[name]
    method = plain(name, vit, **{size: 4})
    batch = {"image": jax.random.uniform(jax.random.key(0), (3, 16, 16, 3))}
    params, state = jax.jit(method.init)(jax.random.key(1), batch)
    embed = jax.jit(lambda x: method.embed(params, state, {"image": x}))
    got = embed(batch["image"])
    assert got.tokens.shape == (3, 16, 24)
    cast = 2 * batch["image"] + jnp.asarray([0.1, 0.5, -0.3])[None, None, None]
    np.testing.assert_allclose(embed(cast).pooled, got.pooled, rtol=1e-3, atol=1e-3)


def test_an_encoder_that_cannot_do_patches_is_refused():
    with pytest.raises(ValueError, match="image of 10x10 cannot be cut into patches of 4"):
        cases.first(
            plain("patch_location", cases.vit(), patch=10),
            optax.sgd(0.1),
            {"image": jnp.zeros((2, 32, 32, 3))},
        )


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("patch_location", {"colors": "grey"}, 'colors must be "drop", "project" or None, got'),
        ("patch_location", {"gap": -1}, "gap must be at least 0, got -1"),
        ("patch_location", {"pairs": 0}, "pairs must be at least 1, got 0"),
        ("jigsaw", {"tile": 0}, "tile must be at least 1, got 0"),
        ("jigsaw", {"permutations": 10**6}, "count must be from 1 to 362880 for 9 tiles"),
        ("jigsaw", {"channel_shift": -1}, "channel_shift must be at least 0, got -1"),
    ],
)
def test_bad_options(name, options, message):
    with pytest.raises(ValueError, match=message):
        plain(name, Linear(), **options)
