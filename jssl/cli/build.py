"""From a config to the objects it names."""

import copy
import inspect
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jssl import methods, require
from jssl.augment import audio, compose, image
from jssl.cli.config import saved
from jssl.method import Array, Batch, Method, PyTree
from jssl.nn import encoders, layers
from jssl.train import optimizers, schedules
from jssl.train.freeze import NEVER, freeze

# The section `augment` of a view that is the image itself.
IDENTITY = {
    "scale": (1.0, 1.0),
    "ratio": (1.0, 1.0),
    "flip": 0.0,
    "jitter_p": 0.0,
    "grayscale_p": 0.0,
    "blur_p": 0.0,
    "solarize_p": 0.0,
}
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16, "float64": jnp.float64}


class Views(NamedTuple):
    """How a run looks at its images.

    view: ``(key, batch) -> [n h w c]``, one augmented view, normalised.
    views: ``(key, batch) -> [n 2 h w c]``, two of them.
    crops: ``(key, batch) -> [[n 2 h w c], [n l p q c]]``, two large ones and l small ones; without
      small ones the first alone.
    prepare: ``batch -> [n h w c]``, not augmented, normalised.
    restore: normalised images back to [0, 1].
    unrestore: images in [0, 1] to what the views are.
    """

    view: Callable[[Array, Batch], Array]
    views: Callable[[Array, Batch], Array]
    crops: Callable[[Array, Batch], list[Array]]
    prepare: Callable[[Batch], Array]
    restore: Callable[[Array], Array]
    unrestore: Callable[[Array], Array]


def statistics(source, examples: int = 1024) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of each channel in [0, 1], over the first examples of a source."""
    total, square, pixels = 0.0, 0.0, 0
    for i in range(min(examples, len(source))):
        x = np.asarray(image.as_float(source[i]["image"][None]), np.float64)
        total, square = total + x.sum((0, 1, 2)), square + (x**2).sum((0, 1, 2))
        pixels += x[..., 0].size
    mean = total / pixels
    std = np.sqrt(np.maximum(square / pixels - mean**2, 1e-6))
    return tuple(mean.round(4).tolist()), tuple(std.round(4).tolist())


def views(config) -> Views:
    """The augmentations of ``config.augment``; ``augment2`` changes some for the second view,
    ``augment_local`` for the small ones."""
    dtype = _dtype(config)
    first = config.augment.to_dict()
    size, mean, std = first["size"], first["mean"], first["std"]
    view1 = compose.image_view(**first, dtype=dtype)
    view2 = compose.image_view(**(first | _given(config.augment2)), dtype=dtype)
    pair = compose.two_views(view1, view2)
    local = _given(config.augment_local)
    n_local = local.pop("count")
    if n_local and not 0 < local.get("size", 0) <= size:
        raise ValueError(
            f"augment_local.size must be between 1 and augment.size={size}, got {local.get('size')}"
        )
    small = compose.image_view(**(first | local), dtype=dtype)
    crops = compose.multi_crop(pair, small, n_local)

    def pixels(batch):
        return image.as_float(batch["image"], dtype)

    def prepare(batch):
        return image.normalize(_fit(pixels(batch), size), mean, std)

    return Views(
        view=lambda key, batch: view1(key, pixels(batch)),
        views=lambda key, batch: pair(key, pixels(batch)),
        crops=lambda key, batch: crops(key, pixels(batch)),
        prepare=prepare,
        restore=lambda x: jnp.clip(image.denormalize(x, mean, std), 0, 1),
        unrestore=lambda x: image.normalize(x, mean, std),
    )


def unaugmented(config):
    """The same config with views that are the image itself: its middle square, resized.

    What a method does to its views (masks, noise) it goes on doing.
    """
    plain = copy.deepcopy(config)
    with plain.unlocked(), plain.ignore_type():
        plain.augment.update(IDENTITY)
        for section in (plain.augment2, plain.augment_local):
            section.update({key: None for key in section if key not in ("size", "count")})
    return plain


def _given(section):
    return {key: value for key, value in section.to_dict().items() if value is not None}


def _fit(x, size):
    """The middle square of each image, resized to the side of the views."""
    h, w = x.shape[1:3]
    scale = size / min(h, w)
    return image.center_crop(image.resize(x, (round(h * scale), round(w * scale))), size)


def encoder(config, facts: dict | None = None, section: str = "encoder") -> nn.Module:
    """The encoder of a section of the config.

    One of texts is told its vocabulary by the facts of the data.
    """
    options = config[section].to_dict()
    takes = encoders.takes(options["name"])
    if takes != "image" and takes not in (facts or {}).get("example", {}):
        kind = {
            "tokens": "texts: give data.source=text",
            "signal": "recordings: give data.source=audio",
            "series": "series: give data.source=series",
            "row": "tables: give data.source=table",
        }
        raise ValueError(f"encoder {options['name']} is for {kind[takes]}:PATH")
    if takes == "tokens":
        options["vocabulary"] = facts["tokens"]["vocabulary"]
    dtype = _dtype(config)
    param_dtype = np.promote_types(dtype, np.float32)  # bfloat16 computes with float32 parameters
    return encoders.build(options.pop("name"), dtype=dtype, param_dtype=param_dtype, **options)


def frozen(config) -> dict[str, Path]:
    """Of the options of the method that are finished runs, typed `Method`, the folders given."""
    options = inspect.signature(methods.METHODS[config.method.name]).parameters.items()
    names = [name for name, option in options if option.annotation == Method | None]
    return {name: Path(config.method[name]) for name in names if config.method[name] is not None}


def method(config, facts: dict, frozen: dict[str, Method] | None = None) -> Method:
    """The method of the config, given what its signature asks for of encoder, views and so on.

    Args:
      config: a finished one.
      facts: those of the run's data: ``steps``, ``steps_per_epoch``, ``examples``,
        ``num_classes``; and of the finished runs that the method asks for, what is recorded of
        them, as ``frozen``.
      frozen: those runs as methods, by option, whose ``init`` gives what they learned; else they
        are made of what is recorded, and only the shapes that ``init`` gives are right.
    """
    options = config.method.to_dict()
    factory = methods.METHODS[options.pop("name")]
    offered = seen(config, facts) | {
        "encoder": encoder(config, facts),
        "begin": None,
        "num_classes": facts["num_classes"],
        "total_steps": facts["steps"],
        "steps_per_epoch": facts["steps_per_epoch"],
        "examples": facts["examples"],
    }
    if "text_encoder" in config:
        known = "tokens" in facts
        offered["text_encoder"] = encoder(config, facts, "text_encoder") if known else None
    if frozen is None:
        runs = facts.get("frozen", {}).items()
        frozen = {name: method(saved(run["config"]), run["facts"]) for name, run in runs}
    asked = inspect.signature(factory).parameters
    missing = [k for k, v in asked.items() if v.default is v.empty and k not in offered]
    if missing:
        raise ValueError(
            f"method {config.method.name} cannot learn from {config.data.source}, which gives no "
            f"{', '.join(missing)}"
        )
    made = factory(**{k: v for k, v in offered.items() if k in asked}, **options | frozen)
    if config.freeze == "none" and config.unfreeze_epochs is None:
        return made
    return freeze(made, partial(learns, config, facts["steps_per_epoch"]))


def learns(config, per_epoch: int, params: PyTree) -> PyTree:
    """Of each parameter the first step at which it learns, as in `jssl.train.freeze.freeze`.

    With ``unfreeze_epochs`` E what is no encoder learns at once, the encoder's last layer after E
    epochs, the one before it after 2 E, and so on; what ``freeze`` names never does.
    """
    every = config.unfreeze_epochs
    steps = jax.tree.map(lambda _: 0, params)
    if every is not None:
        depths, count = layers.depths(params)
        steps = jax.tree.map(lambda depth: round((count - depth) * every * per_epoch), depths)
    frozen = layers.frozen(params, config.freeze)
    return jax.tree.map(lambda held, step: NEVER if held else step, frozen, steps)


def seen(config, facts: dict) -> dict:
    """What methods are given of the data.

    The `Views` of images by name; of texts ``prepare``, their rows, ``view``, the same, and what is
    known of the tokenizer; of images with captions the `Views` and ``caption``, their rows; of
    recordings ``prepare`` and ``view``, their signals, or for an encoder of images, with
    ``restore``, their log-mel spectrograms (`spectrogram`); of series the same two, their windows
    scaled channel by channel as the training part asks; of tables their rows, scaled and one-hot.
    """
    if "series" in facts:
        prepare = partial(_scaled, facts["series"])
        return {"prepare": prepare, "view": lambda key, batch: prepare(batch)}
    if "table" in facts:
        prepare = partial(_columns, facts["table"]["columns"], _dtype(config))
        return {"prepare": prepare, "view": lambda key, batch: prepare(batch)}
    example = facts.get("example", {})
    if "signal" in example:
        return _sound(config)
    if "tokens" not in facts:
        return views(config)._asdict()
    if "image" in example:
        return views(config)._asdict() | {"caption": _rows}
    known = dict(facts["tokens"])
    known["word_starts"] = [start == "1" for start in known["word_starts"]]
    return known | {"prepare": _rows, "view": lambda key, batch: _rows(batch)}


def _rows(batch):
    return {name: batch[name] for name in ("tokens", "segments")}


def _sound(config):
    def signal(batch):
        samples = batch["samples"]
        return {"signal": audio.standardize(batch["signal"], samples), "samples": samples}

    if encoders.takes(config.encoder.name) == "signal":
        return {"prepare": signal, "view": lambda key, batch: signal(batch)}

    def image(batch):
        return spectrogram(config, batch)[0][..., None].astype(_dtype(config))

    # Pictures show three deviations either way.
    restore = lambda x: jnp.clip((x + 3) / 6, 0, 1)  # noqa: E731
    return {"prepare": image, "view": lambda key, batch: image(batch), "restore": restore}


def spectrogram(config, batch: Batch) -> tuple[Array, Array]:
    """`jssl.augment.audio.spectrogram` of recordings, as long as the encoder's patches want."""
    return audio.spectrogram(
        batch["signal"],
        batch["samples"],
        rate=config.data.rate,
        bands=config.data.bands,
        multiple=config.encoder.get("patch", 1),
    )


def _scaled(fitted, batch):
    """Series of mean 0 and deviation 1 in the training part, 0 where there is no value."""
    x, observed = batch["series"], batch["observed"]
    if x.shape[-1] != len(fitted["mean"]):
        raise ValueError(
            f"the run is on {len(fitted['mean'])} channels ({', '.join(fitted['columns'])}), "
            f"this series has {x.shape[-1]}"
        )
    mean, std = (jnp.asarray(fitted[name], x.dtype)[None, None] for name in ("mean", "std"))
    return {"series": jnp.where(observed, (x - mean) / std, 0), "observed": observed}


def _columns(columns, dtype, batch):
    """Numbers scaled by the training part, 0 where missing, its mean; categories one-hot."""
    parts = []
    for j, column in enumerate(columns):
        x = batch["row"][:, j]
        if "categories" in column:
            found = jax.nn.one_hot(x.astype(jnp.int32), len(column["categories"]))
        else:
            found = jnp.nan_to_num((x - column["mean"]) / column["std"])[:, None]
        parts.append(found.astype(dtype))
    return jnp.concatenate(parts, axis=1)


def optimizer(
    config, per_epoch: int, steps: int
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """The optimizer of the config and its schedule, by step."""
    options = config.optimizer.to_dict()
    name, peak = options.pop("name"), options.pop("lr")
    # A run shorter than its warm-up is a trial: it warms up all the way, short of one step.
    warmup = min(round(options.pop("warmup_epochs") * per_epoch), steps - 1)
    schedule = schedules.warmup_cosine(peak, steps, warmup, options.pop("final_lr"))
    final_decay = options.pop("final_weight_decay")
    if final_decay is not None:
        options["weight_decay"] = schedules.cosine(options["weight_decay"], final_decay, steps)
    constant = {part: peak for part in options.pop("constant")}
    decay, frozen, scale = options.pop("layer_decay"), None, None
    if decay is not None:
        require.positive(**{"optimizer.layer_decay": decay})
        scale = partial(layers.decayed, decay=decay)
    if config.freeze != "none":
        frozen = partial(layers.frozen, freeze=config.freeze)
    more = {"constant": constant, "frozen": frozen, "scale": scale}
    return optimizers.build(name, schedule, **more, **options), schedule


def total_steps(config, per_epoch: int) -> int:
    """``train.steps`` where given, else ``train.epochs`` times the steps of an epoch."""
    steps = config.train.steps
    return round(config.train.epochs * per_epoch) if steps is None else steps


def check(config, devices: int | None = None) -> None:
    """Refuses what cannot work on so many devices (by default, those that there are).

    To be called before anything is decoded or compiled.
    """
    batch, parts = config.train.batch_size, config.train.accumulate
    devices = jax.device_count() if devices is None else devices
    counts = {
        "train.batch_size": batch,
        "train.accumulate": parts,
        "train.log_every": config.train.log_every,
        "checkpoint.keep": config.checkpoint.keep,
        "eval.k": config.eval.k,
    }
    require.at_least(1, **counts)
    if total_steps(config, 1) < 1:
        raise ValueError("train.steps and train.epochs must be at least 1")
    if batch % (devices * parts):
        raise ValueError(
            f"train.batch_size={batch} must be a multiple of devices x train.accumulate "
            f"({devices} x {parts})"
        )
    if config.mesh.fsdp < 1 or devices % config.mesh.fsdp:
        raise ValueError(f"mesh.fsdp must divide the {devices} devices, got {config.mesh.fsdp}")
    if config.unfreeze_epochs is not None:
        require.positive(unfreeze_epochs=config.unfreeze_epochs)
    require.at_least(0, **{"data.unlabeled": config.data.unlabeled})
    _dtype(config)


def _dtype(config):
    require.one_of(DTYPES, precision=config.precision)
    return DTYPES[config.precision]
