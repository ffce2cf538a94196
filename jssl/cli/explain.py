"""`jssl explain`: where an encoder looks, what it takes for alike, and which layers hold what."""

import dataclasses
import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jssl import data, require
from jssl.cli import build, inputs, pictures, runs
from jssl.evals import attention, cosine, layers, saliency
from jssl.nn import encoders

NEIGHBOURS = 8
BANK = 20_000  # training examples, among which neighbours are looked for
PROBED = 4_000, 1_000  # training and test examples that layers are measured with
READ = ("knn", "linear")
PATCHES = 7  # so many patches of those that cover an image would fill one of its sides


def explain(arguments) -> int:
    """Pictures of some images and a table of layers, into the run's folder."""
    require.at_least(1, limit=arguments.limit)
    run = _load(arguments.workdir, arguments.step)
    other = None if arguments.other is None else _load(arguments.other, None)
    bank = data.read_all(_some(runs.open_data(run.config, "train", pack=False), BANK))
    train, test, _ = runs.open_labelled(run.config)
    table = _layers(run, other, _some(train, PROBED[0]), _some(test, PROBED[1]))
    source = test if arguments.input is None else inputs.open_input(run, arguments)
    source = _some(source, arguments.limit)
    examples = data.read_all(source)
    seen = _pictures(run, examples, bank)
    table |= {"source": source.name, "step": int(run.train.step), "other": _name(arguments.other)}
    runs.write_json(arguments.workdir / "explain.json", table)
    np.savez_compressed(arguments.workdir / "explain.npz", **seen)
    folder = arguments.workdir / "explain"
    paths = pictures.targets(folder, inputs.names(source, examples))
    rows = [seen[f"shown_{name}"] for name in seen["shown"]]
    for path, *images in zip(paths, *rows, strict=True):
        pictures.write_panel(path, images)
    if arguments.json:
        print(json.dumps(table))
    else:
        print(f"{_format(table)}\n")
        print(f"{len(paths)} pictures ({' | '.join(seen['shown'])}) in {folder}")
    return 0


def _load(workdir, step):
    """A run on images whose encoder can be looked into: it recomputes nothing."""
    run = runs.load(workdir, step)
    if "image" not in run.facts["example"]:
        raise ValueError(f"{workdir} is no run on images: there is nothing to draw on")
    if run.config.encoder.get("scan"):
        raise ValueError(f"{workdir} has stacked layers: train it with encoder.scan=false")
    if not run.config.encoder.get("remat"):
        return run
    with run.config.unlocked():
        run.config.encoder.remat = False
    return run._replace(method=build.method(run.config, run.facts))


def _name(workdir) -> str | None:
    return None if workdir is None else str(workdir)


def _some(source, count: int):
    """So many examples of a source, spread evenly over it."""
    at = np.linspace(0, len(source) - 1, min(count, len(source))).astype(int)
    return dataclasses.replace(source, rows=source.rows[at])


def _embed(run, batch):
    return run.method.embed(run.train.params, run.train.state, batch)


def _layers(run, other, train, test) -> dict:
    """What each layer holds, and how much alike they are, among themselves and with another's."""
    train, test = data.read_all(train), data.read_all(test)
    known, asked = (layers.outputs(partial(_embed, run), part) for part in (train, test))
    widths = {name: {"width": x.shape[1]} for name, x in asked.items()}
    labels = train["label"], test["label"]
    if run.facts["num_classes"] and min(y.min() for y in labels) >= 0:
        options = {"num_classes": run.facts["num_classes"], "k": run.config.eval.k}
        read = layers.probes(known, labels[0], asked, labels[1], **options)
        widths = {name: row | read[name] for name, row in widths.items()}
    table = {"layers": widths, "cka": layers.likeness(asked, asked).tolist()}
    table["examples"] = [len(y) for y in labels]
    if other is not None:
        channels = [r.facts["example"]["image"][0][2] for r in (run, other)]
        if channels[0] != channels[1]:
            raise ValueError(f"runs must be on images of as many channels, got {channels}")
        theirs = layers.outputs(partial(_embed, other), test)
        table["other_layers"] = list(theirs)
        table["other_cka"] = layers.likeness(asked, theirs).tolist()
    return table


def _pictures(run, examples, bank) -> dict[str, np.ndarray]:
    """Maps over the images, and the training examples nearest to each."""
    views = build.views(run.config)
    images = jax.jit(lambda b: views.restore(views.prepare(b)))(examples).astype(jnp.float32)

    def encode(x):
        return _embed(run, {"image": x}).pooled

    known = runs.embedded(run, bank)[0]
    own = jnp.asarray(runs.embedded(run, examples)[0])
    side, channels = images.shape[1], images.shape[3]
    patch = max(2, side // PATCHES)
    fill = jnp.broadcast_to(jnp.asarray(run.config.augment.mean, jnp.float32), (channels,))
    toward = own - jnp.mean(jnp.asarray(known), axis=0, keepdims=True)
    maps = _attention(run, examples, side) | {
        "occlusion": saliency.occlusion(
            encode, images, size=patch, stride=max(1, patch // 2), fill=fill
        ),
        "gradient": saliency.smooth_gradient(encode, images, toward, jax.random.key(0)),
    }
    gray = pictures.colour(np.asarray(images))
    shown = {"image": gray} | {
        name: pictures.heat(np.asarray(images), np.asarray(heat)) for name, heat in maps.items()
    }
    k = min(NEIGHBOURS, len(known))
    similarity, at = (np.asarray(x) for x in cosine.nearest(jnp.asarray(known), own, k))
    return {
        "shown": np.array(list(shown)),
        **{f"shown_{name}": x for name, x in shown.items()},
        "label": examples["label"],
        "neighbours": pictures.colour(pictures.as_bytes(bank["image"][at.ravel()])).reshape(
            *at.shape, *bank["image"].shape[1:3], 3
        ),
        "neighbour_label": bank["label"][at],
        "similarity": similarity,
        "class_names": np.array(run.facts.get("class_names") or []),
    }


def _attention(run, examples, side) -> dict[str, np.ndarray]:
    """Of a ViT the last layer's, mean over heads, and that through all layers."""
    weights = attention.attention(partial(_embed, run), examples)
    if weights is None:
        return {}
    options = run.config.encoder.to_dict()
    options = encoders.options_of(options["name"]) | options
    grid = (side // options["patch"],) * 2
    flows = {"attention": weights[-1].mean(axis=1), "rollout": attention.rollout(weights)}
    return {
        name: np.kron(
            np.asarray(attention.onto_patches(flow, grid, options["pool"])),
            np.ones((1, options["patch"], options["patch"]), np.float32),
        )
        for name, flow in flows.items()
    }


def _format(table) -> str:
    rows = table["layers"]
    width = max(len(name) for name in rows)
    lines = [f"{'layer':{width}}  width        kNN     linear   CKA with the embedding"]
    for (name, row), cka in zip(rows.items(), table["cka"], strict=True):
        read = (f"{100 * row[key]:7.1f} %" if key in row else "        –" for key in READ)
        lines.append(f"{name:{width}}  {row['width']:5}  {'  '.join(read)}   {cka[-1]:.3f}")
    if "other_cka" in table:
        lines.append(f"\nCKA with {table['other']}, its most alike layer:")
        for name, values in zip(rows, table["other_cka"], strict=True):
            best = int(np.argmax(values))
            lines.append(f"{name:{width}}  {values[best]:.3f}  {table['other_layers'][best]}")
    return "\n".join(lines)
