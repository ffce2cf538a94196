"""What is asked of a run on images with captions: labels it never saw, and who belongs to whom."""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from jssl import data
from jssl.cli import inputs, runs
from jssl.data.pairs import encode
from jssl.evals import cosine, features, retrieval, zero_shot
from jssl.method import Features

SHOWN = 3  # labels for each image of an input


def load(workdir: Path, step: int | None) -> runs.Trained:
    """The run in a folder; ValueError if it learned nothing of words."""
    trained = runs.load(workdir, step)
    if trained.method.towers is None:
        raise ValueError(f"{trained.config.method.name} knows no words: {workdir} is not on pairs")
    return trained


def tower(trained: runs.Trained, name: str, examples) -> np.ndarray:
    """Unit vectors [n d] of the images or texts (``name``) of some examples."""
    params, state = trained.train.params, trained.train.state
    said = getattr(trained.method.towers, name)
    count = len(next(iter(examples.values())))
    made = features.extract(
        lambda batch: Features(said(params, state, batch), None), examples, min(512, count)
    )
    return np.asarray(cosine.unit(jnp.asarray(made)))


def labels_of(trained: runs.Trained, labels: list[str], templates: list[str]) -> np.ndarray:
    """A unit vector [k d] for each label, the mean of those of its prompts.

    They are its names, apart by ``|``, in each of the templates.

    Source: the ensembling over prompts of Radford et al. 2021, arXiv 2103.00020, section 3.1.4.
    """
    for template in templates:
        if "{}" not in template:
            raise ValueError(f"--template must hold {{}} where the label goes, got {template!r}")
    names = [[name.strip() for name in label.split("|")] for label in labels]
    if not all(name for several in names for name in several):
        raise ValueError(f"--labels must not be empty, got {labels}")
    section = trained.config.data
    prompts = [[t.replace("{}", name) for name in several for t in templates] for several in names]
    texts = [prompt for several in prompts for prompt in several]
    vectors = tower(trained, "text", encode(section.tokenizer, texts, section.length))
    ends = np.cumsum([len(several) for several in prompts])[:-1]
    means = np.stack([part.mean(axis=0) for part in np.split(vectors, ends)])
    return np.asarray(cosine.unit(jnp.asarray(means)))


def zeroshot(arguments) -> int:
    """Labels given as words to images: accuracy on the run's test data, or those of an input."""
    trained = load(arguments.workdir, arguments.step)
    classes = trained.facts["class_names"]
    labels = classes if arguments.labels is None else arguments.labels.split(",")
    if not labels:
        raise ValueError(f"{arguments.workdir} has no class names: give --labels")
    if arguments.input is None and len(labels) != len(classes or ()):
        there = ", ".join(classes or ()) or "none"
        raise ValueError(
            f"--labels must name each class of the test data in turn, got {len(labels)}: {there}"
        )
    spec = arguments.input
    own = spec is None
    source = (
        runs.open_data(trained.config, "test") if own else inputs.open_input(trained, arguments)
    )
    examples = data.read_all(source)
    images = tower(trained, "image", {"image": examples["image"]})
    templates = arguments.template or ["{}"]
    scores = images @ labels_of(trained, list(labels), templates).T
    if spec is not None:
        return _show(source, examples, labels, scores, arguments.json)
    result = {"labels": list(labels), "templates": templates}
    result |= zero_shot.accuracy(scores, examples["label"])
    print(json.dumps(result, ensure_ascii=False) if arguments.json else zero_shot.table(result))
    return 0


def _show(source, examples, labels, scores, as_json):
    names = source.names or [str(i) for i in range(len(source))]
    best = np.argsort(-scores, axis=1)[:, :SHOWN]
    rows = [
        {"name": names[i], "labels": [[labels[k], float(s[k])] for k in order]}
        for i, s, order in zip(examples["index"], scores, best, strict=True)
    ]
    if as_json:
        print(json.dumps(rows, ensure_ascii=False))
        return 0
    for row in rows:
        print(row["name"], *(f"{label} {score:.2f}" for label, score in row["labels"]), sep="\t")
    return 0


def retrieve(arguments) -> int:
    """How often an image of the test data finds its caption, and a caption its image."""
    trained = load(arguments.workdir, arguments.step)
    source = runs.open_data(trained.config, "test")
    examples = data.read_all(source)
    images, texts = (tower(trained, name, examples) for name in ("image", "text"))
    _, group = np.unique([source.names[i] for i in examples["index"]], return_inverse=True)
    result = retrieval.between(images, texts, group.astype(np.int32))
    print(json.dumps(result) if arguments.json else _recalls(result))
    return 0


def _recalls(result):
    width = max(map(len, result))
    ways = [name for name, row in result.items() if isinstance(row, dict)]
    lines = [f"{result['images']:,} images, {result['texts']:,} captions", " " * width]
    lines[1] += "".join(f"{'recall@' + str(k):>12}" for k in retrieval.RECALLS)
    for name in ways:
        row = "".join(f"{100 * result[name][f'recall_at_{k}']:10.1f} %" for k in retrieval.RECALLS)
        lines.append(f"{name.replace('_', ' '):<{width}}{row}")
    return "\n".join(lines)
