"""TS2Vec: segments told by a mask are segments cut out, its loss, its average of weights;
PatchTST: what is asked for, and that channels and hidden patches are not seen.
"""

import cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from references import series as reference

from jssl import methods
from jssl.evals import knn
from jssl.methods.patchtst import Filling
from jssl.methods.ts2vec import segments
from jssl.nn import encoders
from jssl.nn.series import DilatedConv
from jssl.train import optimizers
from jssl.train import step as train_step


def test_ts2vec_is_the_contrast_of_two_segments_cut_out(x64):
    """Against the encoder applied to the segments themselves, and the authors' loss."""
    method = cases.make("ts2vec", cases.dilated, dtype=jnp.float64)
    batch = cases.batch(n=3)
    batch["series"] = batch["series"].astype(jnp.float64)
    params, state = jax.jit(method.init)(jax.random.key(0), batch)
    views = jax.jit(method.views)(jax.random.key(2), batch)
    a1, a2, b1, b2 = map(int, views["bounds"])
    net = cases.dilated(dtype=jnp.float64, param_dtype=jnp.float64)

    def cut(view, start, end):
        x = {name: views[name][:, start:end] for name in ("series", "observed")}
        keep = views["keep"][:, view, start:end]
        return np.asarray(net.apply({"params": params}, x, keep=keep).tokens)

    first, second = cut(0, a1, b1)[:, a2 - a1 :], cut(1, a2, b2)[:, : b1 - a2]
    loss = jax.jit(lambda p: method.loss(p, state, views, jax.random.key(0), jnp.int32(0))[0])
    np.testing.assert_allclose(loss(params), reference.hierarchical(first, second), rtol=1e-10)
    assert (a1, b2) != (a2, b1)
    assert np.abs(first - second).max() > 1e-3


def test_segments_overlap_and_can_be_any(x64):
    bounds = jax.vmap(lambda key: jnp.stack(segments(key, 5)))(
        jax.random.split(jax.random.key(0), 500)
    )
    a1, a2, b1, b2 = np.asarray(bounds).T
    assert np.all((a1 >= 0) & (a1 <= a2) & (a2 + 2 <= b1) & (b1 <= b2) & (b2 <= 5))
    assert set(b1 - a2) == {2, 3, 4, 5}
    assert set(a1) == {0, 1, 2, 3}


def test_every_row_has_segments_of_its_own_place():
    method = cases.make("ts2vec", cases.dilated)
    batch = cases.batch(n=16)
    t = cases.STEPS
    batch["series"] = jnp.broadcast_to(jnp.arange(t, dtype=jnp.float32)[None, :, None], (16, t, 3))
    seen = set()
    for seed in range(4):
        views = jax.jit(method.views)(jax.random.key(seed), batch)
        a1, _, _, b2 = map(int, views["bounds"])
        x = np.asarray(views["series"])[:, a1:b2, 0]
        np.testing.assert_array_equal(np.diff(x, axis=1), 1)
        seen.add(len(set(x[:, 0])))
        assert 0 < np.mean(np.asarray(views["keep"])) < 1
    assert max(seen) > 1


def test_what_is_not_observed_changes_nothing_and_is_no_observed_zero():
    method = cases.make("ts2vec", cases.dilated)
    batch = cases.batch(n=2)
    params, state = jax.jit(method.init)(jax.random.key(0), batch)
    embed = jax.jit(lambda b: method.embed(params, state, b).tokens)
    hidden = batch | {"observed": batch["observed"].at[:, 5].set(False)}
    other = hidden | {"series": hidden["series"].at[:, 5].set(99.0)}
    np.testing.assert_array_equal(embed(hidden), embed(other))
    zero = batch | {"series": batch["series"].at[:, 5].set(0.0)}
    assert np.abs(np.asarray(embed(hidden) - embed(batch))).max() > 1e-3
    moved = jax.tree.map(lambda p: p + 0.1, state)  # a bias, without which 0 is what is masked
    embed = jax.jit(lambda b: method.embed(params, moved, b).tokens)
    assert np.abs(np.asarray(embed(hidden) - embed(zero))).max() > 1e-3


def test_what_embeds_is_the_mean_of_all_weights():
    method = cases.make("ts2vec", cases.dilated)
    weights = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    state = {"average": {"w": jnp.asarray(weights[0])}}
    for step, w in enumerate(weights[1:]):
        state = method.after({"w": jnp.asarray(w)}, state, jnp.int32(step))
    np.testing.assert_allclose(state["average"]["w"], weights.mean(0), rtol=1e-5)


def test_encoders_and_options_that_do_not_fit():
    with pytest.raises(ValueError, match="ts2vec needs a DilatedConvs encoder, got a ResNet"):
        methods.ts2vec(cases.resnet(), lambda batch: batch)
    with pytest.raises(ValueError, match=r"keep must be in \[0, 1\], got 2"):
        methods.ts2vec(cases.dilated(), lambda batch: batch, keep=2)
    with pytest.raises(ValueError, match="kernel must be odd, got 4"):
        encoders.build("dilated", kernel=4)


@pytest.mark.parametrize("t", [1, 3, 4, 9])
def test_taps_beyond_the_series_are_those_of_the_whole_convolution(t, x64):
    init = jax.nn.initializers.normal(dtype=jnp.float64)
    net = DilatedConv(3, 5, 2, init, jnp.float64)
    x = jax.random.normal(jax.random.key(0), (2, t, 4), jnp.float64)
    params = net.init(jax.random.key(1), x)["params"]
    padded, kernel = np.pad(x, ((0, 0), (4, 4), (0, 0))), np.asarray(params["kernel"])
    expected = sum(padded[:, 2 * j : 2 * j + t] @ kernel[j] for j in range(5))
    np.testing.assert_allclose(net.apply({"params": params}, x), expected, rtol=1e-12, atol=1e-14)


def test_patchtst_is_the_error_of_hidden_values_that_there_are(x64):
    """Against numpy, window by window; the network's own output is taken as it is."""
    method = cases.make("patchtst", cases.patch_series, dtype=jnp.float64)
    batch = cases.batch(n=3)
    batch["series"] = batch["series"].astype(jnp.float64)
    params, state = jax.jit(method.init)(jax.random.key(0), batch)
    views = jax.jit(method.views)(jax.random.key(1), batch)
    net = Filling(cases.patch_series(dtype=jnp.float64, param_dtype=jnp.float64), 0.0)
    x = {name: views[name] for name in ("series", "observed")}
    filled = jax.jit(lambda p: net.apply({"params": p}, x, mask=views["mask"]))(params)
    filled, mask = np.asarray(filled), np.asarray(views["mask"])
    assert mask.shape == (3, 3, 4)
    assert np.all(mask.sum(2) == 2)  # int(4 * 0.6) are left
    errors = []
    for i in range(3):
        for c in range(3):
            values, known = np.asarray(batch["series"][i, :, c]), np.asarray(batch["observed"])
            known = known[i, :, c]
            values = (values - values[known].mean()) / np.sqrt(values[known].var() + 1e-5)
            for t in np.flatnonzero(known & np.repeat(mask[i, c], 3)):
                errors.append((filled[i, c, t // 3, t % 3] - values[t]) ** 2)
    loss = jax.jit(lambda p: method.loss(p, state, views, jax.random.key(0), jnp.int32(0))[0])
    np.testing.assert_allclose(loss(params), np.mean(errors), rtol=1e-10)


def test_patches_see_neither_other_channels_nor_what_is_hidden():
    method = cases.make("patchtst", cases.patch_series)
    batch = cases.batch(n=2)
    batch["observed"] = jnp.ones_like(batch["observed"])
    params, state = jax.jit(method.init)(jax.random.key(0), batch)
    embed = jax.jit(lambda b: method.embed(params, state, b).tokens.reshape(2, 4, 3, 8))
    before = embed(batch)
    other = embed(batch | {"series": batch["series"].at[:, 4, 1].add(5.0)})
    np.testing.assert_array_equal(before[:, :, [0, 2]], other[:, :, [0, 2]])
    assert np.abs(np.asarray(before - other)[:, :, 1]).max() > 1e-3
    net = Filling(cases.patch_series(), 0.0)
    mask = jnp.zeros((2, 3, 4), bool).at[:, :, 1].set(True)
    fill = jax.jit(lambda b: net.apply({"params": params}, b, mask=mask))
    # The same values in another order leave mean and deviation of the window as they are.
    swapped = batch["series"].at[:, 3:6].set(batch["series"][:, jnp.array([5, 3, 4])])
    np.testing.assert_allclose(fill(batch), fill(batch | {"series": swapped}), atol=1e-5)
    swapped = batch["series"].at[:, 6:9].set(batch["series"][:, jnp.array([8, 6, 7])])
    assert np.abs(np.asarray(fill(batch) - fill(batch | {"series": swapped}))).max() > 1e-3


def test_patchtst_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="patchtst needs a PatchTransformer, got a ResNet"):
        methods.patchtst(cases.resnet(), lambda batch: batch)
    with pytest.raises(ValueError, match=r"mask_ratio must be in \(0, 1\), got 1"):
        methods.patchtst(cases.patch_series(), lambda batch: batch, mask_ratio=1)
    method = methods.patchtst(encoders.build("patch_series", patch=5, heads=4), lambda batch: batch)
    with pytest.raises(ValueError, match="patch must divide the windows of 12 steps, got 5"):
        method.init(jax.random.key(0), cases.batch(n=2))


def waves(rng, n, noise=0.6):
    """Noisy waves of one of four forms, at any phase: labels and windows."""
    label, phase = rng.integers(0, 4, n), rng.uniform(0, 1, (n, 1))
    turn = (np.arange(48)[None] / 12 * (1 + label[:, None] // 2) + phase) % 1
    wave = np.where(label[:, None] % 2 == 0, np.sin(2 * np.pi * turn), 2 * turn - 1)
    x = wave + rng.normal(0, noise, wave.shape)
    series = jnp.asarray(x[:, :, None], jnp.float32)
    return {"series": series, "observed": jnp.ones(series.shape, bool)}, label


def trained(method, known, rng, steps, rate=1e-3, **options):
    """Before and after so many steps on batches of `waves`."""
    tx = optimizers.adamw(rate)
    with jax.numpy_dtype_promotion("standard"):
        train = begun = cases.first(method, tx, known)
        step = jax.jit(train_step.make_step(method, tx))
        for _ in range(steps):
            train, _ = step(train, waves(rng, **options)[0])
    return begun, train


@pytest.mark.long
def test_ts2vec_learns_forms_that_a_random_encoder_does_not_know():
    """Rung 6 for series."""
    encoder = encoders.build("dilated", dim=32, width=16, depth=4)
    method, rng = methods.ts2vec(encoder, lambda b: b), np.random.default_rng(0)
    (known, labels), (asked, true) = waves(rng, 400), waves(rng, 400)
    begun, train = trained(method, known, rng, 100, n=32)

    @jax.jit
    def embed(train, batch):
        return method.embed(train.params, train.state, batch).pooled

    def accuracy(train):
        x, y = (np.asarray(embed(train, batch)) for batch in (known, asked))
        return knn.knn(x, labels, y, true, num_classes=4)

    assert accuracy(train) > accuracy(begun) + 0.03, (accuracy(begun), accuracy(train))


@pytest.mark.long
def test_patchtst_fills_in_more_than_the_mean_of_unseen_windows():
    """Rung 6 for masked series: the error of each window's mean is 1."""
    encoder = encoders.build("patch_series", dim=32, heads=4, patch=4, dropout=0.0)
    method, rng = methods.patchtst(encoder, lambda b: b, head_dropout=0.0), np.random.default_rng(0)
    asked, _ = waves(rng, 400, noise=0.1)
    # A plateau of 0.83 lasts for 600 steps.
    begun, train = trained(method, asked, rng, 1000, rate=2e-3, n=64, noise=0.1)

    @jax.jit
    def error(train):
        views = method.views(jax.random.key(9), asked)
        return method.loss(train.params, {}, views, jax.random.key(0), jnp.int32(0))[0]

    assert error(begun) > 0.95
    assert error(train) < 0.3, error(train)
