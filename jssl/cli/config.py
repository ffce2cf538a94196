"""Configs: found by name, called with typed arguments, overridden by dotted keys."""

import ast
import difflib
import importlib.util
import inspect
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import ml_collections
from ml_collections import config_dict

from jssl import require
from jssl.cli.recipes import defaults

PACKAGE = Path(__file__).resolve().parents[1]


def _builders() -> dict[str, Callable[[str], dict[str, Any]]]:
    from jssl import methods
    from jssl.augment import compose
    from jssl.nn import encoders
    from jssl.train import optimizers

    def options(table, name, kind):
        builder = table.get(name)
        if builder is None:
            raise ValueError(f"unknown {kind} {name!r}{nearest(name, table)}")
        # What has no default (the encoder, the learning rate) is handed over, not configured.
        return {k: v for k, v in signature(builder).items() if k not in required(builder)}

    def encoder(name):
        found = encoders.options_of(name).items()
        return {
            key: None if value is encoders.REQUIRED else value
            for key, value in found
            if not key.endswith("dtype")
        }

    view = signature(compose.image_view, {"dtype"}) | {"size": None, "mean": None, "std": None}
    # None stands for what `augment` says.
    change = {k: None for k in view if k not in ("size", "mean", "std")}
    return {
        "encoder": encoder,
        "text_encoder": encoder,
        "method": lambda name: options(methods.METHODS, name, "method"),
        "optimizer": lambda name: options(optimizers.OPTIMIZERS, name, "optimizer"),
        "augment": lambda name: view,
        "augment2": lambda name: change,
        "augment_local": lambda name: change | {"count": 0, "size": None},
    }


def signature(function: Callable, skip: Iterable[str] = ()) -> dict[str, Any]:
    """The options of a builder with their defaults."""
    return {
        name: None if parameter.default is inspect.Parameter.empty else parameter.default
        for name, parameter in inspect.signature(function).parameters.items()
        if name not in skip and parameter.kind is not inspect.Parameter.VAR_KEYWORD
    }


def required(function: Callable) -> set[str]:
    """The arguments of a builder that have no default."""
    empty = inspect.Parameter.empty
    parameters = inspect.signature(function).parameters
    return {name for name, parameter in parameters.items() if parameter.default is empty}


def load(
    spec: str, overrides: dict[str, str] | None = None, workdir: Path | None = None
) -> ml_collections.ConfigDict:
    """A finished, locked config.

    One that begins from another run (``init_from``) has the encoder of that, its tokenizer and its
    normalisation of images, unless the overrides say otherwise.

    Args:
      spec: ``NAME`` of a config that ships with jssl or ``PATH.py``, with typed arguments behind
        a colon: ``simclr:data=bundled,encoder=resnet18``.
      overrides: dotted keys to text, such as ``{"optimizer.lr": "0.1"}``.
      workdir: of the run: what it began from is asked of that itself once the other is gone.

    Raises:
      ValueError: one line, with the nearest name, for a config, argument, key or value that does
        not exist or does not fit.
    """
    file, arguments = _split(spec)
    config = _call(file, arguments)
    overrides = dict(overrides or {})
    origin = overrides.get("init_from", config.init_from)
    if origin is not None and origin.lower() not in ("none", "null"):
        _follow(config, Path(origin), workdir)
    builders = _builders()
    for section, options in builders.items():
        if section not in config:  # a text encoder is of a few configs
            continue
        _choose(config, section, overrides)
        _complete(config, section, options)
    for key, text in overrides.items():
        _override(config, key, text)
    config.lock()
    return config


def _follow(config, origin, workdir):
    """Takes from another run what is of no use without the rest of it."""
    files = [folder / "config.json" for folder in (origin, workdir) if folder is not None]
    file = next((file for file in files if file.exists()), None)
    if file is None:
        raise ValueError(f"init_from={origin} holds no run: there is no {files[0]}")
    other = saved(read_json(file))
    config.encoder = other.encoder
    for key in ("mean", "std"):
        if config.augment.get(key) is None and other.augment.get(key) is not None:
            config.augment[key] = other.augment[key]
    if (origin / "tokenizer.json").exists():
        config.data.tokenizer = str(origin / "tokenizer.json")


def saved(content: dict[str, Any]) -> ml_collections.ConfigDict:
    """A finished config read back from JSON, which knows lists only, where options were tuples.

    A key that was not there yet when it was written has its default.
    """

    def tuples(value):
        if isinstance(value, dict):
            return {key: tuples(part) for key, part in value.items()}
        return tuple(value) if isinstance(value, list) else value

    content = tuples(content)
    for key, value in defaults().to_dict().items():
        if isinstance(value, dict):
            content[key] = value | content.get(key, {})
        content.setdefault(key, value)
    for section, options in _builders().items():
        if section in content:
            content[section] = options(content[section].get("name")) | content[section]
    return ml_collections.ConfigDict(content)


def read_json(file: Path) -> dict[str, Any]:
    """The object in a file of a run's folder.

    Raises:
      ValueError: one line that names the file where it holds none.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"there is no {file}, which every run has") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is damaged: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{file} is damaged: it holds no object")
    return content


def _split(spec: str) -> tuple[Path, dict[str, str]]:
    match = re.fullmatch(r"(.*?\.py|[\w-]+)(?::(.*))?", spec)
    if match is None:
        raise ValueError(f"--config takes NAME[:KEY=VALUE,...] or PATH.py[:...], got {spec!r}")
    name, text = match.groups()
    arguments = {}
    # A comma separates arguments only where another one begins: a path may contain commas.
    for part in re.split(r",(?=\w+=)", text) if text else []:
        key, found, value = part.partition("=")
        if not found:
            raise ValueError(f"config arguments are KEY=VALUE, got {part!r}")
        arguments[key] = value
    if name.endswith(".py"):
        if not Path(name).is_file():
            raise ValueError(f"no config file {name}")
        return Path(name), arguments
    shipped = shipped_configs()
    if name not in shipped:
        raise ValueError(f"no config {name!r} ships with jssl{nearest(name, shipped)}")
    return shipped[name], arguments


def shipped_configs() -> dict[str, Path]:
    """The configs that come with jssl: name to file."""
    for folder in (PACKAGE / "configs", PACKAGE.parent / "configs"):
        if folder.is_dir():
            return {file.stem: file for file in sorted(folder.glob("[!_]*.py"))}
    return {}


def shipped(name: str, **arguments) -> ml_collections.ConfigDict:
    """Another config that ships with jssl, for a config to start from."""
    return _module(shipped_configs()[name]).get_config(**arguments)


def _module(file: Path):
    spec = importlib.util.spec_from_file_location(f"jssl_config_{file.stem}", file)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise ValueError(f"{file} cannot be run: {type(error).__name__}: {error}") from error
    return module


def _call(file: Path, arguments: dict[str, str]) -> ml_collections.ConfigDict:
    module = _module(file)
    if not callable(getattr(module, "get_config", None)):
        raise ValueError(f"{file} has no function get_config")
    known = signature(module.get_config)
    typed = {}
    for key, text in arguments.items():
        if key not in known:
            raise ValueError(f"config {file.stem} takes no argument {key!r}{nearest(key, known)}")
        typed[key] = parse(text, known[key], f"argument {key}")
    with require.options_that_fit(f"the config of {file}"):
        config = module.get_config(**typed)
    if not isinstance(config, ml_collections.ConfigDict):
        kind = type(config).__name__
        raise ValueError(f"get_config of {file} must give a ConfigDict, got {kind}")
    _refuse_misshapen(file, config)
    return config


def _refuse_misshapen(file, config):
    """Raises ValueError unless every section is one, with a text where it names something."""
    names = [("data", "source"), ("encoder", "name"), ("method", "name"), ("optimizer", "name")]
    for key, value in defaults().items():
        if key not in config:
            raise ValueError(f"the config of {file} has no {key}: let it start from defaults()")
        if isinstance(value, ml_collections.ConfigDict):
            if not isinstance(config[key], ml_collections.ConfigDict):
                raise ValueError(f"{key} of {file} must be a section, got {config[key]!r}")
            if key in ("data", "train", "checkpoint", "eval", "mesh"):
                missing = [name for name in value if name not in config[key]]
                if missing:
                    raise ValueError(f"{key} of {file} has no {missing[0]}")
    for section, key in names:
        if not isinstance(config[section].get(key), str):
            raise ValueError(f"{section}.{key} of {file} must be a text")


def _choose(config, section, overrides):
    """A name given on the command line starts its section afresh, keeping what still applies."""
    name = overrides.pop(f"{section}.name", None)
    if name is not None and name != config[section].name:
        kept = config[section].to_dict()
        config[section] = ml_collections.ConfigDict(kept | {"name": name})
        config[section]["_restarted"] = True


def _complete(config, section, options):
    """Fills the options that the config leaves to the builder's defaults."""
    given = config[section].to_dict()
    restarted = given.pop("_restarted", False)
    known = options(given.get("name"))
    if section == "optimizer":
        fixed = defaults().optimizer.to_dict()
        known = fixed | known
    for key in list(given):
        if key not in known and key != "name":
            if not restarted:
                _unknown(f"{section}.{key}", [f"{section}.{k}" for k in known])
            del given[key]
    full = {k: v for k, v in known.items() if k not in given} | given
    config[section] = ml_collections.ConfigDict(
        {k: config_dict.placeholder(object) if v is None else v for k, v in full.items()}
    )


def _override(config, key, text):
    *sections, last = key.split(".")
    node = config
    for section in sections:
        if section not in node or not isinstance(node[section], ml_collections.ConfigDict):
            _unknown(key, _flat(config))
        node = node[section]
    if last not in node:
        _unknown(key, _flat(config))
    if isinstance(node[last], ml_collections.ConfigDict):
        raise ValueError(f"{key} is a section: set one of its keys, {', '.join(node[last])}")
    value = parse(text, node[last], f"config.{key}")
    try:
        node[last] = value
    except TypeError:
        kind = node.get_type(last).__name__
        raise ValueError(f"config.{key} takes a value of type {kind}, got {text!r}") from None


def parse(text: str, like: Any, name: str) -> Any:
    """Text as a value of the type of ``like``; where that is None, as whatever it reads as."""
    if isinstance(like, bool):
        if text.lower() in ("true", "1", "yes"):
            return True
        if text.lower() in ("false", "0", "no"):
            return False
        raise ValueError(f"{name} takes true or false, got {text!r}")
    if isinstance(like, str):
        return text
    try:
        if isinstance(like, int):
            return int(text)
        if isinstance(like, float):
            return float(text)
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        if like is None:
            return None if text.lower() in ("none", "null") else text
        kind = {int: "a whole number", float: "a number", tuple: "a tuple such as (0.1, 2.0)"}
        raise ValueError(f"{name} takes {kind.get(type(like), type(like))}, got {text!r}") from None
    if isinstance(like, tuple) and not isinstance(value, tuple):
        raise ValueError(f"{name} takes a tuple such as {like}, got {text!r}")
    return value


def nearest(name: str, names: Iterable[str]) -> str:
    """``; did you mean X?`` or the list of what there is."""
    names = list(names)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else f"; there are: {', '.join(names)}"


def _unknown(key, known):
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.4)
    hint = f"; did you mean {close[0]}?" if close else ""
    raise ValueError(f"unknown config key {key}{hint}")


def _flat(config, prefix: str = "") -> list[str]:
    keys = []
    for key, value in config.items():
        section = isinstance(value, ml_collections.ConfigDict)
        keys += _flat(value, f"{prefix}{key}.") if section else [prefix + key]
    return keys
