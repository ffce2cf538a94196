"""The ladder of the design, for every method: one suite, no copies."""

import functools

import cases
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jssl import methods
from jssl.method import Features, Vars
from jssl.nn import forward
from jssl.train import checkpoint, loop, shard
from jssl.train import step as train_step

SGD = optax.sgd(0.05)
MOMENTUM = optax.sgd(0.05, momentum=0.9)


def cells(encoders_of, often):
    """Parameters ``name, encoder``; the tests of a cell share a process and what it compiled."""
    params = []
    for (name, encoder), label in zip(cases.CELLS, cases.IDS, strict=True):
        if encoder in encoders_of(name):
            marks = [pytest.mark.xdist_group(label)]
            if name not in often:
                marks.append(pytest.mark.long)
            params.append(pytest.param(name, encoder, id=label, marks=marks))
    return pytest.mark.parametrize(("name", "encoder"), params)


every_cell = cells(lambda name: cases.CASES[name][0], often=cases.CASES)
every_first_cell = cells(lambda name: cases.CASES[name][0][:1], often=cases.CASES)
every_compiled_cell = cells(lambda name: cases.CASES[name][0], often=cases.OFTEN)
# What does not depend on the encoder is tried with the first of each method.
every_method = cells(lambda name: cases.CASES[name][0][:1], often=cases.OFTEN)


def test_every_registered_method_is_on_the_ladder():
    assert cases.CASES.keys() == methods.METHODS.keys()


def max_difference(a, b):
    """Greatest difference of two trees of one structure, relative to the size of each array."""

    def one(x, y):
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
        return np.max(np.abs(x - y), initial=0) / max(np.max(np.abs(y), initial=0), 1e-3)

    assert jax.tree.structure(a) == jax.tree.structure(b)
    return max(map(one, jax.tree.leaves(a), jax.tree.leaves(b)))


@every_cell
def test_interface(name, encoder):
    """Vars, Out, Features have the promised structure, dtypes and shapes."""
    method, batch = cases.make(name, encoder), cases.batch()
    train = jax.eval_shape(lambda b: train_step.init(method, SGD, 0, b), batch)
    after, metrics = jax.eval_shape(train_step.make_step(method, SGD), train, batch)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(
        lambda x: (x.shape, x.dtype), train
    )
    assert {"loss", "grad_norm"} <= metrics.keys()
    assert all(m.shape == () for m in metrics.values())
    assert all(p.dtype == jnp.float32 for p in jax.tree.leaves(train.params))
    features = jax.eval_shape(method.embed, train.params, train.state, batch)
    assert isinstance(features, Features)
    assert features.pooled.ndim == 2
    assert features.pooled.dtype == jnp.float32


@functools.cache
def program(name, encoder):
    """A method with its compiled init and step: compiled once for all the tests below."""
    method = cases.make(name, encoder)
    init = jax.jit(lambda key, batch: method.init(key, batch))
    first = jax.jit(train_step.init, static_argnums=(0, 1, 2))
    return (
        method,
        init,
        functools.partial(first, method, SGD),
        jax.jit(train_step.make_step(method, SGD)),
    )


@every_method
def test_init_is_a_function_of_the_key_and_of_shapes(name, encoder):
    _, init, _, _ = program(name, encoder)
    first = init(jax.random.key(0), cases.batch(seed=1))
    assert isinstance(first, Vars)
    again = init(jax.random.key(0), cases.batch(seed=2))
    other = init(jax.random.key(1), cases.batch(seed=1))
    assert max_difference(again, first) == 0
    assert max_difference(other.params, first.params) > 0


@every_first_cell
@pytest.mark.parametrize("channels", [4])
def test_any_channel_count(name, encoder, channels):
    method, batch = cases.make(name, encoder), cases.batch(n=4, channels=channels)
    if name in cases.OF_COLORS:
        with pytest.raises(ValueError, match=f"needs RGB images, got {channels} channel"):
            jax.eval_shape(method.init, jax.random.key(0), batch)
        return
    train = jax.eval_shape(lambda b: train_step.init(method, SGD, 0, b), batch)
    jax.eval_shape(train_step.make_step(method, SGD), train, batch)


@every_method
def test_one_device_equals_eight(name, encoder, x64):
    """Rung 3: params, state and metrics, float64 and SGD, to 1e-12 relative."""
    method, batch = cases.make(name, encoder, dtype=jnp.float64), cases.batch()
    results = []
    # The batch lies over all 8; parameters are split over 4 of them.
    for devices, fsdp in ((1, 1), (8, 4)):
        mesh = shard.make_mesh(fsdp, jax.devices()[:devices])
        first = lambda b: train_step.init(method, SGD, 0, b)  # noqa: E731
        shardings = shard.state_sharding(mesh, jax.eval_shape(first, batch), min_size=64)
        train = jax.jit(first, out_shardings=shardings)(batch)
        assert all(x.dtype == jnp.float64 for x in jax.tree.leaves(train.params))
        step = jax.jit(
            train_step.make_step(method, SGD), out_shardings=(shardings, shard.replicated(mesh))
        )
        sharded = jax.device_put(batch, shard.batch_sharding(mesh))
        for _ in range(2):
            train, metrics = step(train, sharded)
        results.append(jax.device_get((train.params, train.state, metrics)))
    assert max_difference(results[1], results[0]) < 1e-12


@every_compiled_cell
def test_one_program_and_no_host_transfer(name, encoder):
    """Rung 5: no retrace after the first step, nothing leaves or enters the device within it."""
    _, _, first, step = program(name, encoder)
    batches = [jax.device_put(cases.batch(seed=i)) for i in range(3)]
    train, _ = step(first(0, batches[0]), batches[0])
    programs = step._cache_size()
    with jax.transfer_guard("disallow"):
        for batch in batches[1:]:
            train, metrics = step(train, batch)
    assert step._cache_size() == programs == 1
    assert int(train.step) == 3
    assert np.isfinite(metrics["loss"])


@every_method
def test_same_seed_same_bits(name, encoder):
    _, _, first, step = program(name, encoder)
    batch = cases.batch()

    def run(seed):
        return jax.device_get(step(first(seed, batch), batch)[0])

    assert max_difference(run(3), run(3)) == 0
    assert max_difference(run(3).params, run(4).params) > 0


@every_method
def test_embed_does_not_depend_on_the_rest_of_the_batch(name, encoder):
    method, init, _, _ = program(name, encoder)
    batch = cases.batch()
    params, state = init(jax.random.key(0), batch)
    embed = jax.jit(lambda batch: method.embed(params, state, batch).pooled)
    part = embed(jax.tree.map(lambda x: x[:3], batch))
    np.testing.assert_allclose(part, embed(batch)[:3], rtol=1e-4, atol=1e-5)


@every_method
def test_the_encoder_of_embed_can_be_taken_along(name, encoder):
    """What transfer begins with: the very variables with which ``embed`` applies its encoder."""
    method, init, _, _ = program(name, encoder)
    batch = cases.batch()
    if name in cases.OF_COLORS:  # whose encoder is given images without colour
        batch |= {"image": batch["image"][..., :1].repeat(3, axis=-1)}
    params, state = init(jax.random.key(0), batch)
    alone = encoder(param_dtype=jnp.float32)
    variables = forward.variables_within(method.embed, alone, params, state, batch)
    begun = cases.make("supervised", encoder, begin=variables)
    drawn = jax.jit(begun.init)(jax.random.key(1), batch)
    np.testing.assert_allclose(
        jax.jit(begun.embed)(*drawn, batch).pooled,
        jax.jit(method.embed)(params, state, batch).pooled,
        rtol=1e-4 if name in cases.OF_COLORS else 0,
        atol=1e-5 if name in cases.OF_COLORS else 0,
    )


@every_method
def test_bfloat16_computes_with_float32_parameters(name, encoder):
    _, _, first, step = program(name, encoder)
    batch = cases.batch()
    _, expected = step(first(0, batch), batch)
    narrow = cases.make(name, encoder, dtype=jnp.bfloat16)
    # The gradient of jax's own attention mixes dtypes.
    with jax.numpy_dtype_promotion("standard"):
        train = jax.jit(lambda b: train_step.init(narrow, SGD, 0, b))(batch)
        assert all(p.dtype == jnp.float32 for p in jax.tree.leaves(train.params))
        train, metrics = jax.jit(train_step.make_step(narrow, SGD))(train, batch)
    assert metrics["loss"].dtype == jnp.float32
    # A cosine of random vectors starts at zero, of which 5 % is nothing.
    np.testing.assert_allclose(metrics["loss"], expected["loss"], rtol=0.05, atol=2e-3)


@pytest.mark.parametrize("name", ["simclr", "byol"])
def test_accumulation_is_the_mean_over_parts(name):
    """Against two hand-made half batches with the state carried from one to the other."""
    method, _, first, _ = program(name, cases.resnet)
    batch = cases.batch()
    train = first(0, batch)
    got, metrics = jax.jit(train_step.make_step(method, SGD, accumulate=2))(train, batch)
    keys = jax.random.split(jax.random.fold_in(train.key, 0), 2)

    @jax.jit
    def one(state, half, key):
        k_views, k_loss = jax.random.split(key)
        views = method.views(k_views, half)
        (loss, out), grad = jax.value_and_grad(method.loss, has_aux=True)(
            train.params, state, views, k_loss, train.step
        )
        return out.state, grad, loss

    state, grads, losses = train.state, [], []
    for i in range(2):
        half = jax.tree.map(lambda x, i=i: x[i::2], batch)
        state, grad, loss = one(state, half, keys[i])
        grads, losses = [*grads, grad], [*losses, loss]
    mean = jax.tree.map(lambda a, b: (a + b) / 2, *grads)
    expected = jax.tree.map(lambda p, g: p - 0.05 * g, train.params, mean)
    assert max_difference(got.params, expected) < 1e-4
    assert max_difference(got.state, method.after(expected, state, train.step)) < 1e-4
    np.testing.assert_allclose(metrics["loss"], np.mean(losses), rtol=1e-4)


class Stream:
    """Batches that are a function of the step; pulls the plug before a step if told to."""

    steps_per_epoch, batch_size = 2, 16

    def __init__(self, unplug=None):
        self.unplug = unplug

    def batch(self, step):
        if step == self.unplug:
            raise OSError("pulled plug")
        return cases.batch(seed=step)

    def state(self):
        return {}

    def restore(self, state):
        assert state == {}


@every_method
def test_killed_and_resumed_is_never_stopped_bit_for_bit(name, encoder, tmp_path):
    """Rung 4: params, state and optimizer state after a crash, from the checkpoint before it."""
    method = program(name, encoder)[0]

    def fit(folder, stream):
        store = checkpoint.Checkpoints(folder, identity={"method": name})
        try:
            return loop.fit(method, MOMENTUM, stream, steps=4, checkpoints=store, quiet=True)
        finally:
            store.close()

    whole = fit(tmp_path / "whole", Stream())
    with pytest.raises(OSError, match="pulled plug"):
        fit(tmp_path / "part", Stream(unplug=3))
    assert max_difference(fit(tmp_path / "part", Stream()), whole) == 0


FILLING = [
    (name, encoders[0])
    for name, (encoders, _) in cases.CASES.items()
    if cases.make(name, encoders[0]).reconstruct is not None
]


@pytest.mark.parametrize(("name", "encoder"), FILLING, ids=[name for name, _ in FILLING])
def test_reconstruct_fills_in_what_was_hidden_and_nothing_else(name, encoder):
    """Pictures in [0, 1]: original, then what was seen if not all, then what was filled in."""
    method, init, _, _ = program(name, encoder)
    batch = cases.batch()
    params, state = init(jax.random.key(0), batch)
    names = []

    @jax.jit
    def fill(key, batch):
        views = method.views(key, batch)
        filled = method.reconstruct(params, state, views, key)
        names[:] = filled
        return views, tuple(filled.values())

    views, pictures = fill(jax.random.key(1), batch)
    original, *given, filled = map(np.asarray, pictures)
    assert all(p.shape == (16, cases.SIZE, cases.SIZE, 3) for p in pictures)
    assert all(p.min() >= 0 and p.max() <= 1 for p in pictures)
    assert names[0] == "original"
    assert names[-1].split(" (")[0] == "reconstruction"
    assert names[1:-1] in ([], ["masked"], ["noisy"], ["gray"])
    hidden = np.ones(original.shape[:3], bool)
    if names[1] == "masked":
        hidden = np.asarray(views["mask"])
        if hidden.ndim == 2:  # of patches
            side = round(hidden.shape[1] ** 0.5)
            hidden = hidden.reshape(16, side, side)
            hidden = hidden.repeat(cases.SIZE // side, 1).repeat(cases.SIZE // side, 2)
        assert 0 < hidden.mean() < 1
        np.testing.assert_allclose(given[0][~hidden], original[~hidden], atol=1e-6)
        np.testing.assert_allclose(filled[~hidden], original[~hidden], atol=1e-6)
        np.testing.assert_allclose(given[0][hidden], cases.MEAN, atol=1e-6)
    elif given:
        assert (given[0] != original).mean() > 0.1
    assert (filled[hidden] != original[hidden]).mean() > 0.9
