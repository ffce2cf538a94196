"""What is done with texts: a tokenizer, blanks filled in, a text continued, or measured."""

import json
import re
import unicodedata
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jssl import require
from jssl.cli import runs
from jssl.data.documents import read_documents
from jssl.data.pairs import read_captions
from jssl.data.tokenizer import load_tokenizer, train_tokenizer
from jssl.evals import compression
from jssl.nn import sampling
from jssl.train import processes


def tokenizer(arguments) -> int:
    """Trains a tokenizer on the texts of a file and writes it."""
    kind, _, path = arguments.data.partition(":")
    if kind != "text" or not path:
        raise ValueError(f"--data takes text:PATH, got {arguments.data!r}")
    if not arguments.output.parent.is_dir():
        raise ValueError(f"--output: there is no folder {arguments.output.parent}")
    documents = read_documents(path).texts
    made = train_tokenizer(documents, arguments.size, arguments.kind)
    made.save(str(arguments.output))
    print(f"{made.get_vocab_size()} tokens from {len(documents)} documents in {arguments.output}")
    return 0


def keep_tokenizer(config, workdir: Path) -> None:
    """Of a run on texts or captions: puts its tokenizer into its folder, and that into the config.

    It is the one already there, or that of ``data.tokenizer``, or one of ``data.vocabulary``
    tokens trained on the texts or captions; in captions a word is the same in any case and place.
    """
    kind, _, path = config.data.source.partition(":")
    if kind not in ("text", "pairs"):
        return
    file = workdir / "tokenizer.json"
    if not file.exists() and jax.process_index() == 0:
        if config.data.tokenizer is not None:
            made = load_tokenizer(config.data.tokenizer)
        else:
            made = train_tokenizer(
                _texts(kind, path), config.data.vocabulary, alike=kind == "pairs"
            )
        workdir.mkdir(parents=True, exist_ok=True)
        made.save(str(file.with_suffix(".partial")))
        file.with_suffix(".partial").rename(file)
    processes.said_by_first(None)  # it is there
    with config.unlocked():
        config.data.tokenizer = str(file)


def _texts(kind, path):
    if kind == "text":
        return read_documents(path).texts
    captions = read_captions(path)
    return [text for text, test in zip(captions.texts, captions.test, strict=True) if not test]


def fill(arguments) -> int:
    """The likeliest tokens for each [MASK] of a text, by a run that sees both sides."""
    require.at_least(1, top=arguments.top)
    trained, tokens = _load(arguments)
    language = trained.method.language
    if language.advance is not None:
        raise ValueError(f"{arguments.workdir} sees no later token: jssl generate goes on from one")
    # A space belongs to the token behind it.
    ids = _encode(tokens, re.sub(r"\s+\[MASK\]", "[MASK]", arguments.text))
    mask = tokens.token_to_id("[MASK]")
    if mask not in ids:
        raise ValueError(f"there is no [MASK] in {arguments.text!r}")
    if trained.config.method.next_sentence:  # how the run was shown a text
        ids = [tokens.token_to_id("[CLS]"), *ids, tokens.token_to_id("[SEP]")]
    x = jnp.asarray([ids], jnp.int32)
    batch = {"tokens": x, "segments": jnp.ones_like(x)}
    params, state = trained.train.params, trained.train.state
    chances = jax.nn.softmax(jax.jit(language.logits)(params, state, batch)[0])
    found = []
    for place in (i for i, token in enumerate(ids) if token == mask):
        values, best = jax.lax.top_k(chances[place], arguments.top)
        found.append(
            [[tokens.decode([int(i)]), float(v)] for i, v in zip(best, values, strict=True)]
        )
    if arguments.json:
        print(json.dumps(found))
        return 0
    for number, candidates in enumerate(found, 1):
        print("[MASK]" if len(found) == 1 else f"[MASK] {number}")
        for text, chance in candidates:
            print(f"{100 * chance:5.1f} %  {text}")
    return 0


def generate(arguments) -> int:
    """A text that goes on from a prompt, by a causal run."""
    trained, tokens = _load(arguments)
    language, params = trained.method.language, trained.train.params
    if language.advance is None:
        raise ValueError(f"{arguments.workdir} predicts no next token: jssl fill fills blanks")
    ids = _encode(tokens, arguments.prompt)
    if not ids:
        raise ValueError("--prompt must have at least one token, got none")
    room = len(ids) + arguments.length

    @jax.jit
    def run(params, key, prompt):
        return sampling.generate(
            lambda cache, tokens, at: language.advance(params, cache, tokens, at, room),
            key,
            prompt,
            arguments.length,
            temperature=arguments.temperature,
            top_k=arguments.top_k,
            top_p=arguments.top_p,
        )

    drawn = run(params, jax.random.key(arguments.seed), jnp.asarray([ids], jnp.int32))[0].tolist()
    end = tokens.token_to_id("[EOS]")
    print(tokens.decode(ids + (drawn[: drawn.index(end)] if end in drawn else drawn)))
    return 0


def bits(arguments) -> int:
    """Bits a byte of held-out texts under a causal run, beside byte n-grams of its own texts."""
    trained, tokens = _load(arguments)
    language, cfg = trained.method.language, trained.config
    if language.advance is None:
        raise ValueError(f"{arguments.workdir} predicts no next token: it gives a text no chance")
    kind, _, path = (arguments.input or cfg.data.eval_source or cfg.data.source).partition(":")
    if kind != "text":
        raise ValueError(f"--input takes text:PATH, got {arguments.input!r}")
    known = read_documents(cfg.data.source.partition(":")[2]).texts[: cfg.data.limit]
    asked = read_documents(path, "train" if arguments.input else "test").texts
    if asked == known:
        raise ValueError("the run was trained on these texts: --input names others")
    end = tokens.token_to_id("[EOS]")
    encoded = [encoding.ids for encoding in tokens.encode_batch(asked, add_special_tokens=False)]
    if end is None or any(tokens.decode(i) != text for i, text in zip(encoded, asked, strict=True)):
        raise ValueError("bits a byte need a tokenizer that loses nothing, such as byte-level BPE")

    @jax.jit
    def log_chances(batch):
        logits = language.logits(trained.train.params, trained.train.state, batch)[:, :-1]
        return jnp.take_along_axis(
            jax.nn.log_softmax(logits), batch["tokens"][:, 1:, None], axis=2
        )[:, :, 0]

    size = sum(len(text.encode()) + 1 for text in asked)
    documents = [np.array([*ids, end], np.int32) for ids in encoded]
    form = {"length": cfg.data.length, "vocabulary": tokens.get_vocab_size()}
    ngram, order = compression.ngram_bits(known, asked)
    result = {
        "bits_per_byte": compression.token_bits(log_chances, documents, size, **form),
        "ngram_bits_per_byte": ngram,
        "ngram_order": order,
        "bytes": size,
    }
    if arguments.json:
        print(json.dumps(result))
        return 0
    print(f"{size} bytes of {len(asked)} texts, the end of each included")
    print(f"{result['bits_per_byte']:.3f} bits a byte  {cfg.method.name}")
    print(f"{ngram:.3f} bits a byte  n-gram, {order} bytes of context, of the run's own texts")
    return 0


def _load(arguments):
    trained = runs.load(arguments.workdir, arguments.step)
    if trained.method.language is None:
        raise ValueError(f"{trained.config.method.name} predicts no tokens")
    return trained, load_tokenizer(trained.config.data.tokenizer)


def _encode(tokens, text):
    return tokens.encode(unicodedata.normalize("NFC", text), add_special_tokens=False).ids
