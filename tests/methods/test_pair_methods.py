"""CLIP, SigLIP and LiT: losses against the transcribed ones, and what their papers say of scale."""

import cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from references import contrastive as reference
from test_text_methods import agrees, begun

OUT = {"out": 8}


def features(views):
    """A function of the parameters: what both encoders say, in the common space."""
    wide = {"dtype": jnp.float64, "param_dtype": jnp.float64}
    net, text = cases.vit(**wide), cases.text(pool="last", **wide)

    @jax.jit
    def pooled(p):
        image = net.apply({"params": p["encoder"]}, views["image"]).pooled
        return image, text.apply({"params": p["text_encoder"]}, views["caption"]).pooled

    def of(params):
        made = pooled(jax.tree.map(jnp.asarray, params))
        heads = (np.asarray(params[name]["kernel"]) for name in ("image_head", "text_head"))
        return tuple(np.asarray(x) @ head for x, head in zip(made, heads, strict=True))

    return of


@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_the_loss_is_the_transcribed_one_of_both_towers(name, x64):
    method, params, views = begun(name, cases.vit, **OUT)
    towers = features(views)

    def expected(params):
        a, b = towers(params)
        scale = np.exp(params["log_scale"])
        if name == "clip":
            return reference.clip(a, b, scale)
        return reference.siglip(a, b, scale, params["bias"])

    learned = {"clip": ["log_scale"], "siglip": ["log_scale", "bias"]}[name]
    metrics = agrees(method, params, views, expected, ["image_head", "text_head", *learned])
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in towers(params))
    nearest = [(s.argmax(1) == np.arange(16)).mean() for s in (a @ b.T, b @ a.T)]
    np.testing.assert_allclose(metrics["proxy_accuracy"], np.mean(nearest))
    np.testing.assert_allclose(metrics["chance"], 1 / 16)
    np.testing.assert_allclose(metrics["scale"], {"clip": 1 / 0.07, "siglip": 10}[name])
    if name == "siglip":
        assert params["bias"] == -10


def test_pairs_count_and_their_order_does_not(x64):
    method, params, views = begun("clip", cases.vit, **OUT)
    turned = jax.tree.map(lambda x: jnp.roll(x, 3, axis=0), views)
    apart = views | {"caption": turned["caption"]}
    loss = jax.jit(lambda v: method.loss(params, {}, v, jax.random.key(0), 0)[0])
    whole, other, wrong = map(loss, (views, turned, apart))
    np.testing.assert_allclose(other, whole, rtol=1e-12)
    assert abs(wrong - whole) > 1e-3


def test_clips_scale_never_passes_100():
    method = cases.make("clip", cases.vit)
    for before, after in ((4.0, 4.0), (6.0, np.log(100)), (-3.0, -3.0)):
        params = {"log_scale": jnp.float32(before), "other": jnp.ones(2)}
        got = method.adjust(params, params, {}, 0)
        np.testing.assert_allclose(got["log_scale"], after, rtol=1e-6)
        assert got["other"] is params["other"]
    assert cases.make("siglip", cases.vit).adjust is None


@pytest.mark.long
def test_a_locked_image_encoder_is_left_alone():
    method = cases.make("clip", cases.resnet, options={"out": 16, "locked": True})
    batch = cases.batch()
    params, state = jax.jit(method.init)(jax.random.key(0), batch)
    assert "image_head" not in params

    def loss(params):
        views = method.views(jax.random.key(1), batch)
        return method.loss(params, state, views, jax.random.key(2), jnp.zeros((), jnp.int32))

    gradient, out = jax.jit(jax.grad(loss, has_aux=True))(params)
    assert all(not g.any() for g in jax.tree.leaves(gradient["encoder"]))
    assert gradient["text_head"]["kernel"].any()
    assert gradient["log_scale"] != 0
    jax.tree.map(np.testing.assert_array_equal, out.state, state)
    seen = jax.jit(method.towers.image)(params, state, batch)
    np.testing.assert_array_equal(seen, jax.jit(method.embed)(params, state, batch).pooled)
    wrong = cases.make("clip", cases.resnet, options={"out": 5, "locked": True})
    with pytest.raises(ValueError, match="out must be 16, the width of the locked image encoder"):
        jax.eval_shape(wrong.init, jax.random.key(0), batch)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"temperature": 0.0}, "temperature must be > 0, got 0.0"),
        ({"max_scale": -1.0}, "max_scale must be > 0, got -1.0"),
        ({"out": 0}, "dim must be at least 1, got 0"),
        ({"loss_impl": "fast"}, "loss_impl must be one of"),
    ],
)
def test_options_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        cases.make("clip", cases.vit, options=options)
