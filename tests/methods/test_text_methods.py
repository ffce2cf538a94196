"""BERT and GPT: losses against numpy, what the views hold, and that they learn real text."""

from pathlib import Path

import cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf, log_softmax

from jssl import methods
from jssl.data.packing import pack
from jssl.methods.simcse import Sentence
from jssl.nn import encoders, sampling
from jssl.train import optimizers
from jssl.train import step as train_step

ROOT = Path(__file__).parents[2]
MARKS = {"pad_token": 0, "cls_token": 1, "sep_token": 2, "mask_token": 3, "word_starts": None}


def value(method, params, views):
    def run(params):
        return method.loss(params, {}, views, jax.random.key(0), jnp.zeros((), jnp.int32))

    (loss, out), gradient = jax.jit(jax.value_and_grad(run, has_aux=True))(params)
    return float(loss), jax.device_get(out.metrics), jax.device_get(gradient)


def begun(name, encoder, **options):
    method = cases.make(name, encoder, dtype=jnp.float64, options=options or None)
    params, _ = jax.jit(method.init)(jax.random.key(0), cases.batch())
    views = jax.jit(method.views)(jax.random.key(1), cases.batch())
    return method, params, views


def entropy(logits, labels):
    return -log_softmax(logits, axis=-1)[np.arange(len(labels)), labels]


def agrees(method, params, views, reference, names):
    """Value to 1e-12, and the gradient along a random direction of the named parameters."""
    got, metrics, gradient = value(method, params, views)
    params = jax.tree.map(np.asarray, params)
    np.testing.assert_allclose(got, reference(params), rtol=1e-12)
    rng = np.random.default_rng(0)
    for name in names:
        step = jax.tree.map(lambda x: 1e-6 * rng.normal(size=x.shape), params[name])
        up = params | {name: jax.tree.map(np.add, params[name], step)}
        down = params | {name: jax.tree.map(np.subtract, params[name], step)}
        products = jax.tree.map(lambda g, s: np.sum(g * s), gradient[name], step)
        expected = (reference(up) - reference(down)) / 2
        np.testing.assert_allclose(sum(jax.tree.leaves(products)), expected, rtol=1e-6)
    return metrics


def encoded(encoder, params, views):
    net = encoder(dtype=jnp.float64, param_dtype=jnp.float64)
    apply = jax.jit(lambda p: net.apply({"params": p}, views).tokens)
    return np.asarray(apply(jax.tree.map(jnp.asarray, params["encoder"])))


def test_gpt_is_the_mean_cross_entropy_of_the_next_token_of_the_document(x64):
    method, params, views = begun("gpt", cases.text_causal)
    tokens, segments = np.asarray(views["tokens"]), np.asarray(views["segments"])

    def reference(params):
        y = encoded(cases.text_causal, params, views)
        losses = []
        for i in range(len(tokens)):
            for t in range(cases.TOKENS - 1):
                if segments[i, t] == segments[i, t + 1] > 0:
                    logits = y[i, t] @ params["encoder"]["embed"].T
                    losses.append(entropy(logits[None], [tokens[i, t + 1]])[0])
        return np.mean(losses)

    metrics = agrees(method, params, views, reference, ["encoder"])
    # A new network knows nothing: about log k.
    assert abs(metrics["loss"] - np.log(cases.VOCABULARY)) < 0.2


@pytest.mark.parametrize("next_sentence", [True, False])
def test_bert_is_the_sum_of_two_mean_cross_entropies(next_sentence, x64):
    method, params, views = begun("bert", cases.text, next_sentence=next_sentence)
    mask, labels = np.asarray(views["mask"]), np.asarray(views["labels"])

    def dense(x, w):
        return x @ w["kernel"] + w["bias"]

    def reference(params):
        y, heads = encoded(cases.text, params, views), params["heads"]
        x = dense(y[mask], heads["transform"])
        x = x * (1 + erf(x / np.sqrt(2))) / 2
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6)
        x = x * heads["norm"]["scale"] + heads["norm"]["bias"]
        logits = x @ params["encoder"]["embed"].T + params["bias"]
        loss = entropy(logits, labels[mask]).mean()
        if next_sentence:
            known = np.asarray(views["next"]) >= 0
            logits = dense(np.tanh(dense(y[:, 0], heads["pooler"])), heads["next"])
            loss += entropy(logits[known], np.asarray(views["next"])[known]).mean()
        return loss

    agrees(method, params, views, reference, ["encoder", "heads", "bias"])


def test_simcse_tells_a_sentence_from_the_others_under_another_mask(x64):
    method, params, views = begun("simcse", cases.text_dropout)
    net = Sentence(cases.text_dropout(dtype=jnp.float64, param_dtype=jnp.float64))
    twice = jax.tree.map(lambda x: jnp.repeat(x, 2, axis=0), views)
    drawn = {"dropout": jax.random.key(0)}
    apply = jax.jit(lambda p: net.apply({"params": p}, twice, train=True, rngs=drawn))

    def reference(params):
        h = np.asarray(apply(jax.tree.map(jnp.asarray, params)))
        h = h / np.linalg.norm(h, axis=1, keepdims=True)
        logits = h[0::2] @ h[1::2].T / 0.05
        return entropy(logits, np.arange(len(logits))).mean()

    agrees(method, params, views, reference, ["encoder", "head"])
    h = np.asarray(apply(params))
    assert np.abs(h[0::2] - h[1::2]).max() > 1e-3


def test_what_bert_is_shown():
    method = cases.make("bert", cases.text)
    views = jax.device_get(jax.jit(method.views)(jax.random.key(0), cases.batch()))
    hidden, shown, true = views["mask"], views["tokens"], views["labels"]
    np.testing.assert_array_equal(shown[~hidden], true[~hidden])
    assert (shown[hidden] == 3).mean() > 0.5
    assert not np.any(hidden & (true <= 2))
    assert np.all(true[:, 0] == 1)
    assert set(np.unique(views["next"])) <= {-1, 0, 1}


@pytest.mark.parametrize("options", [{"temperature": 0}, {"top_k": 9, "top_p": 0.9}])
def test_cached_tokens_are_those_without_a_cache(options):
    method = cases.make("gpt", cases.text_causal)
    params, _ = jax.jit(method.init)(jax.random.key(0), cases.batch())
    # A new network's logits are nearly the same for all tokens.
    params = jax.tree.map(lambda x: 8 * x, params)
    prompt, length = cases.batch(n=3)["tokens"][:, :5], 8

    @jax.jit
    def cached(key):
        step = method.language.advance
        advance = lambda cache, tokens, at: step(params, cache, tokens, at, 5 + length)  # noqa: E731
        return sampling.generate(advance, key, prompt, length, **options)

    found = np.asarray(cached(jax.random.key(1)))
    np.testing.assert_array_equal(found, cached(jax.random.key(1)))
    assert len({tuple(row) for row in found}) == 3
    if options != {"temperature": 0}:
        assert np.any(found != np.asarray(cached(jax.random.key(2))))
    whole = jnp.concatenate([prompt, found], axis=1)
    x = {"tokens": whole, "segments": jnp.ones_like(whole)}
    logits = jax.jit(lambda x: method.language.logits(params, {}, x))(x)
    for i in range(length):
        said = logits[:, 4 + i]
        if options == {"temperature": 0}:
            drawn = jnp.argmax(said, axis=1)
        else:
            key = jax.random.fold_in(jax.random.key(1), i)
            drawn = jax.random.categorical(key, sampling.restrict(said, **options), axis=1)
        np.testing.assert_array_equal(found[:, i], drawn)


def test_encoders_that_do_not_fit():
    for name, encoder, message in (
        ("gpt", cases.resnet, "gpt needs a TextTransformer .*, got a ResNet"),
        ("gpt", cases.text, "got a TextTransformer with causal=False"),
        ("bert", cases.text_causal, "got a TextTransformer with causal=True"),
        ("simcse", cases.resnet, "simcse needs a TextTransformer encoder, got a ResNet"),
        ("simcse", cases.text, "encoder.dropout must be > 0 for simcse, got 0.0"),
    ):
        with pytest.raises(ValueError, match=message):
            methods.METHODS[name](
                encoder(), prepare=lambda batch: batch, **(MARKS if name == "bert" else {})
            )
    plain = encoders.build("text", vocabulary=9, dim=8, depth=1, heads=1)
    with pytest.raises(ValueError, match=r"encoder.types must be 2 for next_sentence=True, got 0"):
        methods.bert(plain, lambda batch: batch, **MARKS)
    with pytest.raises(ValueError, match="needs a tokenizer that tells where words begin"):
        methods.bert(cases.text(), lambda batch: batch, **MARKS, whole_words=True)


LENGTH, BATCH = 64, 32
# Steps and learning rate: a masked language model takes longer to leave the frequencies behind.
RECIPES = {"gpt": (100, 1e-2, {}), "bert": (300, 1e-2, {"next_sentence": False})}


def source_code():
    """The bytes of this project's own code, from 4 on, packed; a tenth of it held out."""
    files = sorted((ROOT / "jssl").rglob("*.py"))
    texts = [np.frombuffer(file.read_bytes(), np.uint8) + np.int32(4) for file in files]
    return (
        pack(part, LENGTH) for part in (texts[::10], [t for i, t in enumerate(texts) if i % 10])
    )


@pytest.mark.long
@pytest.mark.parametrize("name", ["gpt", "bert"])
def test_learns_more_of_unseen_text_than_how_frequent_bytes_are(name):
    """Rung 6 for tokens: held-out nats a byte below the entropy of the bytes' frequencies."""
    steps, lr, options = RECIPES[name]
    encoder = encoders.build(
        "text", vocabulary=260, dim=64, depth=1, heads=4, causal=name == "gpt", positions="rotary"
    )
    marks = MARKS if name == "bert" else {}
    method = methods.METHODS[name](encoder, lambda batch: batch, **marks, **options)
    held_out, rows = source_code()
    rng = np.random.default_rng(0)

    def batch(rows):
        chosen = rng.integers(0, len(rows[0]), BATCH)
        return {"tokens": jnp.asarray(rows[0][chosen]), "segments": jnp.asarray(rows[1][chosen])}

    tx = optimizers.adamw(lr)
    with jax.numpy_dtype_promotion("standard"):
        train = cases.first(method, tx, batch(rows))
        step = jax.jit(train_step.make_step(method, tx), donate_argnums=0)
        for _ in range(steps):
            train, _ = step(train, batch(rows))

    @jax.jit
    def loss(key, batch):
        views = method.views(key, batch)
        return method.loss(train.params, train.state, views, key, train.step)[0]

    losses = [loss(jax.random.key(i), batch(held_out)) for i in range(8)]
    unigram = np.bincount(rows[0][rows[1] > 0], minlength=260) + 1.0
    unseen = held_out[0][held_out[1] > 0]
    baseline = -np.log(unigram / unigram.sum())[unseen].mean()
    assert np.mean(losses) < baseline - 0.1, (np.mean(losses), baseline)


@pytest.mark.long
def test_simcse_spreads_unseen_rows_and_still_knows_them():
    """Rung 6: uniformity falls, while alignment under dropout stays (section 5 of the paper)."""
    encoder = encoders.build("text", vocabulary=260, dim=64, depth=1, heads=4, dropout=0.1)
    method = methods.simcse(encoder, lambda batch: batch)
    held_out, rows = source_code()
    rng = np.random.default_rng(0)

    def batch(rows):
        chosen = rng.choice(len(rows[0]), BATCH, replace=False)
        return {"tokens": jnp.asarray(rows[0][chosen]), "segments": jnp.asarray(rows[1][chosen])}

    tx, asked = optimizers.adamw(1e-3), batch(held_out)
    measure = jax.jit(lambda p: method.loss(p, {}, asked, jax.random.key(0), jnp.int32(0))[1])
    with jax.numpy_dtype_promotion("standard"):
        train = cases.first(method, tx, batch(rows))
        before = measure(train.params).metrics
        step = jax.jit(train_step.make_step(method, tx), donate_argnums=0)
        for _ in range(100):
            train, _ = step(train, batch(rows))
    after = measure(train.params).metrics
    assert after["loss"] < before["loss"] - 0.1
    assert after["uniformity"] < before["uniformity"] - 0.2
    assert after["proxy_accuracy"] > 0.9
