"""Runs beside each other: the same protocol, seeds together, and what each cost."""

import html
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jssl import __version__
from jssl.evals.few_labels import interval
from jssl.evals.ranking import spearman
from jssl.evals.table import COLUMNS, OF_RUNS
from jssl.report.folder import Run, last, number, read

# What the numbers of two runs must have in common to be of the same protocol and split.
ALIKE = {
    "data": ("source", "eval_source", "limit", "held", "length", "rate", "seconds"),
    "eval": ("limit", "k"),
}
# What does not make it another recipe.
ASIDE = ("seed", "checkpoint", "eval", "mesh")
TITLES = COLUMNS | OF_RUNS
COST = {
    "seconds": "training",
    "step_ms": "ms a step",
    "parameters": "parameters",
    "flops": "FLOPs an example",
}
PROBE = "linear"  # what measures without labels are to foretell
FEWEST = 4  # runs for a rank correlation


class Row(NamedTuple):
    """Runs that differ in their seed alone, or one baseline of all runs.

    metrics: by name, a value a run. Names are protocols, or ``PROTOCOL: METRIC``.
    cost: by the names of `COST`, a value a run.
    """

    name: str
    seeds: int
    metrics: dict[str, list[float]]
    cost: dict[str, list[float]]


class Comparison(NamedTuple):
    """rows: baselines first. foretells: by measure without labels, its rank correlation with the
    linear probe over all runs, and how many they are."""

    rows: list[Row]
    foretells: dict[str, tuple[float, int]]


def compare(folders: Sequence[Path], costs: Mapping[Path, Mapping[str, float]]) -> Comparison:
    """The rows of some runs' folders, each evaluated before.

    Args:
      costs: of some folders, parameters and FLOPs, which the files of a run do not have.

    Raises:
      ValueError: one line where a folder holds no evaluated run, is named twice, or where two runs
        were not evaluated on the same data by the same protocol.
    """
    runs = {}
    for folder in folders:
        if folder in runs:
            raise ValueError(f"{folder} is named twice")
        runs[folder] = _evaluated(folder)
    _refuse_unlike(runs)
    groups: dict[str, list[Path]] = {}
    for folder, run in runs.items():
        recipe = {key: value for key, value in run.config.items() if key not in ASIDE}
        groups.setdefault(json.dumps(recipe, sort_keys=True), []).append(folder)
    names = _names([json.loads(recipe) for recipe in groups])
    rows = _baselines(runs)
    for name, members in zip(names, groups.values(), strict=True):
        metrics = _together([_flat(runs[f].table["pretrained"]) for f in members])
        cost = _together([_pace(runs[f]) | dict(costs.get(f, {})) for f in members])
        rows.append(Row(name, len(members), metrics, cost))
    return Comparison(rows, _foretells(list(runs.values())))


def _evaluated(folder: Path) -> Run:
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder")
    run = read(folder)
    if run.config is None:
        raise ValueError(f"{folder} holds no run: config.json: {run.problems['config.json']}")
    if not (run.table or {}).get("pretrained"):
        raise ValueError(f"{folder} is not evaluated yet: jssl evaluate --workdir {folder}")
    return run


def _refuse_unlike(runs: Mapping[Path, Run]) -> None:
    (first, one), *rest = runs.items()
    for other, run in rest:
        for section, keys in ALIKE.items():
            for key in keys:
                a, b = (r.config.get(section, {}).get(key) for r in (one, run))
                # A key that an older run does not have tells nothing.
                if a != b and key in one.config[section] and key in run.config[section]:
                    raise ValueError(
                        f"{first} and {other} are not evaluated alike: {section}.{key} is {a} "
                        f"and {b}"
                    )
        if not one.table["pretrained"].keys() & run.table["pretrained"].keys():
            raise ValueError(
                f"{first} and {other} have no protocol in common: evaluate both with the same "
                "--protocols"
            )


def _names(recipes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Method and encoder, and where several have these, what they differ in."""
    short = [f"{r['method']['name']} {r['encoder']['name']}" for r in recipes]
    names = []
    for name, recipe in zip(short, recipes, strict=True):
        others = [_leaves(r) for s, r in zip(short, recipes, strict=True) if s == name]
        own = _leaves(recipe)
        differ = [k for k in own if any(own[k] != other.get(k) for other in others)]
        names.append(" ".join([name, *(f"{key}={own[key]}" for key in differ)]))
    return names


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    leaves = {}
    for key, value in tree.items():
        inner = isinstance(value, dict)
        leaves |= _leaves(value, f"{prefix}{key}.") if inner else {f"{prefix}{key}": value}
    return leaves


def _flat(row: Mapping[str, Any]) -> dict[str, float]:
    found = {}
    for key, value in row.items():
        inner = value if isinstance(value, dict) else {}
        found |= {f"{key.replace('_', ' ')}: {metric}": v for metric, v in inner.items()}
        found |= {key: value} if not isinstance(value, dict) else {}
    return {key: x for key, value in found.items() if (x := number(value)) is not None}


def _pace(run: Run) -> dict[str, float]:
    """Median time of a step, and that of all steps at this pace: a run may have been stopped."""
    rates = [number(line.get("examples_per_second")) for line in run.metrics or []]
    rates = [rate for rate in rates if rate]
    if not rates or not run.facts:
        return {}
    seconds = run.config["train"]["batch_size"] / statistics.median(rates)
    return {"step_ms": 1000 * seconds, "seconds": seconds * run.facts["steps"]}


def _together(found: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    keys = dict.fromkeys(key for one in found for key in one)
    return {key: [one[key] for one in found if key in one] for key in keys}


def _baselines(runs: Mapping[Path, Run]) -> list[Row]:
    """What knows nothing of the pretraining: the data itself once, a random encoder a kind."""
    found: dict[tuple[str, str], dict[int, dict[str, float]]] = {}
    for run in runs.values():
        for name, row in run.table.items():
            title, kind, seed = name.replace("_", " "), "", 0
            if name == "random_encoder":
                title = f"random {run.config['encoder']['name']}"
                kind, seed = json.dumps(run.config["encoder"], sort_keys=True), run.config["seed"]
            if name != "pretrained":
                # Of the data, and of one seed, every run says the same; some say more of it.
                rows = found.setdefault((title, kind), {})
                rows[seed] = _flat(row) | rows.get(seed, {})
    return [
        Row(title, len(rows), _together(list(rows.values())), {})
        for (title, _), rows in found.items()
    ]


def _foretells(runs: Sequence[Run]) -> dict[str, tuple[float, int]]:
    """Spearman's correlation of each measure without labels with the linear probe."""
    points: dict[str, list[tuple[float, float]]] = {}
    for run in runs:
        row = run.table["pretrained"]
        probe = number(row.get(PROBE))
        measures = {k: number(v) for k, v in (row.get("unlabelled") or {}).items()}
        measures["effective_rank, training"] = last(run.metrics, "effective_rank")
        for name, value in measures.items():
            if probe is not None and value is not None:
                points.setdefault(name, []).append((value, probe))
    return {
        name: (spearman(*np.asarray(pairs).T), len(pairs))
        for name, pairs in points.items()
        if len(pairs) >= FEWEST and all(len(set(x)) > 1 for x in zip(*pairs, strict=True))
    }


def cell(values: Sequence[float], key: str) -> str:
    """A mean with half its 95 % interval over seeds, in the unit of its column."""
    if not values:
        return "–"
    mean, width = statistics.mean(values), interval(np.asarray(values))
    half = "" if width is None else (width[1] - width[0]) / 2
    if key in TITLES:
        return f"{100 * mean:.1f}" + (f" ± {100 * half:.1f}" if width else "")
    if key == "seconds":
        return f"{mean / 3600:.1f} h" if mean >= 7200 else f"{mean / 60:.1f} min"
    if key in COST:
        return f"{mean:,.0f}" if mean < 1e6 else f"{mean / 1e6:,.1f} M"
    return f"{mean:.4g}" + (f" ± {half:.2g}" if width else "")


def columns(rows: Sequence[Row]) -> dict[str, str]:
    """Accuracies, other metrics, then costs, of those that any row has; with their titles."""
    metrics = dict.fromkeys(key for row in rows for key in row.metrics)
    cost = dict.fromkeys(key for row in rows for key in row.cost)
    found = {key: f"{title}, %" for key, title in TITLES.items() if key in metrics}
    found |= {key: key for key in metrics if key not in TITLES}
    return found | {key: title for key, title in COST.items() if key in cost}


def grid(found: Comparison) -> list[list[str]]:
    """The table as texts, a title row first."""
    shown = columns(found.rows)
    lines = [["", *shown.values()]]
    for row in found.rows:
        seeds = f" ({row.seeds} seeds)" if row.seeds > 1 else ""
        values = row.metrics | row.cost
        lines.append([row.name + seeds, *(cell(values.get(key, []), key) for key in shown)])
    return lines


def text(found: Comparison) -> str:
    """For the terminal."""
    lines = grid(found)
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    table = "\n".join(
        "  ".join(
            x.ljust(w) if i == 0 else x.rjust(w)
            for i, (x, w) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
    return table + "".join(f"\n{line}" for line in ["", *_words(found)] if found.foretells)


def markdown(found: Comparison) -> str:
    """The same as a table in Markdown."""
    head, *rows = grid(found)
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return table + "\n" + "".join(f"\n- {line}" for line in _words(found)) + "\n"


def _words(found: Comparison) -> list[str]:
    ordered = sorted(found.foretells.items(), key=lambda item: -abs(item[1][0]))
    return [
        f"{name} ranks the runs as the linear probe does to {value:+.2f} (Spearman, {n} runs)"
        for name, (value, n) in ordered
    ]


def page(found: Comparison) -> str:
    """One HTML page, with the style of a run's report; it needs no other file."""
    style = Path(__file__).with_name("style.css").read_text(encoding="utf-8")
    words = "".join(f"<li>{html.escape(line)}</li>" for line in _words(found))
    foretold = (
        "<section><h2>What foretells the probe without labels</h2>"
        '<p class="lead">Rank correlation with the linear probe over these runs; near 0 a measure'
        f" says nothing here, below 0 it misleads.</p><ul>{words}</ul></section>"
        if words
        else ""
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{len(found.rows)} rows compared</title><style>{style}</style></head>\n<body><main>"
        '<header><p class="kicker">Self-supervised pretraining</p><h1>Runs compared</h1>'
        '<p class="facts">One protocol, one split; means ± half of the 95 % interval over seeds.'
        f"</p></header>{_drawn(found)}{_table(found)}{foretold}</main>"
        f"<footer>Written by jssl {html.escape(__version__)}</footer></body></html>\n"
    )


def _table(found: Comparison) -> str:
    head, *rows = grid(found)
    titles = "".join(f"<th>{html.escape(title)}</th>" for title in head)
    body = "".join(
        f"<tr><th>{html.escape(name)}</th>"
        + "".join(f"<td>{html.escape(x)}</td>" for x in cells)
        + "</tr>"
        for name, *cells in rows
    )
    return (
        '<section><h2>All numbers</h2><div class="wide"><table class="results numbers"><thead><tr>'
        f"{titles}</tr></thead><tbody>{body}</tbody></table></div></section>"
    )


WIDTH, LINE, LEFT, TOP = 480, 20, 170, 8


def _drawn(found: Comparison) -> str:
    """A dot a row with its interval, a figure an accuracy."""
    figures = []
    for key, title in TITLES.items():
        rows = [row for row in found.rows if row.metrics.get(key)]
        if len(rows) > 1:
            figures.append(_dots(rows, key, title))
    if not figures:
        return ""
    return f'<section><h2>Accuracy</h2><div class="queries">{"".join(figures)}</div></section>'


def _dots(rows: Sequence[Row], key: str, title: str) -> str:
    rows = sorted(rows, key=lambda row: -statistics.mean(row.metrics[key]))
    ends = []
    for row in rows:
        values = np.asarray(row.metrics[key])
        ends.append(interval(values) or (values.min(), values.max()))
    low, high = min(a for a, _ in ends), max(b for _, b in ends)
    pad = 0.06 * (high - low) or 0.01
    low, high = max(low - pad, 0.0), min(high + pad, 1.0)
    bottom = TOP + LINE * len(rows)

    def at(value):
        return LEFT + (WIDTH - LEFT - 20) * (value - low) / (high - low)

    parts = [f'<svg viewBox="0 0 {WIDTH} {bottom + 20}" role="img" aria-label="{title}">']
    for value in np.linspace(low, high, 5):
        parts.append(
            f'<path class="grid" d="M{at(value):.1f} {TOP}V{bottom}"/>'
            f'<text class="tick mid" x="{at(value):.1f}" y="{bottom + 15}">'
            f"{100 * value:.0f} %</text>"
        )
    for i, (row, (a, b)) in enumerate(zip(rows, ends, strict=True)):
        y, mean = TOP + LINE * (i + 0.5), statistics.mean(row.metrics[key])
        name = row.name if len(row.name) < 28 else row.name[:26] + " …"
        parts.append(
            f'<text class="tick end" x="{LEFT - 10}" y="{y + 4:.1f}">{html.escape(name)}</text>'
            f'<path class="main" d="M{at(a):.1f} {y}H{at(b):.1f}"/>'
            f'<circle class="dot" cx="{at(mean):.1f}" cy="{y}" r="4">'
            f"<title>{html.escape(row.name)}: {cell(row.metrics[key], key)}</title></circle>"
        )
    svg = "".join(parts) + "</svg>"
    return f'<figure class="curve"><h3>{html.escape(title)}</h3>{svg}</figure>'
