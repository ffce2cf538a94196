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
from jssl.train import step as train_step


def start(name, encoder=cases.resnet, n=16, **options):
    """A small method, its variables, the views of a batch and its jitted loss."""
    method = cases.make(name, encoder, options=cases.CASES[name][1] | options)
    batch = cases.batch(n)
    variables = jax.jit(method.init)(jax.random.key(0), batch)
    views = jax.jit(method.views)(jax.random.key(1), batch)
    return method, variables, views, jax.jit(method.loss)


def test_dcl_weighted_is_dclw(monkeypatch):
    seen = {}

    def loss(z1, z2, temperature, sigma):
        seen.update(temperature=temperature, sigma=sigma)
        return unpatched(z1, z2, temperature, sigma)

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


@pytest.mark.parametrize("name", ["moco_v2"])
def test_a_queue_that_does_not_fit_is_refused_when_the_step_is_traced(name):
    """By the size of the part that `accumulate` makes; `init` takes any batch."""
    method = cases.make(name, cases.vit, options=cases.CASES[name][1] | {"queue": 24})
    tx, batch = optax.sgd(0.1), cases.batch(16)
    one = jax.eval_shape(lambda b: train_step.init(method, tx, 0, b), cases.batch(1))
    train = jax.eval_shape(lambda b: train_step.init(method, tx, 0, b), batch)
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
    ],
)
def test_bad_options(name, options, message):
    with pytest.raises(ValueError, match=message):
        cases.make(name, cases.resnet, options=options)
