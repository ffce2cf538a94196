"""Reading a run's folder: what is there, and a plain word on what is not."""

import json
import math
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

# What the readers raise for a file that is not what its name says.
DAMAGE = (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)


class Run(NamedTuple):
    """The files of a run; None where one is missing or damaged, with the reason in ``problems``.

    metrics: one dict a line of ``metrics.jsonl``, in order of step.
    restoration: a result of `jssl.evals.restoration.table`; most runs have none.
    pictures, embedding: arrays by name.
    explained, layers: what `jssl explain` found; most runs have none.
    problems: by file name, what is the matter with it.
    """

    config: dict[str, Any] | None
    command: dict[str, Any] | None
    facts: dict[str, Any] | None
    metrics: list[dict[str, Any]] | None
    table: dict[str, dict[str, Any]] | None
    restoration: dict[str, Any] | None
    pictures: dict[str, np.ndarray] | None
    embedding: dict[str, np.ndarray] | None
    explained: dict[str, np.ndarray] | None
    layers: dict[str, Any] | None
    problems: dict[str, str]


def read(workdir: Path) -> Run:
    """Everything that can be read; never raises for the content of a file."""
    problems = {}

    def content(name: str, reader: Callable[[Path], Any], expected: bool = True):
        try:
            return reader(workdir / name)
        except FileNotFoundError:
            if expected:
                problems[name] = "there is no such file in this run’s folder"
        except DAMAGE as error:
            problems[name] = f"the file cannot be read: {error}"
        return None

    return Run(
        config=content("config.json", _dict),
        command=content("command.json", _dict),
        facts=content("data.json", _dict),
        metrics=content("metrics.jsonl", _lines),
        table=content("table.json", _rows),
        restoration=content("restoration.json", _dict, expected=False),
        pictures=content("pictures.npz", _arrays),
        embedding=content("embedding.npz", _arrays),
        explained=content("explain.npz", _arrays, expected=False),
        layers=content("explain.json", _dict, expected=False),
        problems=problems,
    )


def number(value: Any) -> float | None:
    """A finite number as a float; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def last(metrics: list[dict[str, Any]] | None, key: str) -> float | None:
    """The newest finite value of a measurement."""
    values = (number(line.get(key)) for line in reversed(metrics or []))
    return next((value for value in values if value is not None), None)


def _dict(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(content, dict):
        raise ValueError(f"expected an object, got {type(content).__name__}")
    return content


def _rows(path: Path) -> dict[str, dict[str, Any]]:
    content = _dict(path)
    rows = content.get("rows", content)
    rows = {name: row for name, row in rows.items() if isinstance(row, dict)}
    if not rows:
        raise ValueError("it holds no rows")
    return rows


def _lines(path: Path) -> list[dict[str, Any]]:
    """Every whole line; a run that was killed leaves half a line at the end."""
    lines = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and number(line.get("step")) is not None:
            lines.append(line)
    if not lines:
        raise ValueError("it holds no measurements yet")
    return sorted(lines, key=lambda line: line["step"])


def _arrays(path: Path) -> dict[str, np.ndarray]:
    # Opened here, since np.load leaves the file open where it cannot make sense of it.
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}
