"""What the methods of the contrastive family do beside the ladder: state, options, refusals."""

import cases
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from references import contrastive as reference
from references.losses import l2_normalize

from jssl.losses import contrastive
from jssl.nn import forward, heads
from jssl.train import shard
from jssl.train import step as train_step


def start(name, encoder=cases.resnet, n=16, **options):
    """A small method, its variables, the views of a batch and its jitted loss."""
    method = cases.make(name, encoder, options=cases.CASES[name][1] | options)
    batch = cases.batch(n)
    variables = jax.jit(method.init)(jax.random.key(0), batch)
    views = jax.jit(method.views)(jax.random.key(1), batch)
    return method, variables, views, jax.jit(method.loss)


@pytest.mark.usefixtures("x64")
def test_a_step_in_a_ring():
    """Nothing but the batch says where arrays are; eight devices equal the dense form on one."""
    values = []
    for devices, loss_impl in ((1, "dense"), (8, "ring")):
        options = cases.CASES["simclr"][1] | {"loss_impl": loss_impl}
        method = cases.make("simclr", cases.vit, dtype=jnp.float64, options=options)
        mesh = shard.make_mesh(min(2, devices), jax.devices()[:devices])
        batch = jax.device_put(cases.batch(), shard.batch_sharding(mesh))
        train = cases.first(method, optax.sgd(0.05), batch)
        step = jax.jit(train_step.make_step(method, optax.sgd(0.05))).trace(train, batch)
        assert ("ppermute" in str(step.jaxpr)) == (loss_impl == "ring")
        values.append(jax.device_get(step.lower().compile()(train, batch)[1]))
    for name, expected in values[0].items():
        np.testing.assert_allclose(values[1][name], expected, rtol=1e-11, err_msg=name)


@pytest.mark.parametrize("name", ["simclr", "dcl", "moco_v2", "moco_v3"])
def test_every_form_of_the_loss_is_an_option(name):
    batch, key = cases.batch(), jax.random.key(0)
    for loss_impl, loops in (("dense", False), ("ring", True)):
        options = cases.CASES[name][1] | {"loss_impl": loss_impl}
        method = cases.make(name, cases.vit, options=options)
        variables = jax.eval_shape(method.init, key, batch)
        views = jax.eval_shape(method.views, key, batch)
        program = jax.make_jaxpr(method.loss)(*variables, views, key, 0)
        assert ("scan" in str(program)) == loops
    with pytest.raises(ValueError, match="loss_impl must be one of auto, dense, ring, got 'big'"):
        cases.make(name, cases.vit, options={"loss_impl": "big"})


def test_dcl_weighted_is_dclw(monkeypatch):
    seen = {}

    def loss(z1, z2, temperature, sigma, **options):
        seen.update(temperature=temperature, sigma=sigma)
        return unpatched(z1, z2, temperature, sigma, **options)

    unpatched = contrastive.decoupled_accuracy
    monkeypatch.setattr(contrastive, "decoupled_accuracy", loss)
    for options, sigma in (({}, None), ({"weighted": True}, 0.5)):
        method = cases.make("dcl", cases.vit, options=options)
        variables = jax.eval_shape(method.init, jax.random.key(0), cases.batch())
        views = jax.eval_shape(method.views, jax.random.key(1), cases.batch())
        jax.eval_shape(method.loss, *variables, views, jax.random.key(2), 0)
        assert seen == {"temperature": 0.1, "sigma": sigma}


def projection(encoder, head, params, stats, x):
    """z of x in training, from the parts a method says it is made of."""
    net = heads.JointEmbedding(encoder(), head)
    return np.asarray(forward.forward(net, params, stats, x, jax.random.key(0))[0].z)


def test_moco_v2_is_algorithm_1():
    """Three steps of loss and queue, and the key encoder, against numpy."""
    _, (params, state), views, loss = method = start("moco_v2", queue=32)
    after = jax.jit(method[0].after)
    head = heads.MLP((32, 16), norm=None)
    assert state["queue"].shape == (32, 16)
    queue = np.asarray(state["queue"])
    for step in range(3):
        q = projection(cases.resnet, head, params, state["stats"], views[:, 0])
        k = projection(cases.resnet, head, state["teacher"], state["teacher_stats"], views[:, 1])
        value, out = loss(params, state, views, jax.random.key(step), step)
        np.testing.assert_allclose(value, reference.moco(q, k, queue, 0.2), rtol=1e-5)
        queue = queue.copy()
        queue[16 * (step % 2) : 16 * (step % 2) + 16] = l2_normalize(k)
        np.testing.assert_allclose(out.state["queue"], queue, atol=1e-5)
        assert int(out.state["pointer"]) == 16 * ((step + 1) % 2)
        params = jax.tree.map(lambda p: p + 0.1, params)
        state = after(params, out.state, step)
        expected = jax.tree.map(lambda t, p: 0.9 * t + 0.1 * p, out.state["teacher"], params)
        jax.tree.map(
            lambda got, want: np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6),
            state["teacher"],
            expected,
        )


@pytest.mark.parametrize("encoder", [cases.vit, cases.resnet])
def test_shuffled_keys_come_back_to_their_queries(encoder):
    """Without batch norm groups change nothing, however shuffled; with it each shuffle does."""
    values, queues = [], []
    for groups in (1, 4):
        _, variables, views, loss = start("moco_v2", encoder, groups=groups)
        for i in range(2):
            value, out = loss(*variables, views, jax.random.key(i), 0)
            values.append(value)
            queues.append(out.state["queue"])
    whole, again, first, second = values
    np.testing.assert_allclose(again, whole, rtol=1e-6)
    if encoder is cases.vit:
        np.testing.assert_allclose(values, whole, rtol=1e-5)
        for queue in queues:
            np.testing.assert_allclose(queue, queues[0], atol=1e-5)
    else:
        assert min(abs(first - whole), abs(second - whole), abs(first - second)) > 1e-4


def test_groups_have_batch_statistics_of_their_own():
    net = heads.MLP((8, 4))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(12, 5)), jnp.float32)
    params, stats = forward.start(net, jax.random.key(0), x)
    out, after = forward.forward_groups(net, params, stats, x, jax.random.key(1), 3)
    parts = [
        forward.forward(net, params, stats, x[i : i + 4], jax.random.key(1)) for i in (0, 4, 8)
    ]
    np.testing.assert_allclose(out, np.concatenate([part for part, _ in parts]), atol=1e-6)
    jax.tree.map(
        lambda got, *each: np.testing.assert_allclose(got, np.mean(each, axis=0), atol=1e-6),
        after,
        *[s for _, s in parts],
    )
    with pytest.raises(ValueError, match="groups must divide the batch of 12, got 5"):
        forward.forward_groups(net, params, stats, x, jax.random.key(1), 5)


def test_moco_v3_has_the_released_loss_and_momentum():
    _, (params, state), views, loss = method = start("moco_v3")
    plain = {"final_norm": "batch", "final_scale": False, "final_offset": False}
    parts = cases.resnet(), heads.MLP((32, 16), **plain)
    base, target = heads.JointEmbedding(*parts, heads.MLP((32, 16))), heads.JointEmbedding(*parts)
    state = state | {"teacher": jax.tree.map(lambda x: x + 0.01, state["teacher"])}
    q, k, stats, ema_stats = [], [], state["stats"], state["teacher_stats"]
    for i in range(2):
        made, stats = forward.forward(base, params, stats, views[:, i], jax.random.key(0))
        keys, ema_stats = forward.forward(
            target, state["teacher"], ema_stats, views[:, i], jax.random.key(0)
        )
        q, k = [*q, np.asarray(made.p)], [*k, np.asarray(keys.z)]
    value, out = loss(params, state, views, jax.random.key(0), 3)
    expected = reference.moco_v3(q[0], k[1], 0.5) + reference.moco_v3(q[1], k[0], 0.5)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    for got, want in ((out.state["stats"], stats), (out.state["teacher_stats"], ema_stats)):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), got, want)
    # main_moco.py adjust_moco_momentum, at the beginning of the next of 100 steps.
    m = 1 - 0.5 * (1 + np.cos(np.pi * 4 / 100)) * (1 - 0.9)
    student = np.asarray(params["projector"]["dense1"]["kernel"])
    after = method[0].after(params, out.state, jnp.asarray(3))
    moved = after["teacher"]["projector"]["dense1"]["kernel"]
    before = np.asarray(state["teacher"]["projector"]["dense1"]["kernel"])
    np.testing.assert_allclose(moved, m * before + (1 - m) * student, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("freeze", [True, False])
def test_moco_v3_freezes_the_patch_projection_of_a_vit(freeze):
    """No gradient, and weight decay does not shrink it either; the rest of the encoder learns."""
    method = cases.make(
        "moco_v3", cases.vit, options=cases.CASES["moco_v3"][1] | {"freeze_patches": freeze}
    )
    tx, batch = optax.chain(optax.add_decayed_weights(0.1), optax.sgd(0.1)), cases.batch()
    train = cases.first(method, tx, batch)
    after, _ = jax.jit(train_step.make_step(method, tx))(train, batch)
    moved = jax.tree.map(
        lambda a, b: float(jnp.max(jnp.abs(a - b))),
        train.params["encoder"],
        after.params["encoder"],
    )
    assert (max(jax.tree.leaves(moved["embed"])) == 0) == freeze
    assert min(moved["transformer"]["blocks_0"]["fc1"].values()) > 0
    views = jax.jit(method.views)(jax.random.key(1), batch)
    gradient, _ = jax.jit(jax.grad(method.loss, has_aux=True))(
        train.params, train.state, views, jax.random.key(2), 0
    )
    assert (jnp.max(jnp.abs(gradient["encoder"]["embed"]["kernel"])) == 0) == freeze


def test_moco_v3_heads_are_those_of_the_released_code():
    """By encoder: layers of the projector, and whether the predictor ends in a batch norm."""
    for encoder, layers, last in ((cases.resnet, 2, False), (cases.vit, 3, True)):
        method = cases.make("moco_v3", encoder)
        params, state = jax.eval_shape(method.init, jax.random.key(0), cases.batch())
        assert sum(name.startswith("dense") for name in params["projector"]) == layers
        assert f"norm{layers}" not in params["projector"]  # it learns nothing
        assert f"norm{layers}" in state["stats"]["batch_stats"]["projector"]
        assert ("norm2" in state["stats"]["batch_stats"]["predictor"]) == last
        assert "predictor" not in state["teacher"]


def test_nnclr_is_the_papers_pseudocode():
    """Loss and support set of three steps against numpy."""
    _, (params, state), views, loss = start("nnclr", queue=32)
    head = heads.MLP((32, 32, 16), final_norm="batch"), heads.MLP((32, 16), final_bias=True)
    net = heads.JointEmbedding(cases.resnet(), *head)
    queue = np.asarray(state["queue"])
    for step in range(3):
        z, p, stats = [], [], state["stats"]
        for i in range(2):
            made, stats = forward.forward(net, params, stats, views[:, i], jax.random.key(0))
            z, p = [*z, np.asarray(made.z)], [*p, np.asarray(made.p)]
        value, out = loss(params, state, views, jax.random.key(step), step)
        one, two = (
            reference.nnclr(reference.nearest(z[i], queue), p[1 - i], 0.2) for i in range(2)
        )
        np.testing.assert_allclose(value, one / 2 + two / 2, rtol=1e-4)
        queue = queue.copy()
        queue[16 * (step % 2) : 16 * (step % 2) + 16] = l2_normalize(z[0])
        np.testing.assert_allclose(out.state["queue"], queue, atol=1e-4)
        state, queue = out.state, np.asarray(out.state["queue"])
        params = jax.tree.map(lambda x: x * 0.9, params)


@pytest.mark.parametrize("name", ["moco_v2", "nnclr"])
def test_a_queue_that_does_not_fit_is_refused_when_the_step_is_traced(name):
    """By the size of the part that `accumulate` makes; `init` takes any batch."""
    method = cases.make(name, cases.vit, options=cases.CASES[name][1] | {"queue": 24})
    tx, batch = optax.sgd(0.1), cases.batch(16)
    one = jax.eval_shape(lambda b: cases.first(method, tx, b), cases.batch(1))
    train = jax.eval_shape(lambda b: cases.first(method, tx, b), batch)
    assert jax.tree.map(jnp.shape, one) == jax.tree.map(jnp.shape, train)
    with pytest.raises(ValueError, match="a queue of 24 and a batch of 16"):
        jax.eval_shape(train_step.make_step(method, tx), train, batch)
    jax.eval_shape(train_step.make_step(method, tx, accumulate=2), train, batch)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("dcl", {"temperature": 0.0}, "temperature must be > 0, got 0.0"),
        ("dcl", {"sigma": -1.0}, "sigma must be > 0, got -1.0"),
        ("moco_v2", {"temperature": -1.0}, "temperature must be > 0, got -1.0"),
        ("moco_v2", {"momentum": 1.1}, r"momentum must be in \[0, 1\], got 1.1"),
        ("moco_v2", {"queue": 0}, "queue must hold at least 1 embedding, got 0"),
        ("moco_v2", {"groups": 0}, "groups must be at least 1, got 0"),
        ("moco_v3", {"temperature": -1.0}, "temperature must be > 0, got -1.0"),
        ("moco_v3", {"momentum": -0.1}, r"momentum must be in \[0, 1\], got -0.1"),
        ("moco_v3", {"layers": 0}, "layers must be at least 1, got 0"),
        ("nnclr", {"temperature": 0.0}, "temperature must be > 0, got 0.0"),
        ("nnclr", {"queue": -1}, "queue must hold at least 1 embedding, got -1"),
    ],
)
def test_bad_options(name, options, message):
    with pytest.raises(ValueError, match=message):
        cases.make(name, cases.resnet, options=options)
