"""Two-dimensional maps of an embedding."""

import html
import warnings
from collections.abc import Sequence

import numpy as np

from jssl.report.pictures import class_name

SIZE, MARGIN = 480, 12
MOST_POINTS = 2000
MOST_CLASSES = 20  # with an own colour and name


def directions(points: np.ndarray) -> np.ndarray:
    """The embedding on the unit sphere, where cosine similarity is distance; float64."""
    points = points.astype(np.float64)
    return points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-30)


def pca(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Coordinates [n 2] along the two directions of largest variance, and their share of it."""
    centred = points - points.mean(axis=0)
    left, singular, _ = np.linalg.svd(centred, full_matrices=False)
    flat = np.zeros((len(points), 2))
    kept = min(2, len(singular))
    flat[:, :kept] = left[:, :kept] * singular[:kept]
    total = np.square(singular).sum()
    return flat, float(np.square(singular[:2]).sum() / total) if total > 0 else 1.0


def umap(points: np.ndarray) -> np.ndarray | None:
    """UMAP coordinates [n 2], the same at every call; None where umap-learn is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import umap as package

            model = package.UMAP(
                n_neighbors=min(15, len(points) - 1), metric="cosine", random_state=0, n_jobs=1
            )
            return model.fit_transform(points.astype(np.float32))
    except ImportError:
        return None


def collapsed(points: np.ndarray) -> bool:
    """Whether there is nothing to draw: all points are one, up to rounding."""
    return bool(np.ptp(points, axis=0).max() < 1e-5)


def sample(count: int) -> np.ndarray:
    """Indices of at most 2,000 points, drawn once and for all, in order."""
    if count <= MOST_POINTS:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, MOST_POINTS, replace=False))


def scatter(flat: np.ndarray, labels: np.ndarray, title: str) -> str:
    """Points coloured by class, as SVG in which a class is one path of round dots."""
    low, high = flat.min(axis=0), flat.max(axis=0)
    middle, span = (low + high) / 2, max(float((high - low).max()), 1e-30)  # axes share a scale
    places = (flat - middle) / span * (SIZE - 2 * MARGIN) * [1, -1] + SIZE / 2
    parts = [f'<svg class="map" viewBox="0 0 {SIZE} {SIZE}" role="img" aria-label="{title}">']
    # Small pieces of each class in turn, so that no class lies wholly on top of another.
    for piece in np.array_split(np.arange(len(flat)), min(8, len(flat))):
        for label in np.unique(labels[piece]):
            dots = places[piece[labels[piece] == label]]
            path = "".join(f"M{x:.1f} {y:.1f}h0" for x, y in dots)
            parts.append(f'<path class="{colour_class(label)}" d="{path}"/>')
    return "".join(parts) + "</svg>"


def colour_class(label: int | np.integer) -> str:
    """The style class of a label: one of twenty colours, or grey."""
    return f"k{label}" if 0 <= label < MOST_CLASSES else "kx"


def legend(labels: np.ndarray, class_names: Sequence[str]) -> str:
    """The classes in the map with their colours."""
    present = np.unique(labels)
    named = [int(label) for label in present if label < MOST_CLASSES]
    items = [
        f'<li><i class="{colour_class(label)}"></i>'
        f"{html.escape(class_name(label, class_names))}</li>"
        for label in named
    ]
    if len(named) < len(present):
        items.append(f'<li><i class="kx"></i>{len(present) - len(named)} more classes</li>')
    return f'<ul class="legend">{"".join(items)}</ul>'
