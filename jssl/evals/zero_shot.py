"""Zero-shot classification: images told by the nearest of some texts."""

from typing import Any

import numpy as np
from jaxtyping import Float, Int


def accuracy(scores: Float[np.ndarray, "n k"], y: Int[np.ndarray, " n"]) -> dict[str, Any]:
    """How often the label of the highest score is the right one; examples of label -1 are left out.

    ``accuracy``; ``class_accuracy``, the mean over the classes that there are; ``chance``, 1 / k;
    ``majority``, the share of the most frequent class, which a constant answer scores; and
    ``examples``, their number.

    Raises:
      ValueError: if no example has a label.

    Source: Radford et al. 2021, arXiv 2103.00020, section 3.1.
    """
    known = y >= 0
    if not known.any():
        raise ValueError("zero-shot accuracy needs labels, the test data has none")
    right, y = (scores.argmax(axis=1) == y)[known], y[known]
    counts = np.bincount(y, minlength=scores.shape[1])
    hits = np.bincount(y, weights=right, minlength=scores.shape[1])
    return {
        "accuracy": float(right.mean()),
        "class_accuracy": float((hits[counts > 0] / counts[counts > 0]).mean()),
        "chance": 1 / scores.shape[1],
        "majority": float(counts.max() / counts.sum()),
        "examples": len(y),
    }


def table(result: dict[str, Any]) -> str:
    """What `accuracy` found, for people."""
    names = {
        "accuracy": "accuracy",
        "class_accuracy": "mean over the classes",
        "chance": "chance",
        "majority": "the most frequent class",
    }
    lines = [f"{name:<24}{100 * result[key]:6.1f} %" for key, name in names.items()]
    return "\n".join([f"{result['examples']:,} images, {len(result['labels'])} labels", *lines])
