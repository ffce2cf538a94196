"""A run's folder: what a verb reads to carry on with what another began."""

import contextlib
import fcntl
import hashlib
import importlib.metadata
import json
import os
import shlex
import sys
import time
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from jssl import __version__, data, require
from jssl.cli import build
from jssl.cli.config import read_json, saved
from jssl.evals import features
from jssl.method import Method, Vars
from jssl.train import shard
from jssl.train import step as train_step
from jssl.train.checkpoint import Checkpoints

# What may differ between two commands that train one run: neither changes what it learns.
FREE = ("checkpoint", "eval", "mesh", "data.workers", "train.log_every", "train.trace")

# Share of the training data that stands in for test data where there is none.
HELD_OUT = 0.2


class Trained(NamedTuple):
    """A run as found in its folder.

    config: with which it was trained.
    method: built from it.
    train: the train state of the checkpoint; the first state where none was asked for.
    facts: what the run measured of its data: example shape, steps.
    """

    config: ml_collections.ConfigDict
    method: Method
    train: train_step.TrainState
    facts: dict


def open_data(config, split: str, **options):
    """The source of a config: its training data, or what it is evaluated on."""
    spec = config.data.source
    if split != "train" and config.data.eval_source is not None:
        spec = config.data.eval_source
    source = data.open_source(
        spec,
        split=split,
        size=config.data.size,
        channels=config.data.channels,
        tokenizer=config.data.tokenizer,
        length=config.data.length,
        rate=config.data.rate,
        seconds=config.data.seconds,
        pattern=config.data.pattern,
        held=config.data.held,
        stride=config.data.stride,
        training=config.data.training,
        missing=config.data.missing,
        **{"pack": config.data.pack} | options,
    )
    if source.content == "row" and spec != config.data.source:
        # Another file may have other categories: they are numbered as in the training data.
        source.reader.read_like(open_data(config, "train").reader.describe())
    return source


def open_labelled(config):
    """What a run is evaluated with: its training data, its test data, and whether that was seen.

    Where there is no test split, a fifth of the training data stands in for it, held out by a
    hash; the encoder has seen those images, though never their labels.
    """
    limit = config.data.limit
    train = open_data(config, "train", limit=limit, pack=False)
    try:
        test = open_data(config, "test", limit=config.eval.limit, pack=False)
        if test.place(0) != train.place(0):
            return train, test, False
        reason = f"{config.data.source} names the split itself; data.eval_source names another"
    except data.DataError as error:
        if config.data.eval_source is not None:
            raise
        reason = str(error)
    print(f"no test data ({reason}): a fifth of the training data is held out", file=sys.stderr)
    parts = (
        open_data(config, "train", limit=limit, holdout=HELD_OUT, part=part, pack=False)
        for part in ("fit", "holdout")
    )
    return *parts, True


@contextlib.contextmanager
def alone(workdir: Path):
    """While it lasts no other process can train in the folder.

    The kernel lets go of the lock when the process ends, however it ends.

    Raises:
      ValueError: if another process is training there.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    with (workdir / "lock").open("a+") as file:
        if jax.process_index() == 0:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise ValueError(
                    f"{workdir} is being trained by another process (pid {file.read()})"
                ) from None
            except OSError:
                pass  # a file system without locks
            else:
                file.truncate(0)
                file.write(str(os.getpid()))
                file.flush()
        yield


def begin(workdir: Path, config, facts: dict) -> None:
    """Writes config and command into a new run's folder; refuses the folder of another run."""
    workdir.mkdir(parents=True, exist_ok=True)
    file = workdir / "config.json"
    resolved = json.loads(config.to_json())
    if file.exists():
        old = saved(read_json(file))
        changed = _differences(json.loads(old.to_json()), resolved)
        if changed:
            key, (old, new) = next(iter(changed.items()))
            more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
            raise ValueError(
                f"{workdir} holds a run with {key}={old}, this command says {new}{more}: "
                "choose another --workdir"
            )
    command = {
        "command": shlex.join(["jssl", *sys.argv[1:]]),
        "started": time.strftime("%Y-%m-%d %H:%M:%S %Z"),
        "versions": {
            name: importlib.metadata.version(name)
            for name in ("jax", "flax", "optax", "orbax-checkpoint", "numpy")
        }
        | {"jssl": __version__, "python": sys.version.split()[0]},
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
    }
    if jax.process_index() == 0:
        for name, content in (("config", resolved), ("command", command), ("data", facts)):
            path = workdir / f"{name}.json"
            # Whole or not at all, whenever the run is killed.
            path.with_suffix(".partial").write_text(json.dumps(content, indent=1))
            path.with_suffix(".partial").rename(path)


def _differences(old, new, prefix=""):
    changed = {}
    for key in old.keys() | new.keys():
        name, a, b = prefix + key, old.get(key), new.get(key)
        if name in FREE:
            continue
        if isinstance(a, dict) and isinstance(b, dict):
            changed |= _differences(a, b, name + ".")
        elif a != b:
            changed[name] = (a, b)
    return changed


def frozen(workdir: Path, config, facts: dict) -> tuple[dict[str, dict], dict[str, Method]]:
    """The finished runs that a config's method asks for: what is recorded of them, and as methods.

    Each is recorded with its config, its facts and the SHA-256 of what it learned, from which
    `jssl.cli.build.method` makes it again; ``init`` of the methods here gives what it learned.
    That lies in the folder that the config names when a run begins. A run that goes on has it in
    its own checkpoint, in the part of its state that is named like the option.

    Raises:
      ValueError: if a folder holds no finished run, or one of images with other channels.
    """
    folders, found, file = build.frozen(config), {}, workdir / "data.json"
    begun = read_json(file).get("frozen", {}) if file.exists() else {}
    if begun and checkpoints(workdir, config).steps():
        own = load(workdir).train.state
        found = {name: (run, own[name]) for name, run in begun.items()}
    else:
        for name, folder in folders.items():
            other = load(folder)
            _refuse(name, folder, other, facts)
            learned = Vars(other.train.params, other.train.state)
            content = json.loads(other.config.to_json())
            run = {"config": content, "facts": other.facts, "sha256": sha256(learned._asdict())}
            found[name] = (run, learned)
    record, made = {}, {}
    for name, (run, learned) in found.items():
        method = build.method(saved(run["config"]), run["facts"])
        record[name] = run
        # By way of the host: the mesh of that run is not this one's.
        made[name] = method._replace(init=_constant(jax.device_get(learned)))
    return record, made


def _constant(tree):
    return lambda key, batch: jax.tree.map(jnp.asarray, tree)


def _refuse(name, folder, other, facts):
    step, steps = int(other.train.step), other.facts["steps"]
    if step < steps:
        raise ValueError(f"{folder} stopped at step {step} of {steps}: finish it before it serves")
    theirs, ours = (f["example"]["image"][0][2] for f in (other.facts, facts))
    if theirs != ours:
        raise ValueError(
            f"method.{name}={folder} was trained on images of {theirs} "
            f"channel{'s' * (theirs > 1)}, these have {ours}"
        )


def checkpoints(workdir: Path, config) -> Checkpoints:
    """The checkpoints of a run, which know its method and encoder."""
    identity = {"method": config.method.name, "encoder": config.encoder.name}
    return Checkpoints(workdir / "checkpoints", keep=config.checkpoint.keep, identity=identity)


def load(workdir: Path, step: int | None = None, *, trained: bool = True) -> Trained:
    """The run in a folder, with the newest checkpoint or that of a step.

    Raises:
      ValueError: if there is no run, or no checkpoint.
    """
    file = workdir / "config.json"
    if not file.exists():
        raise ValueError(f"{workdir} holds no run: there is no {file}")
    config = saved(read_json(file))
    if (workdir / "tokenizer.json").exists():  # the folder may have been moved
        config.data.tokenizer = str(workdir / "tokenizer.json")
    facts = read_json(workdir / "data.json")
    with require.options_that_fit(f"the run in {workdir}"):
        method = build.method(config, facts)
        tx, _ = build.optimizer(config, facts["steps_per_epoch"], facts["steps"])
        batch = example(facts)
        first = jax.jit(lambda b: train_step.init(method, tx, config.seed, b))
        abstract = jax.eval_shape(first, batch)
    if not trained:
        return Trained(config, method, first(batch), facts)
    mesh = shard.make_mesh(config.mesh.fsdp if jax.device_count() % config.mesh.fsdp == 0 else 1)
    abstract = jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
        abstract,
        shard.state_sharding(mesh, abstract),
    )
    store = checkpoints(workdir, config)
    found = store.restore(abstract, step)
    if found is None:
        raise ValueError(f"{workdir} has no checkpoint yet")
    return Trained(config, method, found[0], facts)


def example(facts: dict) -> dict[str, np.ndarray]:
    """A batch of one of the run's data: shapes and types, no content."""
    return {name: np.zeros([1, *shape], dtype) for name, (shape, dtype) in facts["example"].items()}


def abstract_batch(config, facts: dict) -> dict:
    """The shapes and types of a global batch of the run's data."""
    n, beside = config.train.batch_size, config.data.unlabeled

    def shapes(lead, names):
        return {k: jax.ShapeDtypeStruct((*lead, *x.shape[1:]), x.dtype) for k, x in names.items()}

    one = example(facts)
    batch = shapes((n,), one)
    return batch | {"unlabeled": shapes((n, beside), data.unlabeled(one))} if beside else batch


def image_shape(source) -> tuple[int, ...]:
    """Height, width and channels of a source's images; an error that names two that differ."""
    if source.look is None:
        raise ValueError(f"{source.name}: {source.misfit}")
    return source.look.shape


def describe_example(source) -> dict:
    """Shapes and types of one example of a source, as JSON."""
    if source.content != "image":
        return {name: [list(x.shape), str(x.dtype)] for name, x in source[0].items()}
    example = {
        "image": [list(image_shape(source)), str(source.look.dtype)],
        "label": [[], "int32"],
        "index": [[], "int32"],
    }
    if source.target_shape is not None:
        example["target"] = [list(source.target_shape), "float32"]
    if source.captioned:
        beside = source.reader.beside(int(source.rows[0]))
        example |= {name: [list(x.shape), str(x.dtype)] for name, x in beside.items()}
    return example


def dimensions(method: Method, facts: dict) -> int:
    """Of the embedding."""
    batch = example(facts)
    variables = jax.eval_shape(method.init, jax.random.key(0), batch)
    return jax.eval_shape(method.embed, *variables, batch).pooled.shape[-1]


def sha256(tree) -> str:
    """Of every array of a tree: names, types, shapes and bytes, in the order of the names."""
    digest = hashlib.sha256()
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    named = {jax.tree_util.keystr(p, simple=True, separator="/"): leaf for p, leaf in leaves}
    for name in sorted(named):
        array = np.asarray(jax.device_get(named[name]))
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def embedded(trained: Trained, *parts) -> tuple[np.ndarray, ...]:
    """The embeddings [n d] of all examples of each part."""
    params, state = trained.train.params, trained.train.state
    return tuple(
        features.extract(lambda b: trained.method.embed(params, state, b), p) for p in parts
    )


def write_json(path: Path, content) -> None:
    """Writes all of it or nothing."""
    path.with_suffix(".partial").write_text(json.dumps(content, indent=1))
    path.with_suffix(".partial").rename(path)
