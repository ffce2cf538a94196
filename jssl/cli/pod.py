"""``jssl compile``: a config's train step, compiled for a pod that is not there."""

import contextlib
import json
import sys
from typing import Any

import jax

from jssl.cli import build, config, runs
from jssl.pod import compile as pod_compile
from jssl.pod import report
from jssl.train import shard

# ImageNet, where the config says neither size nor number of examples.
SIZE, CHANNELS, EXAMPLES, CLASSES = 224, 3, 1_281_167, 1000
# The configs whose shapes are taken for a finished run that is asked for and not given.
STAND_INS = {"tokenizer": "vqvae"}


def compile(arguments) -> int:
    """Prints the page, or the object; 0 if the step fits, 1 if not."""
    changes = dict(arguments.overrides)
    if arguments.batch is not None:
        changes["train.batch_size"] = str(arguments.batch)
    cfg = config.load(arguments.config, changes)
    _complete(cfg, arguments.size)
    frozen = _frozen(cfg, arguments)
    pod = pod_compile.open_pod(arguments.topology)
    build.check(cfg, len(pod.devices))

    def say(text):
        if not arguments.json:
            print(f"{text} ...", file=sys.stderr, flush=True)

    say(f"compiling the step for {pod.name}")
    found = report.as_json(*measure(cfg, pod, frozen), [])
    if not found["fits"]:
        for change, overrides in _changes(cfg, pod):
            tried = {"change": change, "fits": None, "peak_bytes_per_chip": None}
            if arguments.advise:
                say(f"compiling with {change}")
                other = config.load(arguments.config, changes | overrides)
                _complete(other, arguments.size)
                result = report.as_json(*measure(other, pod, frozen, views=False), [])
                tried |= {key: result[key] for key in ("fits", "peak_bytes_per_chip")}
            found["advice"].append(tried)
    print(json.dumps(found) if arguments.json else report.page(_title(cfg), found, pod.chip))
    return 0 if found["fits"] else 1


def measure(
    cfg, pod: pod_compile.Pod, frozen: dict[str, dict], views: bool = True
) -> tuple[report.Task, Any, pod_compile.Program | None]:
    """What is asked for; the compiled step, or how it does not fit; the views compiled alone.

    ``frozen`` are the finished runs that the method asks for, see `jssl.cli.build.method`.
    """
    facts, batch = _data(cfg)
    facts["frozen"] = frozen
    method = build.method(cfg, facts)
    tx, _ = build.optimizer(cfg, facts["steps_per_epoch"], facts["steps"])
    mesh = shard.make_mesh(cfg.mesh.fsdp, pod.devices)
    train = pod_compile.abstract_state(method, tx, batch)
    model = build.method(_plain(cfg), facts)
    task = report.describe(model, train, batch, pod, dict(mesh.shape))
    try:
        program = pod_compile.step(method, tx, batch, mesh, cfg.train.accumulate)
    except pod_compile.OutOfMemory as error:
        return task, error, None
    alone = None
    if views:
        # Alone they end in memory, which within the step they need not: there may be no room.
        with contextlib.suppress(pod_compile.OutOfMemory):
            alone = pod_compile.views(method, batch, mesh)
    return task, program, alone


def _plain(cfg):
    """The same model without what is computed twice to save memory."""
    plain = cfg.copy_and_resolve_references()
    with plain.unlocked():
        if "remat" in plain.encoder:
            plain.encoder.remat = False
        if "loss_impl" in plain.method:
            plain.method.loss_impl = "dense"
    return plain


def _frozen(cfg, arguments) -> dict[str, dict]:
    """What is recorded of the finished runs that the method asks for, or of what stands in."""
    found = {}
    for name, folder in build.frozen(cfg).items():
        if not (folder / "data.json").exists():
            raise ValueError(f"method.{name}={folder} holds no run: there is no data.json in it")
        content, facts = (
            json.loads((folder / f"{f}.json").read_text()) for f in ("config", "data")
        )
        found[name] = {"config": content, "facts": facts}
    recipe = ":recipe=imagenet" if "recipe=imagenet" in arguments.config else ""
    for name in STAND_INS.keys() & cfg.method.keys() - found.keys():
        other = config.load(f"{STAND_INS[name]}{recipe}")
        _complete(other, other.data.size or cfg.data.size)
        found[name] = {"config": json.loads(other.to_json()), "facts": _data(other)[0]}
    return found


def _complete(cfg, size: int | None) -> None:
    """What `pretrain` measures of its data: here from the config, or as for ImageNet."""
    with cfg.unlocked(), cfg.ignore_type():
        cfg.data.size = size or cfg.data.size or cfg.augment.size or SIZE
        cfg.data.channels = cfg.data.channels or CHANNELS
        if size is not None or cfg.augment.size is None:
            cfg.augment.size = cfg.data.size
        if cfg.augment.mean is None or cfg.augment.std is None:
            cfg.augment.mean = cfg.augment.std = (0.5,) * cfg.data.channels


def _data(cfg) -> tuple[dict, dict[str, jax.ShapeDtypeStruct]]:
    """The facts of a run, and a global batch without content."""
    size, n = cfg.data.size, cfg.train.batch_size
    examples = cfg.data.limit or EXAMPLES
    per_epoch = max(1, examples // n)
    facts = {
        "example": {
            "image": [[size, size, cfg.data.channels], "uint8"],
            "label": [[], "int32"],
            "index": [[], "int32"],
        },
        "examples": examples,
        "num_classes": CLASSES,
        "steps_per_epoch": per_epoch,
        "steps": build.total_steps(cfg, per_epoch),
    }
    return facts, runs.abstract_batch(cfg, facts)


def _changes(cfg, pod: pod_compile.Pod) -> list[tuple[str, dict[str, str]]]:
    """What would help, with the overrides that do it."""
    chips, n = len(pod.devices), cfg.train.batch_size
    changes = []
    fsdp = min(16, chips)
    if cfg.mesh.fsdp < fsdp and chips % fsdp == 0:
        changes.append((f"mesh.fsdp={fsdp}", {"mesh.fsdp": str(fsdp)}))
    if cfg.encoder.get("remat") is False:
        changes.append(("encoder.remat=true", {"encoder.remat": "true"}))
    parts = cfg.train.accumulate
    if n % (2 * chips * parts) == 0:
        changes.append((f"train.batch_size={n // 2}", {"train.batch_size": str(n // 2)}))
        accumulate = {"train.accumulate": str(2 * parts)}
        changes.append((f"train.accumulate={2 * parts}", accumulate))
    return changes


def _title(cfg) -> str:
    return (
        f"{cfg.method.name}, {cfg.encoder.name}, {cfg.data.size} pixels, {cfg.precision}, "
        f"{cfg.optimizer.name}"
    )
