"""Pictures for a page: arrays as data URIs, rows of views, fillings-in and neighbours."""

import base64
import html
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from jssl.report.folder import number

LARGEST_SIDE = 160  # in pixels, of a picture in the page
LARGEST_THUMBNAIL = 72
SHOWN = 8


def data_uri(image: np.ndarray, side: int = LARGEST_SIDE) -> str:
    """A picture [h w c], uint8, as a ``data:`` address; larger ones are scaled down to ``side``.

    One channel is drawn grey, of more than three the first three are drawn, of two the first.
    """
    from PIL import Image

    if image.ndim != 3 or image.dtype != np.uint8:
        raise ValueError(f"a picture must be uint8 [h w c], got {image.dtype} {image.shape}")
    channels = 3 if image.shape[2] >= 3 else 1
    picture = Image.fromarray(
        np.ascontiguousarray(image[:, :, :channels] if channels == 3 else image[:, :, 0])
    )
    picture.thumbnail((side, side), Image.Resampling.BOX)
    file = io.BytesIO()
    small = max(picture.size) <= 64
    if small:
        picture.save(file, "PNG", optimize=True)
    else:
        picture.save(file, "JPEG", quality=88)
    kind = "png" if small else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def img(image: np.ndarray, text: str = "", side: int = LARGEST_SIDE, kind: str = "") -> str:
    """An ``<img>`` with ``text`` for those who cannot see it and under the pointer."""
    text = html.escape(text, quote=True)
    return f'<img src="{data_uri(image, side)}" alt="{text}" title="{text}" class="{kind}">'


def views(arrays: dict[str, np.ndarray]) -> str:
    """Originals above their augmented views, a column an image."""
    originals, augmented = arrays["originals"], arrays["views"]
    if augmented.ndim != 5 or len(augmented) != len(originals):
        raise ValueError(
            f"views must be [m v h w c] for {len(originals)} originals, got {augmented.shape}"
        )
    rows = {"original": originals}
    rows |= {f"view {i + 1}": augmented[:, i] for i in range(augmented.shape[1])}
    return grid(rows)


def reconstructions(arrays: dict[str, np.ndarray]) -> str:
    """What the method filled in, a row each as the run named them; empty where there is none."""
    names = [str(name) for name in arrays.get("reconstruct_names", ())]
    return grid({name: arrays[f"reconstruct_{name}"] for name in names}) if names else ""


def restoration(result: dict[str, Any]) -> str:
    """A result of `jssl.evals.restoration.table` as a table with its notes; the best stands out.

    What was told a part of the answer competes with nobody.
    """
    from jssl.evals.restoration import BASELINES, COLUMNS, label

    rows = result["rows"]
    columns = [c for c in COLUMNS if any(number(row.get(c)) is not None for row in rows.values())]
    values = {name: {c: number(row.get(c)) for c in columns} for name, row in rows.items()}
    fair = [name for name in rows if "(" not in name]
    best = {
        c: max((values[name][c] for name in fair if values[name][c] is not None), default=None)
        for c in columns
    }
    body = ""
    for name, row in values.items():
        cells = ""
        for column, value in row.items():
            kind = "best" if name in fair and value == best[column] else ""
            cells += f'<td class="{kind}"><span>{label(column, value)}</span></td>'
        body += f"<tr><th>{html.escape(BASELINES.get(name, name))}</th>{cells}</tr>"
    head = "".join(f"<th>{html.escape(COLUMNS[column])}</th>" for column in columns)
    notes = "".join(f". {str(note)[:1].upper()}{str(note)[1:]}" for note in result["notes"])
    return (
        f'<div class="wide"><table class="results"><thead><tr><th></th>{head}</tr></thead>'
        f'<tbody>{body}</tbody></table></div><p class="caption">Means over'
        f" {int(result['images'])} images; higher is nearer to the original{html.escape(notes)}."
        "</p>"
    )


def grid(rows: dict[str, np.ndarray]) -> str:
    """Pictures, a row for each name, a column an image; at most eight of them."""
    columns = min(SHOWN, *(len(images) for images in rows.values()))
    cells = [
        f'<div class="name">{html.escape(name)}</div>'
        + "".join(img(image, f"{name}, image {i + 1}") for i, image in enumerate(images[:columns]))
        for name, images in rows.items()
    ]
    table = f'<div class="pictures" style="--n:{columns}">{"".join(cells)}</div>'
    return f'<div class="wide">{table}</div>'


def agreement(unit: np.ndarray, labels: np.ndarray, count: int) -> float | None:
    """Share of the ``count`` nearest neighbours of all examples that have the example's class.

    Of normalised embeddings; None where an example has no label or there are too few.
    """
    if labels.min() < 0 or len(unit) <= count:
        return None
    similarity = unit @ unit.T
    np.fill_diagonal(similarity, -np.inf)
    nearest = np.argpartition(-similarity, count - 1, axis=1)[:, :count]
    return float((labels[nearest] == labels[:, None]).mean())


def neighbours(
    unit: np.ndarray,
    labels: np.ndarray,
    thumbnails: np.ndarray,
    class_names: Sequence[str],
    count: int,
) -> str:
    """Queries, each with the examples nearest to it by cosine similarity, nearest first.

    From normalised embeddings.
    """
    count = min(count, len(unit) - 1)
    rows = []
    for query in queries(labels):
        similarity = unit @ unit[query]
        similarity[query] = -np.inf
        nearest = np.argsort(-similarity, kind="stable")[:count]
        name = class_name(labels[query], class_names)
        cells = [img(thumbnails[query], name, LARGEST_THUMBNAIL, "query")]
        for i in nearest:
            text = f"{class_name(labels[i], class_names)}, similarity {similarity[i]:.2f}"
            same = "same" if labels[i] == labels[query] else "other"
            kind = same if min(labels[i], labels[query]) >= 0 else ""
            cells.append(img(thumbnails[i], text, LARGEST_THUMBNAIL, kind))
        rows.append(
            f'<div class="neighbours"><div class="name">{html.escape(name)}</div>'
            f'<div class="row">{"".join(cells)}</div></div>'
        )
    return f'<div class="queries">{"".join(rows)}</div>'


def queries(labels: np.ndarray, count: int = SHOWN) -> list[int]:
    """Which examples to ask about: the first of each class, then the next, and so on."""
    turn = np.zeros(len(labels), int)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        turn[members] = np.arange(len(members))
    return np.lexsort((labels, turn))[:count].tolist()


def class_name(label: int | np.integer, class_names: Sequence[str]) -> str:
    """The name of a class, or its number where it has none."""
    if label < 0:
        return "unlabelled"
    return str(class_names[label]) if label < len(class_names) else f"class {label}"
