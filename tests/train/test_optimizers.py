"""Optimizers against their papers' rules, masks, schedules."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jssl.train import optimizers, schedules

PARAMS = {
    "dense": {"kernel": jnp.asarray([[3.0, 4.0]]), "bias": jnp.asarray([2.0])},
    "norm": {"scale": jnp.asarray([1.0])},
    "cls_token": jnp.ones((1, 1, 2)),
}
GRADS = jax.tree.map(lambda p: 0.5 * jnp.ones_like(p), PARAMS)


@pytest.fixture(autouse=True)
def _standard_promotion():
    """optax's own schedules and bias corrections mix float and int."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def run(tx, steps=3):
    params, state = PARAMS, tx.init(PARAMS)
    for _ in range(steps):
        updates, state = tx.update(GRADS, state, params)
        params = optax.apply_updates(params, updates)
    return params


def test_only_kernels_are_weights_even_when_blocks_are_stacked():
    stacked = {"block": {"kernel": jnp.ones((4, 2, 2)), "bias": jnp.ones((4, 2))}}
    assert optimizers.is_weight(stacked) == {"block": {"kernel": True, "bias": False}}
    found = optimizers.is_weight(PARAMS)
    assert found == {
        "dense": {"kernel": True, "bias": False},
        "norm": {"scale": False},
        "cls_token": False,
    }


def test_lars_follows_the_released_simclr_optimizer():
    """google-research/simclr lars_optimizer.py with classic momentum, transcribed."""
    lr, momentum, decay, eeta = 0.2, 0.9, 1e-2, 0.001
    got = run(optimizers.lars(lr, momentum=momentum, weight_decay=decay))
    w, v = np.asarray([[3.0, 4.0]]), 0.0
    b, u = np.asarray([2.0]), 0.0
    for _ in range(3):
        g = 0.5 + decay * w
        trust = eeta * np.linalg.norm(w) / np.linalg.norm(g)
        v = momentum * v + lr * trust * g
        w = w - v
        u = momentum * u + lr * 0.5  # no decay, no adaptation
        b = b - u
    np.testing.assert_allclose(got["dense"]["kernel"], w, rtol=1e-5)
    np.testing.assert_allclose(got["dense"]["bias"], b, rtol=1e-5)


def test_sgd_decays_weights_alone():
    got = run(optimizers.sgd(0.1, momentum=0.0, weight_decay=0.5), steps=1)
    np.testing.assert_allclose(got["dense"]["kernel"], [[3 - 0.1 * 2, 4 - 0.1 * 2.5]], rtol=1e-6)
    np.testing.assert_allclose(got["dense"]["bias"], [2 - 0.05], rtol=1e-6)


def test_adamw_decays_weights_alone():
    with_decay = run(optimizers.adamw(0.1, weight_decay=0.5), steps=1)
    without = run(optimizers.adamw(0.1, weight_decay=0.0), steps=1)
    np.testing.assert_allclose(
        without["dense"]["kernel"] - with_decay["dense"]["kernel"],
        0.1 * 0.5 * PARAMS["dense"]["kernel"],
        rtol=1e-4,
    )
    np.testing.assert_array_equal(with_decay["cls_token"], without["cls_token"])


def test_clip_bounds_the_global_norm():
    tx = optimizers.build("sgd", 1.0, clip=0.1, momentum=0.0)
    updates, _ = tx.update(GRADS, tx.init(PARAMS), PARAMS)
    np.testing.assert_allclose(optax.tree.norm(updates), 0.1, rtol=1e-5)
    with pytest.raises(ValueError, match=r"optimizer.clip must be > 0, got 0"):
        optimizers.build("sgd", 1.0, clip=0)


def test_clip_each_bounds_the_norm_of_each_array():
    tx = optimizers.build("sgd", 1.0, clip_each=0.1, momentum=0.0)
    grads = jax.tree.map(jnp.array, GRADS)
    grads["dense"]["bias"] *= 1e-3
    updates, _ = tx.update(grads, tx.init(PARAMS), PARAMS)
    np.testing.assert_allclose(jnp.linalg.norm(updates["dense"]["kernel"].ravel()), 0.1, rtol=1e-4)
    np.testing.assert_allclose(updates["dense"]["bias"], -grads["dense"]["bias"])
    with pytest.raises(ValueError, match=r"optimizer.clip_each must be > 0, got -1"):
        optimizers.build("sgd", 1.0, clip_each=-1)


def test_warmup_cosine():
    schedule = schedules.warmup_cosine(2.0, steps=110, warmup=10, final=0.5)
    np.testing.assert_allclose(
        [schedule(s) for s in (0, 5, 10, 60, 110)], [0, 1, 2, 1.25, 0.5], rtol=1e-6, atol=1e-7
    )
    np.testing.assert_allclose(schedules.warmup_cosine(2.0, steps=10)(0), 2.0)
    with pytest.raises(ValueError, match="warm-up must be shorter than the 10 steps"):
        schedules.warmup_cosine(2.0, steps=10, warmup=10)


def test_a_branch_keeps_its_constant_learning_rate_and_the_rest_follows_the_schedule():
    falling = schedules.warmup_cosine(1.0, steps=2)
    tx = optimizers.build("sgd", falling, constant={"norm": 1.0}, momentum=0.0, weight_decay=0.5)
    state, moves = tx.init(PARAMS), []
    for _ in range(2):
        updates, state = tx.update(GRADS, state, PARAMS)
        moves.append(updates)
    np.testing.assert_allclose(moves[1]["cls_token"], moves[0]["cls_token"] / 2)
    np.testing.assert_allclose(moves[1]["norm"]["scale"], moves[0]["norm"]["scale"])
    np.testing.assert_allclose(moves[0]["dense"]["kernel"], [[-0.5 - 1.5, -0.5 - 2]])
    with pytest.raises(ValueError, match=r"names 'predictor', the parameters have dense, norm"):
        optimizers.build("sgd", 1.0, constant={"predictor": 1.0}).init(PARAMS)


def test_weight_decay_on_a_cosine():
    decay = schedules.cosine(0.2, 1.0, steps=2)
    np.testing.assert_allclose([decay(s) for s in (0, 1, 2)], [0.2, 0.6, 1.0], rtol=1e-6)
    tx = optimizers.adamw(1.0, weight_decay=decay)
    state, kernels = tx.init(PARAMS), []
    for _ in range(2):
        updates, state = tx.update(jax.tree.map(jnp.zeros_like, GRADS), state, PARAMS)
        kernels.append(updates["dense"]["kernel"])
    np.testing.assert_allclose(kernels[0], -0.2 * PARAMS["dense"]["kernel"], rtol=1e-6)
    np.testing.assert_allclose(kernels[1], -0.6 * PARAMS["dense"]["kernel"], rtol=1e-6)
