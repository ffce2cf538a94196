"""Methods of signals: losses against numpy, and what they may and may not see."""

import cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp
from test_text_methods import agrees, value

from jssl import methods
from jssl.augment import audio
from jssl.augment.spans import span_mask
from jssl.methods.wav2vec2 import Heads, _others
from jssl.nn import encoders
from jssl.nn.wav2vec import GumbelQuantizer
from jssl.train import optimizers
from jssl.train import step as train_step

CASE = cases.CASES["wav2vec2"][1]


def begun(name, encoder, batch, **options):
    method = cases.make(name, encoder, dtype=jnp.float64, options=options)
    params, state = jax.jit(method.init)(jax.random.key(0), batch)
    return method, params, state, jax.jit(method.views)(jax.random.key(1), batch)


@pytest.mark.parametrize("among", ["utterance", "batch"])
def test_cpc_is_the_cross_entropy_of_what_came(among, x64):
    """Equations 3 and 4 with a loop a prediction; as many drawn as there are frames that count."""
    batch = cases.batch(n=3)
    every = int((batch["samples"] // 4).sum())
    method, params, _, views = begun(
        "cpc", cases.cpc_net, batch, steps=3, among=among, negatives=every
    )
    net = cases.cpc_net(dtype=jnp.float64, param_dtype=jnp.float64)
    apply = jax.jit(lambda p: net.apply({"params": p}, views, latents=True))
    frames = np.asarray(batch["samples"]) // 4

    def reference(params):
        features, z, _ = jax.device_get(apply(jax.tree.map(jnp.asarray, params["encoder"])))
        means = []
        for k in (1, 2, 3):
            losses = []
            for i in range(3):
                for t in range(frames[i] - k):
                    score = params["predictor"]["kernel"][k - 1].T @ features.tokens[i, t]
                    others = range(3) if among == "batch" else [i]
                    scores = [
                        z[j, s] @ score
                        for j in others
                        for s in range(frames[j])
                        if (j, s) != (i, t + k)
                    ]
                    own = z[i, t + k] @ score
                    losses.append(logsumexp([own, *scores]) - own)
            means.append(np.mean(losses))
        return np.mean(means)

    agrees(method, params, views, reference, ["encoder", "predictor"])


@pytest.mark.long
def test_cpc_asks_nothing_of_padding():
    batch = cases.batch(n=3)
    method = cases.make(
        "cpc", cases.cpc_net, options={"steps": 3, "among": "batch", "negatives": 20}
    )
    params, state = jax.jit(method.init)(jax.random.key(0), batch)
    loss = jax.jit(lambda b: method.loss(params, state, b, jax.random.key(0), jnp.int32(0)))
    behind = jnp.arange(cases.SAMPLES)[None] >= batch["samples"][:, None] // 4 * 4
    changed = batch | {"signal": jnp.where(behind, 9.0, batch["signal"])}
    assert loss(changed)[0] == loss(batch)[0]
    np.testing.assert_allclose(loss(batch)[1].metrics["chance"], 1 / 20.5, rtol=0.03)
    short = batch | {"samples": jnp.full(3, 2, jnp.int32)}
    assert loss(short)[0] == 0


def test_spans_are_of_a_length_and_of_real_frames():
    frames = np.array([50, 31, 5, 50])
    real = jnp.arange(50)[None] < frames[:, None]
    draw = jax.jit(lambda key: span_mask(key, real, 0.09, 10))
    masks = np.stack([draw(jax.random.key(i)) for i in range(300)])
    assert not np.any(masks & ~np.asarray(real))
    assert np.all(masks[:, 2, :5])
    for mask in masks[:20]:
        for row in mask[[0, 1]]:
            edges = np.flatnonzero(np.diff(np.pad(row.astype(int), 1)))
            assert np.all(edges[1::2] - edges[::2] >= 10)
    # Of the 41 places at which a span of 10 fits into 50, 4 or 5 (0.09 times 50, rounded either
    # way) start one; frame 20 is hidden if any of the ten at and before it does.
    hit = 1 - np.prod([(31 - i) / (41 - i) for i in range(4)]) * (1 - 0.5 * 10 / 37)
    assert abs(masks[:, [0, 3], 20].mean() - hit) < 3 * (hit * (1 - hit) / 600) ** 0.5
    least = np.asarray(span_mask(jax.random.key(0), jnp.ones((64, 50), bool), 0.0, 10))
    assert np.all(least.sum(1) >= 11)


def test_distractors_are_other_hidden_frames_of_the_utterance():
    mask = np.random.default_rng(0).random((3, 20)) < 0.4
    drawn = np.asarray(_others(jax.random.key(0), jnp.asarray(mask), 200))
    for i, row in enumerate(mask):
        hidden = np.flatnonzero(row)
        for t in hidden:
            found, counts = np.unique(drawn[i, t], return_counts=True)
            assert found.tolist() == [s for s in hidden if s != t]
            assert counts.max() < 3 * counts.min() + 30


def test_wav2vec2_is_contrast_diversity_and_penalty(x64):
    """Equations 2 and 3 with a loop a hidden frame, the draws taken as they are."""
    batch = cases.batch(n=4)
    method, params, _, views = begun("wav2vec2", cases.wav2vec_net, batch, **CASE)
    net = cases.wav2vec_net(dtype=jnp.float64, param_dtype=jnp.float64)
    heads = Heads(6, 2, 5, jnp.float64)
    k_encoder, k_gumbel, k_others = jax.random.split(jax.random.key(0), 3)
    mask = np.asarray(views["mask"])
    others = np.asarray(_others(k_others, views["mask"], 4))
    net_options = {"train": True, "mask": views["mask"], "latents": True}

    @jax.jit
    def sides(params):
        features, z, square = net.apply(
            {"params": params["encoder"]}, views["x"], rngs={"dropout": k_encoder}, **net_options
        )
        given = features.tokens, z, jnp.asarray(2.0), k_gumbel
        return heads.apply({"params": params["heads"]}, *given), square

    def reference(params):
        (c, q, codes, p), square = jax.device_get(sides(jax.tree.map(jnp.asarray, params)))
        losses = []
        for i, t in zip(*np.nonzero(mask), strict=True):
            near = [s for s in others[i, t] if np.any(codes[i, s] != codes[i, t])]
            logits = [
                10 * c[i, t] @ q[i, s] / np.linalg.norm(c[i, t]) / np.linalg.norm(q[i, s])
                for s in [t, *near]
            ]
            losses.append(logsumexp(logits) - logits[0])
        mean = p[mask].mean(0)
        perplexity = np.exp(-(mean * np.log(mean + 1e-7)).sum(1)).sum()
        return np.mean(losses) + 0.1 * (10 - perplexity) / 10 + 10 * square

    got, metrics, gradient = value(method, params, views)
    np.testing.assert_allclose(got, reference(jax.device_get(params)), rtol=1e-12)
    assert 2 <= metrics["perplexity"] <= 10
    # The draw itself has no derivative: those behind it are compared.
    rng = np.random.default_rng(0)
    for name in ("context", "target"):
        step = 1e-6 * rng.normal(size=params["heads"][name]["kernel"].shape)
        moved = []
        for sign in (1, -1):
            changed = jax.tree.map(np.asarray, params)
            changed["heads"][name]["kernel"] = changed["heads"][name]["kernel"] + sign * step
            moved.append(reference(changed))
        along = np.sum(gradient["heads"][name]["kernel"] * step)
        np.testing.assert_allclose(along, (moved[0] - moved[1]) / 2, rtol=1e-6)


def test_the_quantiser_gives_vectors_of_its_books_with_the_gradient_of_a_softmax(x64):
    net, key = GumbelQuantizer(6, 2, 5, jnp.float64), jax.random.key(0)
    z = jax.random.normal(key, (2, 3, 4), jnp.float64)
    params = net.init(key, z, jnp.asarray(0.7), key)["params"]
    q, codes, p = net.apply({"params": params}, z, jnp.asarray(0.7), key)
    book = np.asarray(params["codebook"])
    expected = np.concatenate([book[g][np.asarray(codes)[:, :, g]] for g in range(2)], axis=2)
    np.testing.assert_allclose(q, expected, rtol=1e-12)
    noise = jax.random.gumbel(key, p.shape, jnp.float32).astype(jnp.float64)

    def hard(z):
        q, _, _ = net.apply({"params": params}, z, jnp.asarray(0.7), key)
        return jnp.sum(q**3)

    def weighted(z):
        logits = (z @ params["logits"]["kernel"]).reshape(p.shape)
        w = jax.nn.softmax((logits + noise) / 0.7, axis=3)
        mixed = jnp.einsum("ntgv,gvd->ntgd", w, params["codebook"]).reshape(2, 3, 6)
        return jnp.sum(3 * expected**2 * mixed)

    np.testing.assert_allclose(jax.grad(hard)(z), jax.grad(weighted)(z), rtol=1e-9, atol=1e-12)


@pytest.mark.long
def test_padding_is_nothing_to_wav2vec2():
    net, batch = cases.wav2vec_net(), cases.batch(n=3)
    params = jax.jit(net.init)(jax.random.key(0), batch)
    samples = jnp.array([64, 30, 1], jnp.int32)
    assert net.real(batch | {"samples": samples}).sum(1).tolist() == [15, 7, 1]
    apply = jax.jit(lambda signal: net.apply(params, {"signal": signal, "samples": samples}))
    behind = jnp.arange(cases.SAMPLES)[None] >= samples[:, None]
    changed = apply(jnp.where(behind, 7.0, batch["signal"])).pooled[:2]
    np.testing.assert_allclose(changed, apply(batch["signal"]).pooled[:2], atol=1e-6)


def sweeps(rng, n=32, t=2000):
    """Voices whose pitch and loudness move, with noise: 0.25 s at 8 kHz, some of it padding."""
    at = np.arange(t)[None] / 8000
    a, b, c, d, pitch = rng.uniform(size=(5, n, 1))
    hertz = 200 * 4**pitch * 2 ** (0.7 * np.sin(2 * np.pi * (3 + 5 * a) * at + 6 * b))
    phase = 2 * np.pi * np.cumsum(hertz, axis=1) / 8000
    voice = sum(np.sin(k * phase) / k for k in (1, 2, 3))
    voice = voice * (1.2 + np.sin(2 * np.pi * (4 + 8 * c) * at + 6 * d))
    samples = rng.integers(t * 3 // 4, t + 1, n)
    signal = (voice + 0.1 * rng.normal(size=(n, t))) * (np.arange(t)[None] < samples[:, None])
    return {"signal": jnp.asarray(signal, jnp.float32), "samples": jnp.asarray(samples, jnp.int32)}


NET = {"kernels": (10, 8, 4), "strides": (5, 4, 4), "dim": 32}
RECIPES = {
    "cpc": ({"context": 32}, {"steps": 4}, 3.0),
    "wav2vec2": (
        {"conv_dim": 32, "depth": 2, "heads": 2, "positions": 8, "groups": 2, "dropout": 0.0},
        {"mask_share": 0.13, "mask_length": 3, "distractors": 10, "entries": 20, "dim": 32}
        | {"gradient_scale": 1.0, "penalty": 0.1, "gumbel": (2.0, 0.5, 0.99)},
        1.5,
    ),
}


@pytest.mark.long
@pytest.mark.parametrize("name", RECIPES)
def test_unseen_signals_are_told_apart_better_than_by_chance(name):
    """Rung 6 for signals: a network that is new guesses, one that has learned does not."""
    net, options, factor = RECIPES[name]
    method = methods.METHODS[name](encoders.build(name, **NET, **net), _standard, **options)
    rng = np.random.default_rng(0)
    tx, asked = optimizers.adamw(2e-3), sweeps(np.random.default_rng(1), n=128)
    with jax.numpy_dtype_promotion("standard"):
        train = cases.first(method, tx, sweeps(rng))
        step = jax.jit(train_step.make_step(method, tx), donate_argnums=0)
        for _ in range(200):
            train, _ = step(train, sweeps(rng))

    @jax.jit
    def measure(params):
        views = method.views(jax.random.key(0), asked)
        return method.loss(params, {}, views, jax.random.key(0), jnp.int32(200))[1].metrics

    metrics = measure(train.params)
    assert metrics["proxy_accuracy"] > factor * metrics["chance"], metrics
    if name == "wav2vec2":
        assert metrics["perplexity"] > 4, metrics


def _standard(batch):
    return batch | {"signal": audio.standardize(batch["signal"], batch["samples"])}


def test_bad_options():
    with pytest.raises(ValueError, match="wav2vec2 needs a Wav2Vec2Encoder encoder, got a ResNet"):
        methods.wav2vec2(cases.resnet(), lambda batch: batch)
    with pytest.raises(ValueError, match="dim must be a multiple of groups, got 7 and 2"):
        methods.wav2vec2(cases.wav2vec_net(), lambda batch: batch, dim=7)
    net, batch = cases.cpc_net(), cases.batch(n=2)
    with pytest.raises(ValueError, match="cpc needs a CPCEncoder encoder, got a ResNet"):
        methods.cpc(cases.resnet(), lambda batch: batch)
    with pytest.raises(ValueError, match="among must be one of utterance, batch, got 'all'"):
        methods.cpc(net, lambda batch: batch, among="all")
    with pytest.raises(ValueError, match="steps must be less than the 16 frames, got 16"):
        methods.cpc(net, lambda batch: batch, steps=16).init(jax.random.key(0), batch)
