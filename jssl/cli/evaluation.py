"""`jssl evaluate`: a baseline of the data itself, random and pretrained encoders, all alike."""

import json
import sys

import jax
import numpy as np

from jssl import data
from jssl.augment import audio
from jssl.cli import build, config, fine_tune, pictures, runs, saved
from jssl.evals import features, robustness, table
from jssl.evals.linear import linear_probe
from jssl.evals.protocols import PROTOCOLS
from jssl.method import Features

# Of the table of `evaluate`.
ROWS = ("raw_pixels", "log_mel", "raw_values", "random_encoder", "pretrained")
# Of what there is no encoder in, the data it is of.
BASELINES = {"raw_pixels": ("image",), "log_mel": ("signal",), "raw_values": ("series", "row")}
CORRUPTED = 2000  # test images
VIEWED, VIEWS = 1000, 10  # test images, and views of each, of what is measured with views


def evaluate(arguments) -> int:
    """A baseline of the data itself, the random encoder and the pretrained one, all alike."""
    if arguments.embeddings is not None:
        return _evaluate_file(arguments)
    chosen = _chosen(
        "protocol", arguments.protocols, [*PROTOCOLS, *table.OF_RUNS, *table.OF_IMAGES]
    )
    wanted = _chosen("row", arguments.rows or "all", ROWS)
    trained = runs.load(arguments.workdir, arguments.step)
    cfg = trained.config
    source, test_source, _ = runs.open_labelled(cfg)
    train, test = data.read_all(source), data.read_all(test_source)
    for part, examples in (("training", train), ("test", test)):
        if examples["label"].min() < 0:
            raise ValueError(
                f"evaluation needs labels, the {part} data of {cfg.data.source} has none"
            )
    for name, contents in BASELINES.items():
        if not any(content in train for content in contents) and name in wanted:
            if arguments.rows not in (None, "all"):
                are = {"raw_pixels": "images", "log_mel": "recordings"}
                of = are.get(name, "series and tables")
                raise ValueError(f"{name} is of {of}, the run is on {cfg.data.source}")
            wanted.remove(name)
    k = min(cfg.eval.k, len(train["label"]))
    viewed = "unlabelled" in chosen and "image" in test
    rows = {}
    for name in wanted:
        if not arguments.json:
            print(f"evaluating {name.replace('_', ' ')} ...", file=sys.stderr, flush=True)
        run = trained
        if name == "raw_pixels":
            train_x, test_x = table.raw_pixels(train["image"], test["image"])
        elif name == "log_mel":
            train_x, test_x = _log_mel(cfg, train, test)
        elif name == "raw_values":
            prepare = build.seen(cfg, trained.facts)["prepare"]
            train_x, test_x = (_values(prepare, part) for part in (train, test))
        elif name == "random_encoder":
            run = runs.load(arguments.workdir, trained=False)
            train_x, test_x = runs.embedded(run, train, test)
        else:
            train_x, test_x = runs.embedded(run, train, test)
            if "image" in test:
                pictures.save(arguments.workdir, run, test)
                pictures.save_map(arguments.workdir, run, test, test_x)
        rows[name] = table.evaluate(
            train_x,
            train["label"],
            test_x,
            test["label"],
            num_classes=trained.facts["num_classes"],
            protocols=[name for name in chosen if name in PROTOCOLS],
            k=k,
            views=_views(run, test) if viewed and name not in BASELINES else None,
        )
        if "fine_tuned_10_percent" in chosen:
            tuned = None if name in BASELINES else fine_tune.fine_tune(run, source, train, test)
            rows[name]["fine_tuned_10_percent"] = tuned
        if "classifier" in chosen:
            told = None if name in BASELINES else _classifier(run, test)
            rows[name]["classifier"] = told
        if "corruptions" in chosen:
            given = train, test, train_x, test_x
            images = "image" in test
            rows[name]["corruptions"] = _corruptions(run, name, *given) if images else None
    runs.write_json(arguments.workdir / "table.json", rows)
    print(json.dumps(rows) if arguments.json else table.format_table(rows))
    return 0


def _evaluate_file(arguments) -> int:
    for option in ("rows", "step"):
        if getattr(arguments, option) is not None:
            raise ValueError(f"--{option} is of a run: it cannot go with --embeddings")
    chosen = _chosen("protocol", arguments.protocols, PROTOCOLS)
    data, more = saved.load(arguments.embeddings)
    classes = int(max(data[1].max(), data[3].max())) + 1
    k = min(20, len(data[1]))
    row = table.evaluate(*data, num_classes=classes, protocols=chosen, k=k, **more)
    print(json.dumps(row) if arguments.json else table.format_table({"embeddings": row}))
    return 0


def _chosen(kind, text, known):
    names = list(known) if text == "all" else list(dict.fromkeys(text.split(",")))
    for name in names:
        if name not in known:
            raise ValueError(f"unknown {kind} {name!r}{config.nearest(name, known)}")
    return names


def _classifier(run, test) -> float | None:
    """Accuracy of what a run's own method says of the test examples; None where it knows none."""
    classes = run.facts["num_classes"]
    if run.method.predict is None:
        return None
    params, state = run.train.params, run.train.state
    said = features.extract(
        lambda batch: Features(run.method.predict(params, state, batch), None), test
    )
    if said.shape[1] != classes or run.config.method.get("task") not in (None, "classification"):
        return None
    return float((said.argmax(axis=1) == test["label"]).mean())


def _corruptions(run, name, train, test, train_x, test_x) -> dict[str, float]:
    """What a linear probe of clean training images says of corrupted test images."""
    if name == "raw_pixels":

        def encode(images):
            return table.raw_pixels(train["image"], images)[1]

    else:
        embed = jax.tree_util.Partial(run.method.embed, run.train.params, run.train.state)

        def encode(images):
            return features.extract(embed, {"image": images})

    labels = train["label"], test["label"]
    data = (train_x, labels[0], test_x, labels[1])
    probe = linear_probe(*data, num_classes=run.facts["num_classes"])
    images = test["image"][:CORRUPTED]
    return robustness.under_corruptions(encode, probe, images, labels[1][:CORRUPTED])


def _views(run, test) -> np.ndarray:
    """Embeddings [n q d] of views of some test images, drawn as the run's own training draws them.

    In pairs, of each the first by ``augment`` and the second by ``augment2``.
    """
    views, method = build.views(run.config), run.method
    params, state = run.train.params, run.train.state

    def embed(key, batch):
        key = jax.random.fold_in(key, batch["index"][0])
        pair = views.restore(views.views(key, batch))
        n, _, *shape = pair.shape
        seen = method.embed(params, state, {"image": pair.reshape(2 * n, *shape)})
        return Features(seen.pooled.reshape(n, -1), None)

    some = {name: test[name][:VIEWED] for name in ("image", "index")}
    keys = jax.random.split(jax.random.key(run.config.seed), VIEWS // 2)
    pairs = [features.extract(jax.tree_util.Partial(embed, key), some) for key in keys]
    return np.stack(pairs, axis=1).reshape(len(some["index"]), VIEWS, -1)


def _log_mel(cfg, train, test):
    """Mean and deviation of the bands over time, as likely to be large as each other."""

    def statistics(batch):
        return Features(audio.mel_statistics(*build.spectrogram(cfg, batch)), None)

    train_x, test_x = (features.extract(statistics, part) for part in (train, test))
    mean, std = train_x.mean(axis=0), train_x.std(axis=0) + 1e-6
    return (train_x - mean) / std, (test_x - mean) / std


def _values(prepare, part):
    """All values, scaled as encoders see them; 0 where there is none."""

    def flat(batch):
        x = prepare(batch)
        x = x["series"] if isinstance(x, dict) else x
        return Features(x.reshape(len(x), -1), None)

    return features.extract(flat, part)
