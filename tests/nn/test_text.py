"""Transformers over packed documents: who sees whom, where, and a block against numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf

from jssl.nn import TextTransformer, build
from jssl.nn.positions import rotary_angles, rotate, sinusoids
from jssl.nn.text import places, segment_mask, tied_logits
from jssl.nn.vit import Block

K, T = 20, 12
SMALL = {"vocabulary": K, "dim": 16, "depth": 2, "heads": 4}
SEGMENTS = [1] * 5 + [2] * 4 + [3] * 1 + [0] * 2


def packed(n=2, seed=0):
    rng = np.random.default_rng(seed)
    tokens = jnp.asarray(rng.integers(0, K, (n, T)), jnp.int32)
    return {"tokens": tokens, "segments": jnp.asarray([SEGMENTS] * n, jnp.int32)}


def made(**options):
    net = TextTransformer(**SMALL | options)
    variables = jax.jit(net.init)(jax.random.key(0), packed())
    return jax.jit(lambda x, **more: net.apply(variables, x | more)), variables


# transformers' counts for a vocabulary of 30,522 and 50,257; BERT's less those of its pooler.
@pytest.mark.parametrize(
    ("name", "vocabulary", "parameters"),
    [
        ("bert_tiny", 30522, 4_385_920 - 128 * 129),
        ("bert_base", 30522, 109_482_240 - 768 * 769),
        ("bert_large", 30522, 335_141_888 - 1024 * 1025),
        ("gpt2_small", 50257, 124_439_808),
        ("gpt2_medium", 50257, 354_823_168),
    ],
)
def test_published_parameter_counts(name, vocabulary, parameters):
    net = build(name, vocabulary=vocabulary)
    variables = jax.eval_shape(net.init, jax.random.key(0), packed())
    assert sum(x.size for x in jax.tree.leaves(variables)) == parameters


@pytest.mark.parametrize("positions", ["learned", "sinusoidal", "rotary"])
@pytest.mark.parametrize("post_norm", [False, True])
def test_a_later_token_changes_no_earlier_output(positions, post_norm):
    run, _ = made(positions=positions, post_norm=post_norm, causal=True)
    x, at = packed(), 3
    changed = x | {"tokens": x["tokens"].at[:, at].set((x["tokens"][:, at] + 1) % K)}
    before, after = run(x).tokens, run(changed).tokens
    np.testing.assert_array_equal(after[:, :at], before[:, :at])
    assert np.abs(after[:, at:5] - before[:, at:5]).max(-1).min() > 1e-4  # weights start at 0.02
    both, _ = made(positions=positions, post_norm=post_norm)
    assert np.abs(both(changed).tokens - both(x).tokens)[:, :at].max() > 1e-5


@pytest.mark.parametrize("positions", ["learned", "sinusoidal", "rotary"])
@pytest.mark.parametrize("causal", [False, True])
def test_a_packed_document_is_encoded_as_if_it_were_alone(positions, causal):
    run, _ = made(positions=positions, causal=causal)
    x = packed()
    out = run(x).tokens
    tokens = jnp.zeros_like(x["tokens"]).at[:, :4].set(x["tokens"][:, 5:9])
    segments = jnp.zeros_like(x["segments"]).at[:, :4].set(1)
    alone = run({"tokens": tokens, "segments": segments}).tokens
    np.testing.assert_allclose(out[:, 5:9], alone[:, :4], rtol=1e-5, atol=1e-6)
    # And another document may say what it likes.
    other = x | {"tokens": x["tokens"].at[:, :5].set(0)}
    np.testing.assert_array_equal(run(other).tokens[:, 5:], out[:, 5:])


def test_padding_is_not_in_the_mean():
    run, _ = made()
    x = packed()
    out = run(x)
    np.testing.assert_allclose(out.pooled, out.tokens[:, :10].mean(1), rtol=1e-5, atol=1e-6)
    other = x | {"tokens": x["tokens"].at[:, 10:].set(0)}
    np.testing.assert_array_equal(run(other).pooled, out.pooled)
    first, _ = made(pool="first")
    out = first(x)
    np.testing.assert_array_equal(out.pooled, out.tokens[:, 0])
    last, _ = made(pool="last")
    out = last(x)
    np.testing.assert_array_equal(out.pooled, out.tokens[:, 9])


def test_masks_and_places():
    segments = jnp.asarray([SEGMENTS], jnp.int32)
    np.testing.assert_array_equal(places(segments)[0], [0, 1, 2, 3, 4, 0, 1, 2, 3, 0, 0, 1])
    seen, causal = (np.asarray(segment_mask(segments, c))[0] for c in (False, True))
    row = np.array(SEGMENTS)
    np.testing.assert_array_equal(seen, row[:, None] == row[None])
    np.testing.assert_array_equal(causal, seen & (np.arange(T)[:, None] >= np.arange(T)[None]))


def test_types_tell_tokens_apart():
    run, _ = made(types=2)
    x = packed()
    ones = {"types": jnp.ones_like(x["tokens"])}
    zeros = {"types": jnp.zeros_like(x["tokens"])}
    np.testing.assert_array_equal(run(x, **zeros).tokens, run(x).tokens)
    assert np.abs(run(x, **ones).tokens - run(x).tokens).max() > 1e-3


def test_scanned_and_recomputed_blocks_give_the_same(x64):
    x = packed()
    plain = TextTransformer(**SMALL, positions="rotary", causal=True, param_dtype=jnp.float64)
    variables = jax.jit(plain.init)(jax.random.key(0), x)
    body = dict(variables["params"]["transformer"])
    blocks = [body.pop(f"blocks_{i}") for i in range(2)]
    body["blocks"] = jax.tree.map(lambda *x: jnp.stack(x), *blocks)
    stacked = {"params": variables["params"] | {"transformer": body}}

    def out(net, variables):
        return jax.jit(lambda v: net.apply(v, x).tokens)(variables)

    expected = out(plain, variables)
    assert expected.dtype == jnp.float64
    for net, v in ((plain.clone(scan=True), stacked), (plain.clone(remat=True), variables)):
        np.testing.assert_allclose(out(net, v), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("scan", [False, True])
def test_a_text_that_comes_piece_by_piece_is_encoded_as_the_whole(scan):
    """Keys and values that are kept give what a pass over all tokens gives."""
    for positions in ("learned", "sinusoidal", "rotary"):
        net = TextTransformer(**SMALL, causal=True, positions=positions, scan=scan)
        x = {"tokens": packed()["tokens"], "segments": jnp.ones((2, T), jnp.int32)}
        params = jax.jit(net.init)(jax.random.key(0), x)["params"]
        whole = jax.jit(lambda p, x: net.apply({"params": p}, x).tokens)(params, x)  # noqa: B023

        @jax.jit
        def piece(cache, part, at, params=params, net=net):
            variables = {"params": params, "cache": cache}
            out, kept = net.apply(variables, part, at=at, room=T, mutable="cache")
            return out.tokens, kept["cache"]

        cache, found = {}, []
        for first, last in ((0, 5), (5, 6), (6, 7)):
            part = {name: value[:, first:last] for name, value in x.items()}
            out, cache = piece(cache, part, jnp.asarray(first, jnp.int32))
            found.append(out)
        np.testing.assert_allclose(jnp.concatenate(found, 1), whole[:, :7], rtol=1e-4, atol=1e-5)


def test_dropout_is_of_training_alone_and_keeps_the_mean():
    net = TextTransformer(**SMALL, dropout=0.5)
    x = packed(400)
    x["tokens"] = jnp.broadcast_to(x["tokens"][:1], x["tokens"].shape)
    params = jax.jit(net.init)(jax.random.key(0), x)

    def run(train, key):
        drawn = {"dropout": jax.random.key(key)}
        return jax.jit(lambda: net.apply(params, x, train, rngs=drawn).tokens)()

    np.testing.assert_array_equal(run(False, 0), run(False, 1))
    np.testing.assert_array_equal(run(True, 0), run(True, 0))
    rows = np.asarray(run(True, 0))
    assert np.abs(rows[0] - rows[1]).max() > 0.1
    # The block against its own mean over many draws, before a norm undoes the scale.
    block = Block(4, dropout=0.5, deviation=0.02)
    y = jnp.broadcast_to(jax.random.normal(jax.random.key(0), (1, 3, 16)), (4000, 3, 16))
    p = jax.jit(block.init)(jax.random.key(1), y)
    dropped = jax.jit(lambda: block.apply(p, y, True, rngs={"dropout": jax.random.key(2)}) - y)()
    added = block.apply(p, y[:1]) - y[:1]
    noise = np.std(dropped, axis=0) / 4000**0.5
    assert np.all(np.abs(np.mean(dropped, axis=0) - added[0]) < 6 * noise + 2e-3)
    assert np.mean(np.asarray(dropped) == 0) < 0.5
    with pytest.raises(ValueError, match=r"dropout must be in \[0, 1\), got 1.0"):
        jax.eval_shape(TextTransformer(**SMALL, dropout=1.0).init, jax.random.key(0), packed())


def test_rotary_products_depend_on_the_distance_alone(x64):
    rng = np.random.default_rng(0)
    q, k = (jnp.asarray(rng.normal(size=(1, 1, 1, 8))) for _ in range(2))

    def product(m, n):
        turned = [rotate(x, rotary_angles(jnp.full((1, 1), p), 8)) for x, p in ((q, m), (k, n))]
        return float(jnp.sum(turned[0] * turned[1]))

    np.testing.assert_allclose(product(7, 3), product(104, 100), rtol=1e-10)
    np.testing.assert_allclose(product(5, 5), float(jnp.sum(q * k)), rtol=1e-12)
    assert abs(product(7, 3) - product(7, 4)) > 1e-3
    # Equation 13: each pair is a plane in which the feature turns by its angle.
    pair = np.asarray(q)[0, 0, 0, 2] + 1j * np.asarray(q)[0, 0, 0, 3]
    turned = np.asarray(rotate(q, rotary_angles(jnp.full((1, 1), 3), 8)))[0, 0, 0]
    expected = pair * np.exp(1j * 3 * 10000 ** (-2 / 8))
    np.testing.assert_allclose(turned[2] + 1j * turned[3], expected, rtol=1e-12)


def test_sinusoids_are_the_papers(x64):
    table = np.asarray(sinusoids(jnp.arange(6, dtype=jnp.int32)[None], 10))[0]
    for position in range(6):
        for i in range(5):
            angle = position / 10000 ** (2 * i / 10)
            np.testing.assert_allclose(table[position, 2 * i], np.sin(angle), atol=1e-12)
            np.testing.assert_allclose(table[position, 2 * i + 1], np.cos(angle), atol=1e-12)


def reference(p, x, heads, seen, post_norm, angles=None):
    """A block after Vaswani et al. (post-norm) or GPT-2 (pre-norm), one example, in numpy."""

    def norm(x, w):
        x = x - x.mean(-1, keepdims=True)
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * w["scale"] + w["bias"]

    def dense(x, w):
        return x @ w["kernel"] + w["bias"]

    def turn(x):
        z = (x[:, 0::2] + 1j * x[:, 1::2]) * np.exp(1j * angles)
        return np.stack([z.real, z.imag], -1).reshape(x.shape)

    def attend(x):
        d = x.shape[1]
        q, k, v = np.split(dense(x, p["qkv"]), 3, axis=1)
        outs = []
        for h in range(heads):
            part = slice(h * d // heads, (h + 1) * d // heads)
            a, b = q[:, part], k[:, part]
            if angles is not None:
                a, b = turn(a), turn(b)
            e = np.exp(a @ b.T / np.sqrt(d / heads)) * seen
            outs.append(e / e.sum(1, keepdims=True) @ v[:, part])
        return dense(np.concatenate(outs, 1), p["out"])

    def mlp(x):
        y = dense(x, p["fc1"])
        return dense(y * (1 + erf(y / np.sqrt(2))) / 2, p["fc2"])

    if post_norm:
        x = norm(x + attend(x), p["norm1"])
        return norm(x + mlp(x), p["norm2"])
    x = x + attend(norm(x, p["norm1"]))
    return x + mlp(norm(x, p["norm2"]))


@pytest.mark.parametrize("post_norm", [False, True])
@pytest.mark.parametrize("rotary", [False, True])
def test_a_block_against_numpy(post_norm, rotary, x64):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, T, 16)))
    segments = jnp.asarray([SEGMENTS, [1] * T], jnp.int32)
    seen = segment_mask(segments, True)
    angles = rotary_angles(places(segments), 4) if rotary else None
    block = Block(4, post_norm=post_norm, param_dtype=jnp.float64)
    shapes = jax.eval_shape(block.init, jax.random.key(0), x)
    variables = jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape) / 3), shapes)
    got = jax.jit(lambda v, x: block.apply(v, x, mask=seen, angles=angles))(variables, x)
    p = jax.tree.map(np.asarray, variables["params"])
    for i in range(2):
        turned = None if angles is None else np.asarray(angles)[i]
        expected = reference(p, np.asarray(x)[i], 4, np.asarray(seen)[i], post_norm, turned)
        np.testing.assert_allclose(got[i], expected, rtol=1e-9, atol=1e-9)


def test_bfloat16_computes_with_float32_parameters():
    run, variables = made()
    narrow = TextTransformer(**SMALL, dtype=jnp.bfloat16)
    out = jax.jit(lambda x: narrow.apply(variables, x))(packed())
    assert out.tokens.dtype == out.pooled.dtype == jnp.float32
    np.testing.assert_allclose(out.tokens, run(packed()).tokens, atol=0.1)


def test_tied_logits_are_products_with_the_embeddings():
    _, variables = made()
    x = jax.random.normal(jax.random.key(1), (2, T, 16))
    got = tied_logits(variables["params"], x)
    expected = np.einsum("ntd,kd->ntk", x, variables["params"]["embed"])
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"positions": "relative"}, "positions must be one of learned, sinusoidal, rotary, got"),
        ({"pool": "cls"}, "pool must be one of mean, first, last, got 'cls'"),
        ({"vocabulary": 0}, "vocabulary must be at least 1, got 0"),
        ({"max_length": 8}, "max_length must be at least the 12 tokens of a row, got 8"),
        ({"positions": "sinusoidal", "dim": 15, "heads": 3}, "dim must be a positive even"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(TextTransformer(**SMALL | options).init, jax.random.key(0), packed())
