"""What each verb does; `jssl.cli.main` says how it is called."""

import dataclasses
import json
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jssl import data, require
from jssl.cli import build, config, evaluation, inputs, pictures, runs, text, transfer, words
from jssl.evals import collapse, features, knn, restoration, table
from jssl.losses import spread
from jssl.train import loop, shard

# Of the training data, in the kNN that is measured on the way.
KNN_EXAMPLES = 20_000


def pretrain(arguments) -> int:
    """Trains the config in the folder, from its newest checkpoint where there is one."""
    cfg = config.load(arguments.config, arguments.overrides, arguments.workdir)
    build.check(cfg)
    text.keep_tokenizer(cfg, arguments.workdir)
    labels = {"labels": cfg.data.labels, "seed": cfg.seed}
    source = runs.open_data(cfg, "train", limit=cfg.data.limit, **labels)
    with cfg.unlocked(), cfg.ignore_type():
        images = source.content == "image"
        if images and cfg.augment.size is None:
            cfg.augment.size = min(runs.image_shape(source)[:2])
        if images and (cfg.augment.mean is None or cfg.augment.std is None):
            cfg.augment.mean, cfg.augment.std = build.statistics(source)
    mesh = shard.make_mesh(cfg.mesh.fsdp)
    stream = data.open_stream(
        source,
        cfg.train.batch_size,
        seed=cfg.seed,
        unlabeled=cfg.data.unlabeled,
        sharding=shard.batch_sharding(mesh),
        workers=cfg.data.workers,
        max_bad=cfg.data.max_bad,
    )
    per_epoch = stream.steps_per_epoch
    steps = build.total_steps(cfg, per_epoch)
    facts = {
        "example": runs.describe_example(source),
        "examples": len(source),
        "steps": steps,
        "steps_per_epoch": per_epoch,
        "num_classes": source.num_classes,
        "class_names": source.class_names,
        "labels": None if source.labeled is None else len(source.labeled),
    }
    if "tokens" in facts["example"]:
        facts["tokens"] = data.describe_tokens(cfg.data.tokenizer)
    if source.content == "series":
        facts["series"] = source.reader.describe()
    if source.content == "row":
        facts["table"] = source.reader.describe()
    facts["frozen"], frozen = runs.frozen(arguments.workdir, cfg, facts)
    with require.options_that_fit(f"the method {cfg.method.name}"):
        method = build.method(cfg, facts, frozen)
        facts["init_from"], method = transfer.begin(arguments.workdir, cfg, facts, method)
        facts["dimensions"] = runs.dimensions(method, facts)
        tx, schedule = build.optimizer(cfg, per_epoch, steps)
    with runs.alone(arguments.workdir):
        runs.begin(arguments.workdir, cfg, facts)
        train = loop.fit(
            method,
            tx,
            stream,
            steps=steps,
            seed=cfg.seed,
            accumulate=cfg.train.accumulate,
            mesh=mesh,
            workdir=arguments.workdir,
            checkpoints=runs.checkpoints(arguments.workdir, cfg),
            checkpoint_every=cfg.checkpoint.every_steps or 0,
            log_every=cfg.train.log_every,
            trace=_trace(cfg.train.trace),
            hooks=_hooks(cfg, method, schedule, facts, mesh),
            quiet=getattr(arguments, "quiet", False),
        )
    stream.close()
    done = int(train.step)
    if done < steps:
        if jax.process_index() == 0:
            print(
                f"stopped and saved at step {done} of {steps}; the same command goes on from there"
            )
        return 130
    return 0


def _trace(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    first, found, last = text.partition(":")
    if not found or not first.isdigit() or not last.isdigit() or int(first) >= int(last):
        raise ValueError(f"train.trace takes A:B, the steps to profile, got {text!r}")
    return int(first), int(last)


def _hooks(cfg, method, schedule, facts, mesh) -> loop.Hooks:
    """kNN on a part of the training data held out, and the collapse monitor.

    No kNN where most labels are hidden: it would look at them.
    """

    def monitor(params, state, batch):
        z = method.embed(params, state, jax.tree.map(lambda x: x[:256], batch)).pooled
        # Centred: an offset that all examples share is neither rank nor the lack of it.
        centred = z - jnp.mean(z, axis=0, keepdims=True)
        return {
            "effective_rank": collapse.effective_rank(centred),
            "deviation": spread.deviation(z),
        }

    def verdict(values):
        reason = collapse.collapsed(
            values["effective_rank"],
            values["deviation"],
            facts["dimensions"],
            values.get("projection_spread"),
        )
        return f"collapsed: {reason}" if reason else None

    every = round(cfg.eval.every_epochs * facts["steps_per_epoch"])
    shown = facts["num_classes"] and facts["labels"] is None
    evaluate = _knn(cfg, method, mesh) if every > 0 and shown else None
    return loop.Hooks(
        evaluate=evaluate,
        every=every if evaluate else 0,
        monitor=monitor,
        verdict=verdict,
        learning_rate=schedule,
    )


def _knn(cfg, method, mesh):
    """kNN accuracy on a tenth of the training data, held out by a hash, from the other nine.

    Test data is not touched while a run can still be changed.
    """
    limit = min(cfg.data.limit or KNN_EXAMPLES, KNN_EXAMPLES)
    bank, queries = (
        data.read_all(runs.open_data(cfg, "train", limit=limit, holdout=0.1, part=part, pack=False))
        for part in ("fit", "holdout")
    )
    classes = int(bank["label"].max()) + 1
    spread = shard.replicated(mesh) if jax.process_count() > 1 else None

    def evaluate(params, state):
        embed = jax.tree_util.Partial(method.embed, params, state)
        known, asked = (features.extract(embed, part, sharding=spread) for part in (bank, queries))
        k = min(cfg.eval.k, len(known))
        labels = bank["label"], queries["label"]
        return {"knn": knn.knn(known, labels[0], asked, labels[1], k=k, num_classes=classes)}

    return evaluate


def embed(arguments) -> int:
    """A folder, a file of texts or of series in, vectors with file names or numbers out."""
    if arguments.output.suffix not in (".npz", ".parquet"):
        raise ValueError(f"--output takes FILE.npz or FILE.parquet, got {arguments.output}")
    trained = runs.load(arguments.workdir, arguments.step)
    source = inputs.open_input(trained, arguments)
    examples = data.read_all(source)
    (vectors,) = runs.embedded(trained, examples)
    columns = {"name": np.array(inputs.names(source, examples)), "embedding": vectors}
    columns["label"] = examples["label"]
    if trained.method.towers is not None:
        for name in ("image", "text") if "tokens" in examples else ("image",):
            columns[f"{name}_embedding"] = words.tower(trained, name, examples)
    if arguments.output.suffix == ".npz":
        np.savez(arguments.output, **columns)
    else:
        import pyarrow
        from pyarrow import parquet

        columns = {name: x if x.ndim == 1 else list(x) for name, x in columns.items()}
        parquet.write_table(pyarrow.table(columns), arguments.output)
    print(f"{len(vectors)} vectors of {vectors.shape[1]} dimensions in {arguments.output}")
    return 0


def reconstruct(arguments) -> int:
    """What a method fills in: pictures of it, or how near it comes, as a table."""
    output, own = arguments.output, arguments.input is None
    if output is not None and output.exists() and not output.is_dir():
        raise ValueError(f"--output takes a folder, {output} is a file")
    if arguments.limit is not None:
        require.at_least(1, limit=arguments.limit)
    trained = runs.load(arguments.workdir, arguments.step)
    if trained.method.reconstruct is None:
        raise ValueError(f"{trained.config.method.name} fills nothing in: nothing to reconstruct")
    if own:
        _, source, seen = runs.open_labelled(trained.config)
    else:
        source, seen = inputs.open_input(trained, arguments), None
    source = dataclasses.replace(source, rows=source.rows[: arguments.limit])
    examples = data.read_all(source)
    filled = pictures.fill(trained, examples, arguments.seed)
    if output is not None:
        return _write_pictures(output, source, examples, filled)
    step = int(trained.train.step)
    result = {"source": source.name, "seen": seen, "step": step, "seed": arguments.seed}
    result |= restoration.table(filled)
    if seen:
        result["notes"].append("the images are of the training data: the method has seen them")
    if own:
        pictures.save(arguments.workdir, trained, examples)
        runs.write_json(arguments.workdir / "restoration.json", result)
    print(json.dumps(result) if arguments.json else restoration.format_table(result))
    return 0


def _write_pictures(output: Path, source, examples, filled) -> int:
    names = inputs.names(source, examples)
    paths = pictures.targets(output, names)
    if source.names is not None:
        given = {Path(source.place(i)).resolve() for i in range(len(source))}
        lost = next((path for path in paths if path.resolve() in given), None)
        if lost is not None:
            raise ValueError(f"--output would overwrite the input {lost}: choose another folder")
    done = 0
    for batch in filled:
        for images in zip(*batch.values(), strict=True):
            pictures.write_panel(paths[done], images)
            done += 1
    print(f"{done} pictures ({' | '.join(batch)}) in {output}")
    return 0


def report(arguments) -> int:
    """Writes the page and says where it is."""
    from jssl.report import page

    if not (arguments.workdir / "config.json").exists():
        raise ValueError(f"{arguments.workdir} holds no run: there is no config.json in it")
    print(f"report: {page.write(arguments.workdir)}")
    return 0


def quickstart(arguments) -> int:
    """Pretrains, evaluates and reports: the whole way on the bundled images."""
    began = time.perf_counter()
    code = pretrain(arguments)
    if code:
        return code
    print(f"pretrained in {time.perf_counter() - began:.0f} s\n", flush=True)
    arguments.protocols, arguments.rows = ",".join(table.DEFAULT), "all"
    arguments.embeddings, arguments.step, arguments.json = None, None, False
    arguments.masks, arguments.ignore = None, None
    return evaluation.evaluate(arguments) or report(arguments)
