"""Autoencoders, inpainting, colorization: what is seen, what is asked for, and what counts."""

import inspect

import cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from references import pixels as reference

from jssl import methods
from jssl.augment import image, lab
from jssl.method import Features
from jssl.methods.inpainting import ChannelwiseDense
from jssl.nn.decoder import ConvDecoder, EncoderDecoder
from jssl.nn.forward import forward

KEY = jax.random.key(2)


def first(name, encoder=cases.resnet, batch=None, **options):
    """A method in float64 with its parameters, state and views, and its jitted loss."""
    options = cases.CASES[name][1] | options
    method = cases.make(name, encoder, dtype=jnp.float64, options=options)
    batch = cases.batch(6) if batch is None else batch
    params, state = jax.jit(method.init)(jax.random.key(0), batch)
    views = jax.jit(method.views)(jax.random.key(1), batch)
    loss = jax.jit(lambda params, state, views: method.loss(params, state, views, KEY, 0))
    return method, params, state, views, loss


def curvature(loss, params, state, views, where, step=0.5):
    """Half the second difference of the loss as the target changes by a step in some places."""

    def at(change):
        moved = views["image"] + change * where.astype(views["image"].dtype)
        return float(loss(params, state, views | {"image": moved})[0])

    return (at(step) - 2 * at(0.0) + at(-step)) / (2 * step**2)


@pytest.mark.usefixtures("x64")
def test_autoencoders_are_asked_for_the_clean_image():
    """The prediction is a function of what was given alone, the loss a square, weighted."""
    _, params, state, views, loss = first("autoencoder")
    np.testing.assert_array_equal(views["given"], views["image"])
    everywhere = jnp.ones(views["image"].shape, bool)
    np.testing.assert_allclose(curvature(loss, params, state, views, everywhere), 1, rtol=1e-9)

    options = {"noise": "masking", "alpha": 3.0, "beta": 0.5}
    _, params, state, views, loss = first("denoising_autoencoder", **options)
    corrupted = views["corrupted"]
    share = np.asarray(corrupted).mean()
    assert 0.2 < share < 0.3
    assert not np.array_equal(views["given"], views["image"])
    for where, expected in ((corrupted, 3 * share), (~corrupted, 0.5 * (1 - share))):
        ours = curvature(loss, params, state, views, where)
        np.testing.assert_allclose(ours, expected, rtol=1e-9)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("noise", ["masking", "salt_and_pepper", "gaussian"])
def test_noise_is_that_of_images_from_0_to_1(noise):
    *_, views, _ = first("denoising_autoencoder", noise=noise, level=0.2)
    pixels = np.asarray(image.denormalize(views["given"], cases.MEAN, cases.STD))
    clean = np.asarray(image.denormalize(views["image"], cases.MEAN, cases.STD))
    corrupted = np.asarray(views["corrupted"])
    np.testing.assert_allclose(pixels[~corrupted], clean[~corrupted], atol=1e-9)
    if noise == "gaussian":
        np.testing.assert_allclose(np.std(pixels - clean), 0.2, rtol=0.05)
    else:
        values = (0.0,) if noise == "masking" else (0.0, 1.0)
        off = np.min([np.abs(pixels[corrupted] - v) for v in values], axis=0)
        np.testing.assert_allclose(off, 0, atol=1e-9)


@pytest.mark.parametrize("name", ["autoencoder", "denoising_autoencoder"])
def test_the_bottleneck_is_one(name):
    """Everything the decoder knows of an image passes through so many numbers, by default few."""
    default = inspect.signature(methods.METHODS[name]).parameters["code"].default
    assert default <= 28 * 28 // 8
    method = cases.make(name, cases.resnet, options={"code": 2, "width": 4})
    params, state = jax.jit(method.init)(jax.random.key(0), cases.batch())
    batch = cases.batch(2)

    def along(change):
        moved = params["encoder"]["stem"]["kernel"] + change
        encoder = params["encoder"] | {"stem": {"kernel": moved}}
        views = method.views(KEY, batch)
        given = params | {"encoder": encoder}
        return method.reconstruct(given, state, views, KEY)["reconstruction"][0].reshape(-1)

    # However many weights of the encoder move, the picture moves in two directions.
    jacobian = jax.jit(jax.jacfwd(along))(jnp.zeros_like(params["encoder"]["stem"]["kernel"]))
    spectrum = np.linalg.svd(np.asarray(jacobian).reshape(len(jacobian), -1), compute_uv=False)
    assert spectrum[2] < 1e-4 * spectrum[0]
    assert spectrum[0] > 0


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("region", ["random", "blocks", "central"])
def test_inpainting_sees_nothing_of_the_region_and_is_asked_for_nothing_else(region):
    method, params, state, views, loss = first("inpainting", cases.vit, region=region, share=0.25)
    mask = np.asarray(views["mask"])
    np.testing.assert_array_equal(mask.mean((1, 2)), 0.25)
    assert (mask == mask[:1]).all() == (region == "central")
    hidden = jnp.broadcast_to(views["mask"][..., None], views["image"].shape)
    # 1 if the mean is over hidden values alone and what is put into them reaches no input.
    np.testing.assert_allclose(curvature(loss, params, state, views, hidden), 1, rtol=1e-9)
    fill = jax.jit(lambda views: tuple(method.reconstruct(params, state, views, KEY).values()))
    _, masked, filled = fill(views)
    other = jnp.where(hidden, -views["image"], views["image"])
    for ours, theirs in zip((masked, filled), fill(views | {"image": other})[1:], strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_the_channelwise_layer_knows_each_channel_for_itself():
    """Section 3.1: every place of a channel reaches every place of it, and no other channel."""
    layer = ChannelwiseDense()
    x = jax.random.normal(KEY, (2, 3, 3, 4))
    variables = layer.init(KEY, Features(None, x), (12, 12), False)
    params = variables["params"] | {"conv": {"kernel": jnp.eye(4)[None, None]}}
    assert params["kernel"].shape == (4, 9, 9)

    def out(x):
        # Far above zero, so that no unit is off.
        norm = params["norm1"] | {"bias": jnp.full(4, 1e3)}
        bound = {**variables, "params": params | {"norm1": norm}}
        return layer.apply(bound, Features(None, x), (12, 12), False)[0].sum((0, 1))

    reach = np.abs(np.asarray(jax.jit(jax.jacrev(out))(x)))[:, 0].max((1, 2))
    assert (reach[~np.eye(4, dtype=bool)] == 0).all()
    assert (np.diag(reach) > 0).all()


def painted(ab, n=4):
    """A batch of images of lightness about 55 with this colour, and its Lab."""
    lightness = np.random.default_rng(0).uniform(45, 65, (n, cases.SIZE, cases.SIZE, 1))
    x = np.concatenate([lightness, np.broadcast_to(ab, (*lightness.shape[:3], 2))], axis=-1)
    return {"image": lab.lab_to_rgb(jnp.asarray(x)), "index": jnp.arange(n)}, x


@pytest.mark.usefixtures("x64")
def test_colorization_sees_no_colour():
    (one, _), (two, _) = painted((20.0, 10.0)), painted((-15.0, -20.0))
    method, params, state, views, _ = first("colorization", batch=one)
    other = jax.jit(method.views)(jax.random.key(1), two)
    assert np.ptp(np.asarray(views["image"]), axis=-1).max() < 1e-12
    np.testing.assert_allclose(views["lab"][0, 0, 0, 1:], (20, 10), atol=1e-6)
    # A crop mixes colours before their lightness is taken, which is not linear.
    np.testing.assert_allclose(other["image"], views["image"], atol=0.02)
    embed = jax.jit(lambda batch: method.embed(params, state, batch).pooled)
    np.testing.assert_allclose(embed(two), embed(one), atol=1e-6)
    assert np.abs(embed(cases.batch(4)) - embed(one)).max() > 1e-3


@pytest.mark.usefixtures("x64")
def test_colorization_is_the_reference():
    """Loss, accuracy and prior from the network's logits, one of the images being grey."""
    batch = cases.batch(6)
    batch |= {"image": batch["image"].at[0].set(batch["image"][0, :, :, :1])}
    _, params, state, views, loss = first("colorization", batch=batch, uniform=0.3, momentum=0.8)
    prior = np.random.default_rng(0).dirichlet(np.ones(313))
    state |= {"prior": jnp.asarray(prior)}
    value, out = loss(params, state, views)

    encoder = cases.resnet(dtype=jnp.float64, param_dtype=jnp.float64)
    net = EncoderDecoder(encoder, ConvDecoder(313, 8, dtype=jnp.float64, param_dtype=jnp.float64))
    half = (cases.SIZE // 2,) * 2
    logits, _ = jax.jit(lambda p, s, x: forward(net, p, s, x, KEY, size=half))(
        params, state["stats"], views["image"]
    )
    ab = np.asarray(image.resize(views["lab"][..., 1:], half)).reshape(-1, 2)
    counts = np.arange(6).repeat(len(ab) // 6) > 0
    targets = reference.encode(ab, lab.AB_BINS)
    logits = np.asarray(logits).reshape(-1, 313)
    expected = reference.colorization(logits, targets, reference.prior_factor(prior, 0.3), counts)
    np.testing.assert_allclose(value, expected, rtol=1e-9)
    right = (logits.argmax(1) == targets.argmax(1))[counts].mean()
    np.testing.assert_allclose(out.metrics["proxy_accuracy"], right)
    np.testing.assert_allclose(out.metrics["colored"], 5 / 6)
    seen = 0.8 * prior + 0.2 * targets[counts].mean(0)
    np.testing.assert_allclose(out.state["prior"], seen, atol=1e-12)


@pytest.mark.usefixtures("x64")
def test_grey_images_teach_colorization_nothing():
    batch = cases.batch(4)
    batch |= {"image": batch["image"][..., :1].repeat(3, axis=-1)}
    method, params, state, views, _ = first("colorization", batch=batch)

    @jax.jit
    def gradient(params):
        return jax.grad(method.loss, has_aux=True)(params, state, views, KEY, 0)

    slope, out = gradient(params)
    assert all((np.asarray(leaf) == 0).all() for leaf in jax.tree.leaves(slope))
    np.testing.assert_allclose(out.metrics["loss"], np.log(313), rtol=1e-12)
    np.testing.assert_allclose(out.metrics["colored"], 0)
    np.testing.assert_array_equal(out.state["prior"], state["prior"])


@pytest.mark.usefixtures("x64")
def test_colorization_keeps_the_lightness():
    batch, _ = painted((15.0, -5.0))
    method, params, state, views, _ = first("colorization", batch=batch)
    original, gray, colored = jax.jit(
        lambda views: tuple(method.reconstruct(params, state, views, KEY).values())
    )(views)
    lightness = [np.asarray(lab.rgb_to_lab(x))[..., 0] for x in (original, gray, colored)]
    np.testing.assert_allclose(lightness[1], lightness[0], atol=1e-6)
    np.testing.assert_allclose(lightness[2], lightness[0], atol=0.5)
    assert np.abs(np.asarray(colored - gray)).max() > 0.01


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("autoencoder", {"code": 0}, "code must be at least 1, got 0"),
        ("denoising_autoencoder", {"noise": "rain"}, "noise must be one of gaussian, .*'rain'"),
        ("denoising_autoencoder", {"alpha": 0.0}, "alpha must be > 0"),
        ("inpainting", {"region": "left"}, "region must be one of random, .*'left'"),
        ("inpainting", {"share": 1.0}, r"share must be in \(0, 1\), got 1.0"),
        ("colorization", {"stride": 0}, "stride must be at least 1"),
        ("colorization", {"uniform": 1.5}, r"uniform must be in \[0, 1\]"),
        ("colorization", {"temperature": 0.0}, "temperature must be > 0"),
    ],
)
def test_bad_options(name, options, message):
    with pytest.raises(ValueError, match=message):
        cases.make(name, cases.resnet, options=options)
