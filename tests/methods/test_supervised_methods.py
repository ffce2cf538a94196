"""Methods that know labels."""

import cases
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jssl import data
from jssl.cli import runs
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
        ({"task": "segments"},
         "task must be one of classification, multi_label, regression, got 'segments'"),
        ({"task": "regression", "cutmix": 1.0},
         "cutmix and label_smoothing must be 0 where task=regression"),
        ({"task": "regression"},
         "task=regression needs data with an array `target` [n k], there is none"),
        ({"cutmix": -1.0}, "cutmix must be at least 0, got -1.0"),
    ],
)  # fmt: skip
def test_bad_options_are_one_clear_line(options, message):
    def begin(batch):
        method = cases.make("supervised", cases.vit, options=options)
        return method.init(jax.random.key(0), batch)

    with pytest.raises(ValueError, match=r".") as caught:
        jax.eval_shape(begin, cases.batch(n=2))
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "task", ["multi_label", pytest.param("regression", marks=pytest.mark.long)]
)
def test_targets_of_a_file_are_learned_where_they_are_known(task, tmp_path):
    batch = jax.device_get(cases.batch())
    target = np.random.default_rng(0).integers(0, 2, (16, 3)).astype(np.float32)
    target[5, 1] = np.nan
    np.savez(tmp_path / "told.npz", image=batch["image"], target=target)
    source = data.open_source(f"arrays:{tmp_path}/told.npz")
    assert runs.describe_example(source)["target"] == [[3], "float32"]
    assert source.num_classes == 0
    read = data.read_all(source)
    np.testing.assert_array_equal(read["target"], target)

    method = cases.make("supervised", cases.resnet, options={"task": task})
    tx, batch = optax.sgd(0.1, momentum=0.9), jax.tree.map(jnp.asarray, read)
    train = cases.first(method, tx, batch)
    assert train.params["head"]["bias"].shape == (3,)
    step = jax.jit(train_step.make_step(method, tx))
    losses = []
    for _ in range(60):
        train, metrics = step(train, batch)
        losses.append(float(metrics["loss"]))
    # Without knowledge the head of zeros says 1/2 of all labels, and 0 of all values.
    first = np.log(2) if task == "multi_label" else np.nanmean(target**2)
    np.testing.assert_allclose(losses[0], first, rtol=1e-5)
    assert losses[-1] < 0.6 * first
    assert method.predict(train.params, train.state, batch).shape == (16, 3)
