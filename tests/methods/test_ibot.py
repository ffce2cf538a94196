"""iBOT: what student and teacher see, both losses and centres against the released code."""

import cases
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from references import distillation as reference

from jssl.nn import DINOHead
from jssl.train import step as train_step

OPTIONS = cases.CASES["ibot"][1]
KEY = jax.random.key(0)


def ibot(options=(), encoder=cases.vit_cls, **more):
    return cases.make("ibot", encoder, options=OPTIONS | dict(options), **more)


def started(method, batch):
    """Parameters, state and views, the student and the centres away from where they began."""
    params, state = jax.jit(method.init)(KEY, batch)
    params = jax.tree.map(lambda x: x + 0.05 * jnp.sin(jnp.arange(x.size)).reshape(x.shape), params)
    center = jnp.linspace(-0.1, 0.1, OPTIONS["k"])
    state = state | {"center": center, "patch_center": center[::-1]}
    return params, state, jax.jit(method.views)(KEY, batch)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.usefixtures("x64")
def test_losses_and_centers_are_those_of_the_released_code(shared):
    """Every patch through the head here, none left out; in float64."""
    options = {"shared_head": shared, "teacher_temperature": 0.05, "warmup_teacher_epochs": 0}
    method = ibot(options, dtype=jnp.float64)
    params, state, views = started(method, cases.batch(8))
    value, out = jax.jit(method.loss)(params, state, views, KEY, 0)
    encoder = cases.vit_cls(dtype=jnp.float64, param_dtype=jnp.float64)
    widths = (OPTIONS[name] for name in ("k", "hidden", "bottleneck"))
    head = DINOHead(*widths, patch_layer=not shared, param_dtype=jnp.float64)

    @jax.jit
    def outputs(params, crops, masks):
        whole, patches = [], []
        for views, mask in zip(crops, masks, strict=True):
            for v in range(views.shape[1]):
                masked = {} if mask is None else {"mask": mask[:, v]}
                features = encoder.apply({"params": params["encoder"]}, views[:, v], **masked)
                tell = {"params": params["projector"]}
                whole.append(head.apply(tell, features.pooled)[1])
                flat = features.tokens.reshape(-1, features.tokens.shape[-1])
                told = head.apply(tell, flat, patches=True)[1]
                patches.append(told.reshape(*features.tokens.shape[:2], -1))
        return jnp.stack(whole), jnp.stack(patches[:2])

    crops, mask = views["crops"], views["mask"]
    said = map(np.asarray, outputs(params, crops, [mask, None]))
    asked = [np.asarray(x) for x in outputs(state["teacher"], crops[:1], [None])]
    centers = np.asarray(state["center"]), np.asarray(state["patch_center"])
    hidden = np.asarray(mask).swapaxes(0, 1)
    assert 0 < hidden.any(-1).mean() < 1
    expected = reference.ibot(*said, *asked, hidden, centers, (0.05, 0.07))
    np.testing.assert_allclose(out.metrics["class_loss"], expected[0], rtol=1e-9)
    np.testing.assert_allclose(out.metrics["patch_loss"], expected[1], rtol=1e-9)
    np.testing.assert_allclose(value, sum(expected), rtol=1e-9)
    center = reference.dino_center(centers[0], asked[0], 0.9)
    np.testing.assert_allclose(out.state["center"], center, rtol=1e-9, atol=1e-12)
    center = reference.ibot_patch_center(centers[1], asked[1], 0.9)
    np.testing.assert_allclose(out.state["patch_center"], center, rtol=1e-9, atol=1e-12)


def test_the_student_does_not_see_what_is_hidden():
    """The loss has no slope by hidden pixels, which the teacher alone sees; by others it has."""
    method = ibot()
    params, state, views = started(method, cases.batch(8))

    def value(image):
        crops = [image, views["crops"][1]]
        return method.loss(params, state, {"crops": crops, "mask": views["mask"]}, KEY, 0)[0]

    slope = np.abs(jax.jit(jax.grad(value))(views["crops"][0]))
    slope = slope.reshape(8, 2, 4, 4, 4, 4, 3).max((3, 5, 6)).reshape(8, 2, 16)
    np.testing.assert_array_equal(slope == 0, views["mask"])


def test_unmasked_views_have_no_patch_loss():
    method = ibot({"mask_probability": 0.0})
    params, state, views = started(method, cases.batch(8))
    assert not np.asarray(views["mask"]).any()
    value, out = jax.jit(method.loss)(params, state, views, KEY, 0)
    assert out.metrics["patch_loss"] == 0
    np.testing.assert_allclose(value, out.metrics["class_loss"])


def test_a_head_of_its_own_for_patches_or_not():
    """A layer apart takes no part in the class token's loss; both are frozen for an epoch."""
    batch = cases.batch(8)
    shared, apart = (ibot({"shared_head": s}) for s in (True, False))
    assert "patch_layer" not in jax.eval_shape(shared.init, KEY, batch).params["projector"]
    params, state, views = started(apart, batch)
    slope = jax.jit(jax.grad(lambda *args: apart.loss(*args)[0]))
    sizes = []
    for mask in (views["mask"], jnp.zeros_like(views["mask"])):
        for step in (0, 2):  # two steps an epoch, the first of which is frozen
            grads = slope(params, state, views | {"mask": mask}, KEY, step)["projector"]
            sizes.append(
                [float(jnp.abs(grads[name]["kernel"]).max()) for name in grads if name != "mlp"]
            )
            assert float(jnp.abs(grads["mlp"]["dense1"]["kernel"]).max()) > 0
    sizes = np.asarray(sizes) > 0  # last_layer, patch_layer
    np.testing.assert_array_equal(sizes, [[0, 0], [1, 1], [0, 0], [1, 0]])


def test_the_teacher_follows_and_embeds():
    method, batch, tx = ibot(steps=4), cases.batch(8), optax.sgd(0.5)
    step = jax.jit(train_step.make_step(method, tx))
    train = cases.first(method, tx, batch)
    expected = jax.tree.map(np.asarray, train.params)
    momentum = reference.dino_momentum(OPTIONS["momentum"], 4)
    for i in range(2):
        train, _ = step(train, batch)
        expected = jax.tree.map(
            lambda t, s, m=momentum[i]: m * t + (1 - m) * np.asarray(s), expected, train.params
        )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        train.state["teacher"],
        expected,
    )
    embed = jax.jit(method.embed)
    got = embed(train.params, train.state, batch)
    lost = jax.tree.map(jnp.zeros_like, train.params)
    np.testing.assert_array_equal(embed(lost, train.state, batch).pooled, got.pooled)


@pytest.mark.parametrize(
    ("options", "encoder", "message"),
    [
        ({}, cases.resnet, 'ibot needs a ViT encoder with pool="cls", got ResNet'),
        ({}, cases.vit, 'ibot needs a ViT encoder with pool="cls", got'),
        ({"patch_temperature": 0.0}, cases.vit_cls, "patch_temperature must be > 0, got 0.0"),
        ({"k": 0}, cases.vit_cls, "k must be at least 1, got 0"),
    ],
)
def test_bad_options(options, encoder, message):
    with pytest.raises(ValueError, match=message):
        ibot(options, encoder)
