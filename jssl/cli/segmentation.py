"""`jssl evaluate --masks`: what a linear head finds in the tokens of an encoder, pixel by pixel."""

import json
import sys
from pathlib import Path

import jax

from jssl import data
from jssl.augment import image
from jssl.cli import runs
from jssl.data.masks import read_masks
from jssl.evals import segmentation, table
from jssl.method import Features

ROWS = ("raw_pixels", "random_encoder", "pretrained")
HELD_OUT = 1 / 3  # of the images, by a hash of their names


def evaluate(arguments) -> int:
    """Colours alone, a random and the pretrained encoder, by mIoU on held-out images."""
    if arguments.workdir is None or arguments.rows is not None:
        raise ValueError("--masks is of a run's --workdir, and has rows of its own")
    trained = runs.load(arguments.workdir, arguments.step)
    if "image" not in trained.facts["example"]:
        raise ValueError(f"{arguments.workdir} is no run on images: nothing to segment")
    ignored = arguments.ignore or []
    train, test, classes = _read(trained, arguments.masks, ignored)
    names = {f"iou_{i}": f"iou_{value}" for i, value in enumerate(classes)}
    rows, others = {}, {"random_encoder": runs.load(arguments.workdir, trained=False)}
    for name in ROWS:
        if not arguments.json:
            print(f"evaluating {name.replace('_', ' ')} ...", file=sys.stderr, flush=True)
        dense = _colours if name == "raw_pixels" else _tokens(others.get(name, trained))
        found = segmentation.segment(dense, *train, *test, num_classes=len(classes))
        rows[name] = {"segmentation": {names.get(key, key): v for key, v in found.items()}}
    runs.write_json(
        arguments.workdir / "segmentation.json",
        {
            "source": str(arguments.masks),
            "classes": classes,
            "images": [len(train[0]), len(test[0])],
            "step": int(trained.train.step),
            "rows": rows,
        },
    )
    print(json.dumps(rows) if arguments.json else table.format_table(rows))
    return 0


def _read(run, root: Path, ignored):
    """Images and masks of the training and test part, and the values of the classes."""
    shape, _ = run.facts["example"]["image"]
    side = run.config.augment.size
    parts, values = [], None
    for part in ("fit", "holdout"):
        source = data.open_source(
            f"folder:{root / 'images'}",
            size=side,
            channels=shape[2],
            holdout=HELD_OUT,
            part=part,
        )
        examples = data.read_all(source)
        names = [source.names[i] for i in examples["index"]]
        if values is None:
            _, values = read_masks(root, names, side)
            values = [value for value in values if value not in ignored]
            if len(values) < 2:
                raise ValueError(f"{root}: the masks have {len(values)} classes that count")
        parts.append((examples["image"], read_masks(root, names, side, values)[0]))
    return *parts, values


def _colours(images):
    return image.as_float(images)


def _tokens(run):
    params, state = run.train.params, run.train.state
    shape, dtype = run.facts["example"]["image"]
    batch = {"image": jax.ShapeDtypeStruct((1, *shape), dtype)}

    def embed(batch) -> Features:
        return run.method.embed(params, state, batch)

    if jax.eval_shape(embed, batch).tokens is None:
        raise ValueError(f"encoder {run.config.encoder.name} has no tokens or feature map")
    return lambda images: embed({"image": images}).tokens
