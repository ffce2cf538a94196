"""Methods that know labels."""

import cases
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jssl.train import step as train_step


def test_supervised_learns_the_labels_and_predicts_them():
    method, batch = cases.make("supervised", cases.resnet, options={}), cases.batch()
    tx = optax.sgd(0.1, momentum=0.9)
    train = cases.first(method, tx, batch)
    assert not np.any(method.predict(train.params, train.state, batch))  # a head of zeros
    step = jax.jit(train_step.make_step(method, tx))
    for _ in range(80):
        train, metrics = step(train, batch)
    assert metrics["accuracy"] > 0.8
    logits = jax.jit(method.predict)(train.params, train.state, batch)
    assert logits.shape == (16, 10)
    assert (np.argmax(logits, 1) == batch["label"]).mean() > 0.8


def test_supervised_leaves_unlabelled_examples_out():
    method, batch = cases.make("supervised", cases.vit, options={}), cases.batch()
    train = cases.first(method, optax.sgd(0.1), batch)

    @jax.jit
    def gradient(label):
        views = method.views(jax.random.key(0), batch | {"label": label})
        head = train.params["head"] | {"kernel": jnp.ones((24, 10)) * jnp.arange(10.0)[None]}
        params = train.params | {"head": head}
        return jax.grad(lambda p: method.loss(p, train.state, views, jax.random.key(1), 0)[0])(
            params
        )

    none = gradient(jnp.full(16, -1, jnp.int32))
    assert not any(np.any(g) for g in jax.tree.leaves(none))
    assert any(np.any(g) for g in jax.tree.leaves(gradient(batch["label"])))


def test_held_statistics_are_used_and_do_not_move():
    held = cases.make("supervised", cases.resnet, options={"freeze_stats": True})
    free, batch = cases.make("supervised", cases.resnet, options={}), cases.batch()
    train = cases.first(held, optax.sgd(0.1), batch)
    # Of a head of zeros every loss would be the same.
    params = train.params | {"head": jax.tree.map(jnp.ones_like, train.params["head"])}
    params["head"]["kernel"] *= jnp.arange(10.0)[None]
    state = jax.tree.map(lambda x: x + 0.5, train.state)

    @jax.jit
    def losses(params, state):
        views = held.views(jax.random.key(0), batch)
        key = jax.random.key(1)
        return tuple(method.loss(params, state, views, key, 0) for method in (held, free))

    (value, out), (other, moved) = losses(params, state)
    same = jax.tree.map(lambda x, y: bool(jnp.all(x == y)), out.state, state)
    assert all(jax.tree.leaves(same))
    same = jax.tree.map(lambda x, y: bool(jnp.all(x == y)), moved.state, state)
    assert not any(jax.tree.leaves(same))
    (again, _), _ = losses(params, jax.tree.map(lambda x: x + 0.5, state))
    assert len({float(value), float(other), float(again)}) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label_smoothing": 1.5}, "label_smoothing must be in [0, 1], got 1.5"),
        ({"mixup": -0.1}, "mixup must be at least 0, got -0.1"),
        ({"cutmix": -1.0}, "cutmix must be at least 0, got -1.0"),
    ],
)
def test_bad_options_are_one_clear_line(options, message):
    with pytest.raises(ValueError, match=r".") as caught:
        cases.make("supervised", cases.vit, options=options)
    assert str(caught.value) == message
