"""Rung 6: a few dozen steps on real images beat a random encoder, and nothing collapses."""

import functools

import cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl import data, methods
from jssl.evals import collapse, features, knn
from jssl.train import optimizers
from jssl.train import step as train_step

STEPS, BATCH = 60, 64

# Optimizer and least gain in kNN accuracy over the random encoder.
RECIPES = {
    "simclr": (optimizers.sgd(0.2), 0.05),
    "byol": (optimizers.sgd(0.2), 0.05),
    "mae": (optimizers.adamw(2e-3), 0.02),
}


@functools.cache
def bundled():
    fit, held_out = (
        data.read_all(data.open_source("bundled", limit=3000, holdout=0.2, part=part))
        for part in ("fit", "holdout")
    )
    stream = data.open_stream(data.open_source("bundled", limit=3000), BATCH, seed=0)
    return fit, held_out, stream


def measure(method, params, state):
    """kNN accuracy, effective rank of the centred embedding, deviation."""
    fit, held_out, _ = bundled()
    embed = jax.tree_util.Partial(method.embed, params, state)
    known, asked = features.extract(embed, fit), features.extract(embed, held_out)
    accuracy = knn.knn(known, fit["label"], asked, held_out["label"], num_classes=10)
    centred = jnp.asarray(asked - asked.mean(axis=0, keepdims=True))
    rank, deviation = collapse.effective_rank(centred), collapse.deviation(jnp.asarray(asked))
    return accuracy, float(rank), float(deviation), asked.shape[1]


def train(method, tx):
    _, _, stream = bundled()
    # optax's bias correction mixes float and int.
    with jax.numpy_dtype_promotion("standard"):
        first = jax.jit(lambda b: train_step.init(method, tx, 0, b))(stream.batch(0))
        state = jax.tree.map(jnp.copy, first)
        step = jax.jit(train_step.make_step(method, tx), donate_argnums=0)
        losses = []
        for i in range(STEPS):
            state, metrics = step(state, stream.batch(i))
            losses.append(float(metrics["loss"]))
    return first, state, losses


def test_every_method_has_a_recipe():
    assert RECIPES.keys() == methods.METHODS.keys()


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_learns(name):
    tx, gain = RECIPES[name]
    method = cases.make(name, cases.CASES[name][0][0], size=28, scale=(0.3, 1.0), steps=STEPS)
    first, last, losses = train(method, tx)
    before, *_ = measure(method, first.params, first.state)
    after, rank, deviation, dimensions = measure(method, last.params, last.state)
    assert after > before + gain
    assert after > 0.6
    assert np.mean(losses[-10:]) < np.mean(losses[:10])
    assert rank > 3
    assert collapse.collapsed(rank, deviation, dimensions) is None


@pytest.mark.slow
def test_a_forced_collapse_is_called():
    """BYOL without predictor and with the student as its own teacher (table 5 of the paper)."""
    options = {"hidden": 32, "out": 16, "tau": 0.0, "predict": False}
    method = cases.make("byol", cases.resnet, size=28, steps=STEPS, options=options)
    _, last, losses = train(method, optimizers.sgd(0.2))
    assert losses[-1] < 1e-3  # it found the trivial answer
    _, rank, deviation, dimensions = measure(method, last.params, last.state)
    assert collapse.collapsed(rank, deviation, dimensions) is not None
