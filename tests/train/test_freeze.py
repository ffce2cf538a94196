"""Parameters that learn from a step of their own on, or never."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tiny

from jssl.train import step as train_step
from jssl.train.freeze import NEVER, freeze

TX = optax.sgd(0.1, momentum=0.9)


def test_they_learn_from_their_step_on_in_one_program():
    method, stream = freeze(tiny.method(), lambda params: {"w": 2}), tiny.Stream()
    train = train_step.init(method, TX, 0, stream.batch(0))
    step, first = jax.jit(train_step.make_step(method, TX)), train.params["w"]
    for done in range(1, 5):
        train, _ = step(train, stream.batch(done))
        assert bool(np.any(train.params["w"] != first)) == (done > 2)
        assert any(np.any(x) for x in jax.tree.leaves(train.opt_state)) == (done > 2)
    assert step._cache_size() == 1


def test_what_a_method_does_to_them_by_other_means_is_undone_too():
    stream = tiny.Stream()
    moving = tiny.method()._replace(
        adjust=lambda before, params, state, step: {"w": before["w"] + 1}
    )
    for begin, by in ((0, 1.0), (NEVER, 0.0), (1, 0.0)):
        method = freeze(moving, lambda params, begin=begin: {"w": begin})
        train = train_step.init(method, TX, 0, stream.batch(0))
        after, _ = train_step.make_step(method, TX)(train, stream.batch(0))
        np.testing.assert_array_equal(after.params["w"], train.params["w"] + jnp.float32(by))
