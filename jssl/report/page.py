"""One self-contained HTML page from a run's folder."""

import html
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jssl import __version__
from jssl.report import curves, explained, maps, pictures
from jssl.report.folder import Run, last, number, read

COLUMNS = {
    "knn": ("kNN", "vote of the nearest training examples"),
    "linear": ("Linear probe", "a linear classifier, all labels"),
    "linear_10_per_class": ("Linear, few labels", "the same with 10 labels a class"),
    "fine_tuned_10_percent": ("Fine-tuned", "all layers, 10 % of the labels"),
}
NEIGHBOURS = 8


def write(workdir: str | os.PathLike) -> Path:
    """Write ``report.html`` into a run's folder and return its path.

    Made from those of ``config.json``, ``command.json``, ``metrics.jsonl``, ``table.json``,
    ``restoration.json``, ``pictures.npz``, ``embedding.npz``, ``explain.npz`` and ``explain.json``
    that are there and can be read; in place of a part whose file is missing or damaged stands a
    line that says so, but for those of `jssl explain` and ``restoration.json``, which few runs
    have. The page needs no network and no other file. Raises ``FileNotFoundError`` where there is
    no such folder.
    """
    workdir = Path(workdir)
    if not workdir.is_dir():
        raise FileNotFoundError(f"{workdir} is not a folder")
    path, partial = workdir / "report.html", workdir / "report.html.partial"
    partial.write_text(render(read(workdir)), encoding="utf-8")
    partial.replace(path)
    return path


def render(run: Run) -> str:
    """The whole page."""
    style = Path(__file__).with_name("style.css").read_text(encoding="utf-8")
    parts = [
        _header(run),
        _section("Results", "table.json", run, _results),
        _section("Training", "metrics.jsonl", run, _training),
        _section("What the encoder is shown", "pictures.npz", run, _views),
        _section("What it fills in", "pictures.npz", run, _filled),
        _section("How well it restores", "restoration.json", run, _restoration),
        _section("Map of the embedding", "embedding.npz", run, _map),
        _section("Nearest neighbours", "embedding.npz", run, _neighbours),
        _section("Where it looks", "explain.npz", run, explained.looks),
        _section("Nearest training examples", "explain.npz", run, explained.neighbours),
        _section("What each layer holds", "explain.json", run, explained.layers),
        _section("Configuration", "config.json", run, _configuration),
        _section("Repeat this run", "command.json", run, _repeat),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(_title(run))}</title><style>{style}</style></head>\n"
        f"<body><main>{''.join(parts)}</main>"
        f"<footer>Written by jssl {html.escape(__version__)}</footer></body></html>\n"
    )


def _section(title: str, file: str, run: Run, build: Callable[[Run], str]) -> str:
    """A part of the page; without its file, or with a strange one, a line that says so."""
    if file in run.problems:
        body = _muted(f"Left out, {file}: {run.problems[file]}.")
    else:
        try:
            body = build(run)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
            body = _muted(f"Left out, {file} cannot be shown: {reason}.")
    return f"<section><h2>{html.escape(title)}</h2>{body}</section>\n" if body else ""


def _muted(text: str) -> str:
    return f'<p class="muted">{html.escape(text)}</p>'


def _lead(text: str) -> str:
    return f'<p class="lead">{text}</p>'


def _at(run: Run, *keys: str) -> str:
    """A value of the config as text, or nothing."""
    value: Any = run.config or {}
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return "" if value is None else str(value)


def _title(run: Run) -> str:
    method, source = _at(run, "method", "name"), _at(run, "data", "source")
    return f"{method or 'Pretraining'} on {source}" if source else method or "A pretraining run"


def _header(run: Run) -> str:
    metrics = run.metrics or []
    facts = [_at(run, "encoder", "name")]
    epoch = last(metrics, "epoch")
    if epoch is not None:
        facts.append(f"{epoch:.1f}".removesuffix(".0") + " epochs")
    if metrics:
        facts.append(f"{metrics[-1]['step']:,.0f} steps".replace(",", " "))
    times = [t for t in (number(line.get("time")) for line in metrics) if t is not None]
    if len(times) > 1:
        facts.append(_duration(max(times) - min(times)))
    facts.append(str((run.command or {}).get("device") or ""))
    line = " · ".join(html.escape(fact) for fact in facts if fact)
    return (
        f'<header><p class="kicker">Self-supervised pretraining</p>'
        f"<h1>{html.escape(_title(run))}</h1><p class='facts'>{line}</p>"
        f"{_tiles(run)}{_verdict(run)}</header>\n"
    )


def _tiles(run: Run) -> str:
    """The final numbers, large."""
    row = (run.table or {}).get("pretrained", {})
    random = (run.table or {}).get("random_encoder", {})
    tiles = []
    for key, (name, note) in COLUMNS.items():
        value, base = number(row.get(key)), number(random.get(key))
        if value is None:
            continue
        if base is not None:
            gain = f"{100 * (value - base):+.1f}".replace("-", "−")
            note = f"{gain} points over a random encoder"
        tiles.append((name, curves.label(value, percent=True), note))
    if not tiles:
        for key, name, percent in (("loss", "Loss", False), ("knn", "kNN", True)):
            value = last(run.metrics, key)
            if value is not None:
                tiles.append((name, curves.label(value, percent), "at the last measurement"))
    rank = last(run.metrics, "effective_rank")
    if rank is not None:
        of = f"of {_dimensions(run)} dimensions" if _dimensions(run) else "directions in use"
        tiles.append(("Effective rank", curves.label(rank), of))
    cells = (
        f'<div class="tile"><span>{html.escape(name)}</span><b>{value}</b>'
        f"<small>{html.escape(note)}</small></div>"
        for name, value, note in tiles
    )
    return f'<div class="tiles">{"".join(cells)}</div>' if tiles else ""


def _verdict(run: Run) -> str:
    """Whether the embedding has collapsed, by the last measurement of it."""
    rank, deviation = last(run.metrics, "effective_rank"), last(run.metrics, "deviation")
    dimensions = _dimensions(run)
    if rank is None or deviation is None or not dimensions:
        return ""
    from jssl.evals.collapse import collapsed

    reason = collapsed(rank, deviation, dimensions, last(run.metrics, "projection_spread"))
    if reason:
        return f'<p class="verdict bad"><b>Collapsed.</b> {html.escape(reason)}</p>'
    spread = 100 * deviation * dimensions**0.5
    return (
        f'<p class="verdict good"><b>No collapse.</b> The embedding uses about {rank:.0f} of its'
        f" {dimensions} directions, and spreads {spread:.0f} % as wide as an even one would.</p>"
    )


def _dimensions(run: Run) -> int | None:
    """Of the embedding, as the run found them."""
    value = number((run.facts or {}).get("dimensions"))
    return int(value) if value and value >= 1 else None


def _results(run: Run) -> str:
    measured = {key for row in run.table.values() for key in row}
    columns = {key: column for key, column in COLUMNS.items() if key in measured}
    best = {
        key: max((number(row.get(key)) or 0.0 for row in run.table.values()), default=0.0)
        for key in columns
    }
    head = "".join(
        f"<th>{html.escape(name)}<small>{html.escape(note)}</small></th>"
        for name, note in columns.values()
    )
    body = ""
    for name, row in run.table.items():
        cells = "".join(_cell(row, key, best[key]) for key in columns)
        body += f"<tr><th>{html.escape(name.replace('_', ' '))}</th>{cells}</tr>"
    return (
        _lead(
            "How well can classes be read off each representation of unseen images? The encoder"
            " saw no label while it was trained. What it learned is the distance to the"
            " <em>random encoder</em>, the same network before training; a row that does not"
            " beat <em>raw pixels</em> learned little of use."
        )
        + f'<div class="wide"><table class="results"><thead><tr><th></th>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
        '<p class="caption">Accuracy on held-out examples; the best of each column stands out.'
        " With few labels: the mean over several draws of them, ± half of its 95 % interval.</p>"
    )


def _cell(row: dict[str, Any], key: str, best: float) -> str:
    value = number(row.get(key))
    if value is None:
        return '<td class="none">–</td>'
    interval = row.get(f"{key}_interval")
    extra = ""
    if isinstance(interval, list) and len(interval) == 2:
        low, high = map(number, interval)
        if low is not None and high is not None:
            extra = f"<small>± {50 * (high - low):.1f}</small>"
    kind = "best" if value == best else ""
    width = 100 * min(max(value, 0.0), 1.0)
    return (
        f'<td class="{kind}"><span>{100 * value:.1f} %{extra}</span>'
        f'<i style="width:{width:.1f}%"></i></td>'
    )


def _training(run: Run) -> str:
    dimensions = _dimensions(run)
    drawn = curves.figures(run.metrics, dimensions**-0.5 if dimensions else None)
    more = curves.others(run.metrics)
    if not drawn and not more:
        return _muted("No measurement was taken yet.")
    text = f'<div class="curves">{"".join(drawn)}</div>'
    if more:
        text += (
            "<details><summary>Further measurements of this method</summary>"
            f'<div class="curves">{"".join(more)}</div></details>'
        )
    return text


def _views(run: Run) -> str:
    return _lead(
        "Each column is one image, below it random changes of it as training sees them. What the"
        " changes destroy, the features learn to ignore; what survives them, the features must"
        " tell apart."
    ) + pictures.views(run.pictures)


def _filled(run: Run) -> str:
    drawn = pictures.reconstructions(run.pictures)
    return drawn and (
        _lead(
            "The method is given a part of each image, or a distorted one, and predicts what is"
            " missing. A blurred but fitting answer is what to look for: fine detail cannot be"
            " known, shape can."
        )
        + drawn
    )


def _restoration(run: Run) -> str:
    if run.restoration is None:
        return ""
    return _lead(
        "Measured beside what needs no learning: the mean of what can be seen, and a blur of it. A"
        " reconstruction that does not beat them learned little of use."
    ) + pictures.restoration(run.restoration)


def _embedding(run: Run) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str], int]:
    """Directions [n d], labels, indices into the file, class names, how many were not finite."""
    points, labels = run.embedding["test_x"], np.asarray(run.embedding["test_y"]).astype(int)
    if points.ndim != 2 or labels.shape != points.shape[:1]:
        raise ValueError(f"test_x {points.shape} and test_y {labels.shape} do not match")
    names = [str(name) for name in run.embedding.get("class_names", ())]
    finite = np.flatnonzero(np.isfinite(points).all(axis=1))
    if len(finite) < 2:
        raise ValueError("fewer than two embeddings are finite")
    kept = finite[maps.sample(len(finite))]
    return maps.directions(points[kept]), labels[kept], kept, names, len(points) - len(finite)


def _map(run: Run) -> str:
    points, labels, _, names, broken = _embedding(run)
    if maps.collapsed(points):
        return _muted("All examples have the same embedding: there is nothing to draw.")
    flat, share = maps.pca(points)
    figures = _figure(
        maps.scatter(flat, labels, "PCA map"),
        "PCA",
        f"The two straight directions along which the embedding varies most; they hold"
        f" {100 * share:.0f} % of its variance. Distances can be trusted, overlaps may be only"
        " the flattening.",
    )
    curved = maps.umap(points) if len(points) >= 20 else None
    if curved is not None:
        figures += _figure(
            maps.scatter(curved, labels, "UMAP map"),
            "UMAP",
            "A curved map that keeps neighbours together. Read it for who lies beside whom; the"
            " size of islands and the distance between them mean little.",
        )
    note = f" {broken} embeddings are not finite and left out." if broken else ""
    return (
        _lead(
            f"Each dot is one of {len(points)} held-out images, coloured by its class, which the"
            " encoder was never told. Colours that keep together mean that the features found the"
            f" classes by themselves.{note}"
        )
        + f'<div class="maps">{figures}</div>{maps.legend(labels, names)}'
    )


def _figure(drawing: str, title: str, caption: str) -> str:
    return (
        f"<figure><h3>{html.escape(title)}</h3>{drawing}"
        f'<figcaption><p class="caption">{html.escape(caption)}</p></figcaption></figure>'
    )


def _neighbours(run: Run) -> str:
    points, labels, kept, names, _ = _embedding(run)
    thumbnails = run.embedding["thumbnails"]
    if len(thumbnails) != len(run.embedding["test_x"]):
        raise ValueError(f"{len(thumbnails)} thumbnails for {len(run.embedding['test_x'])} rows")
    text = (
        "The image on the left is asked for; beside it the held-out images whose features are most"
        " like its own, nearest first."
    )
    agreement = pictures.agreement(points, labels, NEIGHBOURS)
    if agreement is not None:
        text += (
            ' A <span class="key same">green</span> frame marks the same class, a'
            ' <span class="key other">red</span> one another. Over all the images drawn in the map,'
            f" {100 * agreement:.0f} % of the {NEIGHBOURS} nearest share the class. Mistakes teach"
            " most: they show what the features take for alike."
        )
    return _lead(text) + pictures.neighbours(points, labels, thumbnails[kept], names, NEIGHBOURS)


def _configuration(run: Run) -> str:
    return (
        f'<details class="config"><summary>Show all settings</summary>{_tree(run.config)}</details>'
    )


def _tree(content: dict[str, Any]) -> str:
    items = []
    for key, value in content.items():
        name = html.escape(str(key))
        if isinstance(value, dict) and value:
            items.append(
                f"<li><details open><summary>{name}</summary>{_tree(value)}</details></li>"
            )
        else:
            items.append(f"<li><span>{name}</span> <code>{html.escape(str(value))}</code></li>")
    return f"<ul>{''.join(items)}</ul>"


def _repeat(run: Run) -> str:
    command = run.command
    text = _lead("One click on the command selects all of it.")
    text += f"<pre>{html.escape(str(command['command']))}</pre>"
    versions = command.get("versions")
    facts = [("started", command.get("started")), ("device", command.get("device"))]
    facts += list(versions.items()) if isinstance(versions, dict) else []
    cells = (
        f"<div><dt>{html.escape(str(name))}</dt><dd>{html.escape(str(value))}</dd></div>"
        for name, value in facts
        if value is not None
    )
    return text + f'<dl class="versions">{"".join(cells)}</dl>'


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
