"""What SimSiam, DINO and LeJEPA do beside their losses: schedules, frozen parts, state."""

import re

import cases
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from references import distillation as reference

from jssl.cli import build, config
from jssl.nn import DINOHead
from jssl.train import step as train_step


def gradient(method, train, batch, key=0):
    """Loss, gradient and state after a pass at the state's own step."""
    views = jax.jit(method.views)(jax.random.key(key), batch)
    (value, out), grads = jax.jit(jax.value_and_grad(method.loss, has_aux=True))(
        train.params, train.state, views, jax.random.key(key), train.step
    )
    return value, grads, out


class TestSimSiam:
    def test_the_projection_has_zero_mean_and_unit_variance_and_no_bias_before_it(self):
        method, batch = cases.make("simsiam", cases.resnet), cases.batch()
        params, state = jax.jit(method.init)(jax.random.key(0), batch)
        projector = params["projector"]
        assert "norm3" not in projector
        assert projector["dense3"].keys() == {"kernel"}
        assert state["batch_stats"]["projector"].keys() == {"norm1", "norm2", "norm3"}
        assert params["predictor"].keys() == {"dense1", "norm1", "dense2"}
        assert params["predictor"]["dense2"].keys() == {"kernel", "bias"}
        assert params["predictor"]["dense1"]["kernel"].shape == (16, 8)

    def test_without_stop_gradient_the_value_is_the_same_and_the_gradient_is_not(self):
        batch, options = cases.batch(), cases.CASES["simsiam"][1]
        values, grads = [], []
        for stop in (True, False):
            method = cases.make("simsiam", cases.resnet, options=options | {"stop_gradient": stop})
            train = cases.first(method, optax.sgd(0.1), batch)
            value, grad, _ = gradient(method, train, batch)
            values.append(value)
            grads.append(grad["projector"]["dense1"]["kernel"])
        np.testing.assert_allclose(*values, rtol=1e-6)
        assert np.abs(grads[0] - grads[1]).max() > 1e-2 * np.abs(grads[0]).max()

    def test_the_config_keeps_the_predictor_at_a_constant_rate(self):
        """The same gradient early and late: the predictor's update is the same, others shrink."""
        cfg = config.load("simsiam", {"optimizer.momentum": "0.0", "optimizer.weight_decay": "0.0"})
        with jax.numpy_dtype_promotion("standard"):
            tx, schedule = build.optimizer(cfg, per_epoch=10, steps=100)
            params = {part: {"kernel": jnp.ones(3)} for part in ("encoder", "predictor")}
            update = jax.jit(tx.update)
            state, sizes = tx.init(params), []
            for _ in range(100):
                updates, state = update(jax.tree.map(jnp.ones_like, params), state, params)
                sizes.append([-float(updates[p]["kernel"][0]) for p in ("encoder", "predictor")])
        encoder, predictor = np.transpose(sizes)
        np.testing.assert_allclose(predictor, cfg.optimizer.lr, rtol=1e-6)
        np.testing.assert_allclose(encoder, [schedule(i) for i in range(100)], rtol=1e-5, atol=1e-9)
        assert encoder[-1] < 0.01 * encoder[0]


DINO = cases.CASES["dino"][1]


def dino(options=(), encoder=cases.resnet, **more):
    return cases.make("dino", encoder, options=DINO | dict(options), **more)


def last_layer(train):
    return train.params["projector"]["last_layer"]["kernel"]


class TestDINO:
    def test_head_is_that_of_the_released_code(self, x64):
        for gain in (False, True):
            head = DINOHead(7, 12, 5, norm_last_layer=not gain, param_dtype=jnp.float64)
            x = jax.random.normal(jax.random.key(0), (4, 6), jnp.float64)
            params = head.init(jax.random.key(1), x)["params"]
            assert params["last_layer"].keys() == ({"kernel", "gain"} if gain else {"kernel"})
            g = np.linspace(0.5, 2, 7)[None] if gain else np.ones((1, 7))
            if gain:
                np.testing.assert_array_equal(params["last_layer"]["gain"], 1)
                params["last_layer"]["gain"] = jnp.asarray(g)
            z, logits = head.apply({"params": params}, x)
            expected = reference.dino_head(np.asarray(x), jax.tree.map(np.asarray, params), g)
            np.testing.assert_allclose(z, expected[0], rtol=1e-9)
            np.testing.assert_allclose(logits, expected[1], rtol=1e-9, atol=1e-12)

    def test_only_columns_directions_count_without_gain(self):
        head, x = DINOHead(7, 12, 5), jnp.ones((4, 6))
        params = head.init(jax.random.key(1), x)["params"]
        before = head.apply({"params": params}, x)[1]
        params["last_layer"]["kernel"] *= jnp.arange(1, 8, dtype=jnp.float32)[None]
        np.testing.assert_allclose(head.apply({"params": params}, x)[1], before, rtol=1e-5)

    def test_the_teacher_follows_the_released_schedule(self):
        """Three steps: the teacher after each by the authors' momentum."""
        steps, batch = 4, cases.batch()
        method = dino({"freeze_last_layer_epochs": 0}, steps=steps)
        step = jax.jit(train_step.make_step(method, optax.sgd(0.5)))
        train = jax.jit(lambda b: train_step.init(method, optax.sgd(0.5), 0, b))(batch)
        teacher = jax.tree.map(np.asarray, train.params)
        momentum = reference.dino_momentum(DINO["momentum"], steps)
        for i in range(3):
            train, _ = step(train, batch)
            teacher = jax.tree.map(
                lambda t, s, m=momentum[i]: m * t + (1 - m) * np.asarray(s), teacher, train.params
            )
            jax.tree.map(
                lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
                train.state["teacher"],
                teacher,
            )

    def test_the_center_is_used_before_it_is_moved(self):
        """Moved by this batch's teacher outputs, of which this step's loss has seen nothing."""
        batch, tx = cases.batch(), optax.sgd(0.1)
        used, moved = [], []
        for m in (0.9, 0.5):
            method = dino({"center_momentum": m})
            train = cases.first(method, tx, batch)
            center = jnp.linspace(-1, 1, DINO["k"])
            train = train._replace(state=train.state | {"center": center})
            value, _, out = gradient(method, train, batch)
            used.append(value)
            moved.append((out.state["center"] - m * center) / (1 - m))
        np.testing.assert_allclose(*used, rtol=1e-6)
        np.testing.assert_allclose(*moved, rtol=1e-3, atol=1e-5)
        assert np.abs(moved[0]).max() > 1e-3

    def test_teacher_temperature_rises_epoch_by_epoch(self):
        """With two steps an epoch: the sharpness of the targets against the authors' schedule."""
        batch, tx = cases.batch(), optax.sgd(0.1)
        options = {"warmup_teacher_epochs": 3, "warmup_teacher_temperature": 0.04}
        warm = dino(options | {"teacher_temperature": 0.07})
        train = cases.first(warm, tx, batch)
        views = jax.jit(warm.views)(jax.random.key(0), batch)

        def entropy(method):
            loss = jax.jit(method.loss)
            key = jax.random.key(0)
            return lambda step: loss(
                train.params, train.state, views, key, jnp.asarray(step, jnp.int32)
            )[1].metrics["teacher_entropy"]

        expected = {
            t: entropy(dino({"warmup_teacher_epochs": 0, "teacher_temperature": t}))(0)
            for t in (0.04, 0.055, 0.07)
        }
        schedule = reference.dino_temperatures(0.04, 0.07, 3, 5)
        at = entropy(warm)
        for step in range(10):
            wanted = expected[round(float(schedule[step // 2]), 3)]
            np.testing.assert_allclose(at(step), wanted, rtol=1e-5)
        assert expected[0.07] > expected[0.04] + 1e-3

    def test_the_last_layer_is_frozen_for_its_epochs_and_then_is_not(self):
        """Two steps an epoch; weight decay and momentum would move it without a gradient too."""
        batch = cases.batch()
        tx = optax.chain(optax.add_decayed_weights(0.1), optax.sgd(0.1, momentum=0.9))
        method = dino({"norm_last_layer": False})
        step = jax.jit(train_step.make_step(method, tx))
        train = cases.first(method, tx, batch)
        start, kernels = last_layer(train), []
        for i in range(3):
            _, grads, _ = gradient(method, train, batch, key=i)
            grads = grads["projector"]["last_layer"]
            assert all((g == 0).all() == (i < 2) for g in jax.tree.leaves(grads))
            train, _ = step(train, batch)
            kernels.append(last_layer(train))
        np.testing.assert_array_equal(kernels[0], start)
        np.testing.assert_array_equal(kernels[1], start)
        assert np.abs(kernels[2] - start).max() > 1e-5
        moved = train.params["projector"]["mlp"]["dense1"]["kernel"]
        first = cases.first(method, tx, batch).params["projector"]["mlp"]["dense1"]["kernel"]
        assert np.abs(moved - first).max() > 1e-5

    def test_embeds_with_the_teacher(self):
        batch, method = cases.batch(), dino()
        params, state = jax.jit(method.init)(jax.random.key(0), batch)
        got = method.embed(params, state, batch).pooled
        lost = jax.tree.map(jnp.zeros_like, params)
        np.testing.assert_array_equal(method.embed(lost, state, batch).pooled, got)
        state["teacher"] = lost
        assert (method.embed(params, state, batch).pooled == 0).all()

    def test_the_teacher_drops_no_path(self):
        """With every parameter of the student at hand, the targets do not depend on the key."""
        batch = cases.batch()
        method = dino(encoder=lambda **dtypes: cases.vit(drop_path=0.5, **dtypes))
        train = cases.first(method, optax.sgd(0.1), batch)
        views = jax.jit(method.views)(jax.random.key(0), batch)
        loss = jax.jit(method.loss)
        one, two = (
            loss(train.params, train.state, views, jax.random.key(i), train.step)[1].metrics
            for i in (1, 2)
        )
        np.testing.assert_array_equal(one["teacher_entropy"], two["teacher_entropy"])
        assert one["loss"] != two["loss"]


CROPPED = ("dino", "lejepa")


@pytest.mark.parametrize("name", CROPPED)
def test_learned_positions_of_a_vit_train_with_small_crops(name):
    """One table for both sizes: the step moves it, by a gradient that the small crops are in."""
    batch, tx = cases.batch(), optax.sgd(0.1)
    method = cases.make(name, lambda **dtypes: cases.vit(positions="learned", **dtypes))
    train = cases.first(method, tx, batch)
    views = jax.jit(method.views)(jax.random.key(0), batch)
    assert views[0].shape[2:4] == (cases.SIZE, cases.SIZE)
    assert views[1].shape[2:4] == (cases.SIZE // 2, cases.SIZE // 2)
    slope = jax.jit(jax.grad(lambda *args: method.loss(*args)[0]))
    key, found = jax.random.key(1), []
    for crops in (views, [views[0], -views[1]]):
        grads = slope(train.params, train.state, crops, key, train.step)
        found.append(grads["encoder"]["positions"])
    assert found[0].shape == (4, 4, 24)
    assert all(np.isfinite(g).all() for g in found)
    assert np.abs(found[0] - found[1]).max() > 1e-3 * np.abs(found[0]).max() > 0


@pytest.mark.parametrize("name", CROPPED)
def test_without_small_crops(name):
    """A list of one: two views, and the same parameters and state as with small crops."""
    batch, tx = cases.batch(), optax.sgd(0.1)
    method = cases.make(name, cases.resnet)
    two = method._replace(views=lambda key, batch: method.views(key, batch)[:1])
    train = cases.first(two, tx, batch)
    after, metrics = jax.jit(train_step.make_step(two, tx))(train, batch)
    assert jax.tree.structure(after) == jax.tree.structure(train)
    assert all(np.isfinite(m) for m in metrics.values())


@pytest.mark.parametrize("name", CROPPED)
def test_every_view_counts(name):
    """Another picture in any one crop changes the loss."""
    batch = cases.batch()
    method = cases.make(name, cases.vit)
    params, state = jax.jit(method.init)(jax.random.key(0), batch)
    views = jax.jit(method.views)(jax.random.key(0), batch)
    loss = jax.jit(lambda crops: method.loss(params, state, crops, jax.random.key(1), 0)[0])
    value = loss(views)
    for size, view in ((0, 0), (0, 1), (1, 0), (1, 1)):
        changed = list(views)
        changed[size] = views[size].at[:, view].multiply(-1.0)
        assert abs(loss(changed) - value) > 1e-5


def test_lejepa_draws_new_directions_from_the_key_and_reports_both_terms():
    batch = cases.batch()
    method = cases.make("lejepa", cases.vit)
    params, state = jax.jit(method.init)(jax.random.key(0), batch)
    views = jax.jit(method.views)(jax.random.key(0), batch)
    loss = jax.jit(lambda key: method.loss(params, state, views, key, 0)[1].metrics)
    one, two = loss(jax.random.key(1)), loss(jax.random.key(2))
    np.testing.assert_allclose(one["prediction"], two["prediction"], rtol=1e-6)
    assert one["sigreg"] != two["sigreg"]
    np.testing.assert_allclose(
        one["loss"], 0.95 * one["prediction"] + 0.05 * one["sigreg"], rtol=1e-6
    )


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("simsiam", {"layers": 1}, "layers must be at least 2, got 1"),
        ("simsiam", {"bottleneck": 0}, "bottleneck must be at least 1, got 0"),
        ("dino", {"momentum": 1.5}, "momentum must be in [0, 1], got 1.5"),
        ("dino", {"center_momentum": -1.0}, "center_momentum must be in [0, 1], got -1.0"),
        ("dino", {"student_temperature": 0.0}, "student_temperature must be > 0, got 0.0"),
        ("dino", {"k": 0}, "k must be at least 1, got 0"),
        (
            "dino",
            {"freeze_last_layer_epochs": -1},
            "freeze_last_layer_epochs must be at least 0, got -1",
        ),
        ("dino", {"norm": "group"}, "norm must be 'batch', 'layer' or None, got 'group'"),
        ("lejepa", {"weight": 1.5}, "weight must be in [0, 1], got 1.5"),
        ("lejepa", {"out": 0}, "out must be at least 1, got 0"),
        ("lejepa", {"points": 4}, "points must be odd and at least 3, got 4"),
        ("lejepa", {"t_max": 0.0}, "t_max must be > 0, got 0.0"),
    ],
)
def test_bad_options(name, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        cases.make(name, cases.resnet, options=options)
