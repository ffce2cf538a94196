"""SimMIM, data2vec and I-JEPA: what is seen, what is asked for, and how the teacher follows."""

import cases
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from references import masked as reference

from jssl import methods
from jssl.losses import reconstruction
from jssl.methods.ijepa import Predictor
from jssl.train import step as train_step

NEEDS = {"view": lambda key, batch: batch["image"], "prepare": lambda batch: batch["image"]}


def first(name, encoder=cases.vit, dtype=jnp.float64, **options):
    """A method with its parameters, state and views, and its jitted loss."""
    method = cases.make(name, encoder, dtype=dtype, options=cases.CASES[name][1] | options)
    batch = cases.batch(6)
    params, state = jax.jit(method.init)(jax.random.key(0), batch)
    views = jax.jit(method.views)(jax.random.key(1), batch)
    loss = jax.jit(lambda params, state, views: method.loss(params, state, views, KEY, 0))
    return method, params, state, views, loss


KEY = jax.random.key(2)


def vit(**options):
    return cases.vit(dtype=jnp.float64, param_dtype=jnp.float64, **options)


def squares(mask, unit):
    """[n t] of squares to [n h w] of pixels."""
    side = cases.SIZE // unit
    return np.asarray(mask).reshape(-1, side, side).repeat(unit, 1).repeat(unit, 2)


class TestSimMIM:
    @pytest.mark.parametrize(("mask_patch", "norm_window"), [(4, None), (8, None), (4, 5)])
    def test_loss_is_that_of_the_released_code(self, x64, mask_patch, norm_window):
        options = {"mask_patch": mask_patch, "norm_window": norm_window}
        _, params, state, views, loss = first("simmim", **options)
        images, mask = np.asarray(views["image"]), squares(views["mask"], 4)
        whole = mask.reshape(6, 16 // mask_patch, mask_patch, -1, mask_patch)
        np.testing.assert_array_equal(whole.any((2, 4)), whole.all((2, 4)))
        encode = jax.jit(vit().apply)
        tokens = encode({"params": params["encoder"]}, images, mask=views["mask"]).tokens
        patches = tokens @ params["head"]["kernel"] + params["head"]["bias"][None, None]
        pred = np.asarray(patches).reshape(6, 4, 4, 4, 4, 3).swapaxes(2, 3).reshape(6, 16, 16, 3)
        value, _ = loss(params, state, views)
        target = reference.norm_targets(images, norm_window) if norm_window else images
        np.testing.assert_allclose(value, reference.simmim(target, pred, mask), rtol=1e-9)

    def test_a_normalised_prediction_is_shown_in_its_true_surroundings(self):
        method, params, state, views, _ = first("simmim", dtype=jnp.float32, norm_window=5)
        pictures = method.reconstruct(params, state, views, KEY)
        assert list(pictures)[2] == "reconstruction (true local statistics)"
        params["head"] = jax.tree.map(jnp.zeros_like, params["head"])
        _, _, filled = method.reconstruct(params, state, views, KEY).values()
        mean, _ = reconstruction.local_statistics(views["image"], 5)
        expected = (np.asarray(mean) * cases.STD + cases.MEAN).clip(0, 1)
        hidden = squares(views["mask"], 4)
        np.testing.assert_allclose(np.asarray(filled)[hidden], expected[hidden], atol=1e-5)

    @pytest.mark.parametrize("encoder", [cases.vit, cases.resnet])
    def test_hidden_pixels_reach_the_target_and_nothing_else(self, encoder):
        method, params, state, views, loss = first("simmim", encoder, jnp.float32)
        hidden = jnp.asarray(squares(views["mask"], 4))[..., None]
        other = views | {"image": jnp.where(hidden, -views["image"], views["image"])}
        fill = jax.jit(lambda views: tuple(method.reconstruct(params, state, views, KEY).values()))
        (_, seen, filled), (_, same, refilled) = fill(views), fill(other)
        np.testing.assert_array_equal(seen, same)
        np.testing.assert_array_equal(filled, refilled)
        assert abs(loss(params, state, other)[0] - loss(params, state, views)[0]) > 1e-3
        shown = views | {"image": jnp.where(hidden, views["image"], -views["image"])}
        assert np.abs(np.where(hidden, fill(shown)[2] - filled, 0)).max() > 1e-4

    @pytest.mark.parametrize("encoder", [cases.vit, cases.resnet])
    def test_what_stands_for_the_hidden_is_learned(self, encoder):
        _, params, state, views, loss = first("simmim", encoder, jnp.float32)
        grads = jax.grad(lambda p: loss(p, state, views)[0])(params)
        token = (grads["encoder"] if encoder is cases.vit else grads)["mask_token"]
        assert token.shape == ((24,) if encoder is cases.vit else (3,))
        assert np.abs(token).min() > 0

    def test_a_feature_map_is_decoded_where_it_lies(self):
        """A head that ignores its input paints each cell of the map alike."""
        method, params, state, views, _ = first("simmim", cases.resnet, jnp.float32)
        cell = jnp.linspace(-1, 1, 12)
        params["head"] = {"kernel": jnp.zeros((16, 12)), "bias": cell}
        method = cases.make("simmim", cases.resnet, options={"mask_patch": 4})
        filled = method.reconstruct(params, state, views, KEY)["reconstruction"]
        expected = np.tile(np.asarray(cell).reshape(2, 2, 3), (8, 8, 1)) * cases.STD + cases.MEAN
        hidden = squares(views["mask"], 4)
        expected = np.broadcast_to(expected.clip(0, 1), filled.shape)
        np.testing.assert_allclose(np.asarray(filled)[hidden], expected[hidden], atol=1e-6)

    def test_errors(self):
        def make(encoder, **options):
            return methods.simmim(encoder, **NEEDS, restore=lambda x: x, **options)

        with pytest.raises(ValueError, match=r"norm_window must be odd and .* got 4"):
            make(cases.vit(), mask_patch=4, norm_window=4)
        with pytest.raises(ValueError, match=r"mask_patch must be a multiple of .* 4, got 6"):
            make(cases.vit(), mask_patch=6)
        images = {"image": jnp.zeros((2, 16, 16, 3))}
        with pytest.raises(ValueError, match="16x16 cannot be cut into patches of 12"):
            make(cases.vit(), mask_patch=12).views(KEY, images)
        odd = {"image": jnp.zeros((2, 18, 18, 3))}
        deep = cases.resnet().clone(blocks=(1, 1, 1))
        with pytest.raises(ValueError, match="cells of a 5x5 feature map must be whole squares"):
            jax.eval_shape(make(deep, mask_patch=6).init, KEY, odd)


DECODER = {"decoder": 2, "width": 32, "groups": 2, "target_norm": "instance"}


class TestData2vec:
    @pytest.mark.parametrize("top_k", [1, 2])
    def test_loss_is_that_of_the_released_code(self, x64, top_k):
        """The outputs of blocks as they pass by, instead of as the encoder hands them out."""
        _, params, state, views, loss = first("data2vec", top_k=top_k)
        # A teacher of its own, or the test could not tell it from the student.
        teacher = jax.tree.map(lambda x: 1.1 * x + 0.01, params["encoder"])
        state["teacher"] = {"encoder": teacher}
        images, mask = views["image"], np.asarray(views["mask"])
        np.testing.assert_array_equal(mask.sum(1), round(0.6 * 16))
        encode = jax.jit(
            lambda p: vit().apply(
                {"params": p},
                images,
                capture_intermediates=lambda m, _: (m.name or "").startswith("blocks_"),
            )
        )
        _, seen = encode(teacher)
        blocks = seen["intermediates"]["transformer"]
        layers = [np.asarray(blocks[f"blocks_{i}"]["__call__"][0])[:, 1:] for i in range(2)]
        tokens = jax.jit(vit().apply)({"params": params["encoder"]}, images, mask=mask).tokens
        out = params["head"]["out"]
        pred = np.asarray(tokens) @ np.asarray(out["kernel"]) + np.asarray(out["bias"])
        target = reference.data2vec_targets(layers, top_k)
        expected = reference.smooth_l1(pred[mask], target[mask], 2.0)
        value, out = loss(params, state, views)
        np.testing.assert_allclose(value, expected, rtol=1e-9)
        by_place = (target / np.linalg.norm(target, axis=-1, keepdims=True)).std(0).mean()
        np.testing.assert_allclose(out.metrics["projection_spread"], by_place * 24**0.5, rtol=1e-6)

    def test_with_a_decoder_hidden_patches_are_foretold_from_the_seen_and_noise(self, x64):
        _, params, state, views, loss = first("data2vec", **DECODER)
        images, mask, keep = (np.asarray(views[name]) for name in ("image", "mask", "keep"))
        np.testing.assert_array_equal(mask.sum(1), round(0.6 * 16))
        for row, seen in zip(mask, keep, strict=True):
            np.testing.assert_array_equal(np.flatnonzero(~row), np.sort(seen))
        encode = jax.jit(vit().apply, static_argnames="blocks")
        _, blocks = encode({"params": params["encoder"]}, images, blocks=True)
        target = reference.data2vec2_targets(np.asarray(blocks), 2)
        tokens = encode({"params": params["encoder"]}, images, keep=keep).tokens
        noise = jax.random.normal(jax.random.split(KEY)[1], (6, 16, 24), jnp.float64)
        given = 0.01 * np.asarray(noise)
        np.put_along_axis(given, keep[:, :, None], np.asarray(tokens), axis=1)
        weights = jax.tree.map(np.asarray, params["head"])
        pred = reference.data2vec2_decoder(given.reshape(6, 4, 4, 24), weights, groups=2)
        expected = reference.smooth_l1(pred.reshape(6, 16, 24)[mask], target[mask], 2.0)
        np.testing.assert_allclose(loss(params, state, views)[0], expected, rtol=1e-6)

    def test_errors(self):
        for encoder, options, message in (
            (cases.vit(), {"top_k": 2, "target_norm": "batch"}, "target_norm must be one of layer"),
            (cases.vit(), {"top_k": 2, "decoder": -1}, "decoder must be at least 0, got -1"),
            (
                cases.vit(),
                {"top_k": 2, "decoder": 1, "width": 30},
                "groups must divide the widths 24 and 30, got 16",
            ),
            (cases.resnet(), {}, "data2vec needs a ViT encoder, got a ResNet"),
            (cases.vit(), {"top_k": 3}, "top_k must be from 1 to the 2 blocks, got 3"),
            (cases.vit(), {"top_k": 2, "tau": 1.1}, r"tau must be in \[0, 1\], got 1.1"),
            (cases.vit(), {"top_k": 2, "beta": 0.0}, "beta must be > 0, got 0.0"),
        ):
            with pytest.raises(ValueError, match=message):
                methods.data2vec(encoder, **NEEDS, **options)
        everything = methods.data2vec(cases.vit(), **NEEDS, top_k=1, mask_ratio=1.0)
        with pytest.raises(ValueError, match=r"mask_ratio must hide a part of 16, got 1\.0"):
            everything.views(KEY, {"image": jnp.zeros((2, 16, 16, 3))})


class TestIJEPA:
    def test_loss_is_that_of_the_released_code(self, x64):
        _, params, state, views, loss = first("ijepa")
        teacher = jax.tree.map(lambda x: 1.1 * x + 0.01, params["encoder"])
        state["teacher"] = {"encoder": teacher}
        images, context, targets, valid = (
            views[k] for k in ("image", "context", "targets", "valid")
        )
        encode = jax.jit(vit().apply)
        h = encode({"params": teacher}, images).tokens
        seen = encode({"params": params["encoder"]}, images, keep=context).tokens
        predictor = Predictor(24, 16, 1, 2, dtype=jnp.float64, param_dtype=jnp.float64)
        z = jax.jit(
            lambda p: predictor.apply({"params": p}, seen, context, targets, (4, 4), train=True)
        )(params["predictor"])
        masks = [
            [np.asarray(t)[v] for t, v in zip(*pair, strict=True)]
            for pair in zip(targets, np.asarray(valid), strict=True)
        ]
        value, _ = loss(params, state, views)
        expected = reference.ijepa(np.asarray(z), np.asarray(h), masks)
        np.testing.assert_allclose(value, expected, rtol=1e-9)

    def test_each_block_is_predicted_on_its_own_and_in_any_order(self, x64):
        predictor = Predictor(6, 8, 2, 2, param_dtype=jnp.float64)
        rng = np.random.default_rng(0)
        seen = jnp.asarray(rng.normal(size=(2, 3, 6)))
        context = jnp.asarray([[0, 5, 7], [1, 2, 3]], jnp.int32)
        places = jnp.asarray(rng.permutation(16)[:8].reshape(1, 2, 4).repeat(2, 0), jnp.int32)

        @jax.jit
        def predict(seen, context, places):
            return predictor.apply({"params": params}, seen, context, places, (4, 4), train=False)

        variables = predictor.init(KEY, seen, context, places, (4, 4), train=False)
        params = variables["params"]
        both = predict(seen, context, places)
        assert both.shape == (2, 2, 4, 6)
        np.testing.assert_allclose(predict(seen, context, places[:, 1:])[:, 0], both[:, 1])
        np.testing.assert_allclose(
            predict(seen, context, places[:, :, ::-1]), both[:, :, ::-1], rtol=1e-9
        )
        # The context is told by its positions, not by its order.
        turned = predict(seen[:, ::-1], context[:, ::-1], places)
        np.testing.assert_allclose(turned, both, rtol=1e-9)
        assert np.abs(predict(seen, context[:, ::-1], places) - both).max() > 1e-3

    def test_errors(self):
        make = methods.ijepa
        with pytest.raises(ValueError, match="ijepa needs a ViT encoder, got a ResNet"):
            make(cases.resnet(), **NEEDS, total_steps=10)
        with pytest.raises(ValueError, match=r"momentum must be in \[0, 1\], got -0.1"):
            make(cases.vit(), **NEEDS, total_steps=10, momentum=-0.1)
        with pytest.raises(ValueError, match="total_steps must be at least 1, got 0"):
            make(cases.vit(), **NEEDS, total_steps=0)


SCHEDULES = {
    "data2vec": lambda i: reference.data2vec_decay(i, 0.9, 0.99, 4),
    "ijepa": lambda i: reference.ijepa_momentum(i, (0.9, 1.0), 4),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_teacher_follows_the_released_schedule(name):
    """Step after step by the authors' momentum, the predicting part left out."""
    method, tx, batch = cases.make(name, cases.vit, steps=4), optax.sgd(0.5), cases.batch()
    step, train = jax.jit(train_step.make_step(method, tx)), cases.first(method, tx, batch)
    assert train.state["teacher"].keys() == {"encoder"}
    teacher = jax.tree.map(np.asarray, train.params["encoder"])
    for i in range(5):
        train, _ = step(train, batch)
        m = SCHEDULES[name](min(i, 4))
        teacher = jax.tree.map(
            lambda t, s, m=m: m * t + (1 - m) * np.asarray(s), teacher, train.params["encoder"]
        )
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
            train.state["teacher"]["encoder"],
            teacher,
        )


@pytest.mark.parametrize("name", SCHEDULES)
def test_dropped_paths_are_the_students_alone(name):
    """Without a student's gradient or key, the teacher's targets are the same at any key."""
    method = cases.make(name, lambda **dtypes: cases.vit(drop_path=0.5, **dtypes))
    params, state = jax.jit(method.init)(KEY, batch := cases.batch())
    views = jax.jit(method.views)(KEY, batch)
    loss = jax.jit(lambda key: method.loss(params, state, views, key, 0))
    (one, out1), (two, out2) = loss(jax.random.key(0)), loss(jax.random.key(1))
    assert abs(one - two) > 1e-5
    np.testing.assert_array_equal(
        out1.metrics["projection_spread"], out2.metrics["projection_spread"]
    )
