"""Methods that know labels."""

import cases
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jssl.train import step as train_step


def test_supervised_learns_the_labels_and_predicts_them():
    method, batch = cases.make("supervised", cases.resnet), cases.batch()
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
    method, batch = cases.make("supervised", cases.vit), cases.batch()
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
