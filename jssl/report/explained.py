"""What `jssl explain` found: where the encoder looks, what it takes for alike, which layers."""

import html

import numpy as np

from jssl.report import pictures
from jssl.report.folder import Run, number

MEANING = {
    "image": "",
    "attention": "what the embedding takes from each patch in the last layer, mean over heads",
    "rollout": "the same through all layers",
    "occlusion": "how far the embedding moves when a patch there is covered",
    "gradient": "how steeply a pixel moves what sets the embedding apart from the average one",
}
READ = {"knn": "kNN", "linear": "Linear probe"}
CELL, LABELS = 34, 105  # of the map of layers, in pixels


def looks(run: Run) -> str:
    """Each image with the maps over it; empty where nothing was explained."""
    if run.explained is None:
        return ""
    names = [str(name) for name in run.explained["shown"]]
    told = "; ".join(f"<em>{name}</em> {MEANING[name]}" for name in names if MEANING.get(name))
    return _lead(
        f"The brighter, the more the embedding hangs on that place: {told}. Each map has a scale"
        " of its own; trust what several of them show."
    ) + pictures.grid({name: run.explained[f"shown_{name}"] for name in names})


def neighbours(run: Run) -> str:
    """Each image with the training examples nearest to it."""
    if run.explained is None:
        return ""
    found = run.explained
    names = [str(name) for name in found.get("class_names", ())]
    rows = []
    for i, image in enumerate(found["shown_image"]):
        cells = [pictures.img(image, "asked for", pictures.LARGEST_THUMBNAIL, "query")]
        for j, other in enumerate(found["neighbours"][i]):
            label, own = found["neighbour_label"][i][j], found["label"][i]
            text = (
                f"{pictures.class_name(label, names)}, similarity {found['similarity'][i][j]:.2f}"
            )
            kind = ("same" if label == own else "other") if min(label, own) >= 0 else ""
            cells.append(pictures.img(other, text, pictures.LARGEST_THUMBNAIL, kind))
        name = html.escape(pictures.class_name(found["label"][i], names))
        rows.append(
            f'<div class="neighbours"><div class="name">{name}</div>'
            f'<div class="row">{"".join(cells)}</div></div>'
        )
    return (
        _lead(
            "The training images whose embeddings are most like that of the image on the left, the"
            " nearest first. What it takes for alike shows what it looks at."
        )
        + f'<div class="queries">{"".join(rows)}</div>'
    )


def layers(run: Run) -> str:
    """What can be read off each layer, and how much alike the layers are."""
    if run.layers is None:
        return ""
    rows, columns = run.layers["layers"], [k for k in READ if k in _first(run.layers["layers"])]
    text = _lead(
        "What each layer holds, from input to output, as the mean over its places. Classes are"
        " often easiest to read some layers before the last, which serves the pretext task."
    )
    if columns:
        text += _probes(rows, columns)
    names = list(rows)
    text += '<div class="maps layers">' + _likeness(
        "Layers among themselves", np.array(run.layers["cka"], float), names, names
    )
    if "other_cka" in run.layers:
        title = f"Layers and those of {run.layers['other']}"
        other = [str(name) for name in run.layers["other_layers"]]
        text += _likeness(title, np.array(run.layers["other_cka"], float), names, other)
    return text + (
        '</div><p class="caption">Linear CKA of layers over the same held-out images: 100 is the'
        " same representation, turned and scaled; 0 is nothing in common. From few images it is too"
        f" high; these are {int(run.layers['examples'][1])}.</p>"
    )


def _first(rows: dict) -> dict:
    return next(iter(rows.values()))


def _lead(text: str) -> str:
    return f'<p class="lead">{text}</p>'


def _probes(rows: dict, columns: list[str]) -> str:
    values = {name: {key: number(row[key]) or 0.0 for key in columns} for name, row in rows.items()}
    best = {key: max(row[key] for row in values.values()) for key in columns}
    body = ""
    for name, row in values.items():
        body += f"<tr><th>{html.escape(name)}</th>"
        for key, value in row.items():
            kind = "best" if value == best[key] else ""
            body += (
                f'<td class="{kind}"><span>{100 * value:.1f} %</span>'
                f'<i style="width:{100 * value:.1f}%"></i></td>'
            )
        body += "</tr>"
    head = "".join(f"<th>{READ[key]}</th>" for key in columns)
    return (
        f'<div class="wide"><table class="results"><thead><tr><th></th>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _likeness(title: str, values: np.ndarray, rows: list[str], columns: list[str]) -> str:
    if values.shape != (len(rows), len(columns)):
        raise ValueError(f"the likeness of {len(rows)} and {len(columns)} layers is {values.shape}")
    width, height = LABELS + CELL * len(columns), LABELS + CELL * len(rows)
    parts = [f'<svg viewBox="0 0 {width} {height}" style="max-width:{width}px">']
    for j, name in enumerate(columns):
        x = LABELS + CELL * j + CELL / 2
        parts.append(
            f'<text class="tick" transform="translate({x + 4} {LABELS - 8}) rotate(-60)">'
            f"{html.escape(name)}</text>"
        )
    for i, name in enumerate(rows):
        y = LABELS + CELL * i
        parts.append(
            f'<text class="tick end" x="{LABELS - 8}" y="{y + CELL / 2 + 4}">{html.escape(name)}'
            "</text>"
        )
        for j, value in enumerate(values[i]):
            x, share = LABELS + CELL * j, min(max(value, 0.0), 1.0)
            kind = "light" if share > 0.6 else "dark"
            parts.append(
                f'<rect x="{x}" y="{y}" width="{CELL - 2}" height="{CELL - 2}" rx="4"'
                f' style="fill-opacity:{0.06 + 0.94 * share:.3f}"/><text class="{kind}"'
                f' x="{x + CELL / 2 - 1}" y="{y + CELL / 2 + 3}">{100 * value:.0f}</text>'
            )
    return f"<figure><h3>{html.escape(title)}</h3>{''.join(parts)}</svg></figure>"
