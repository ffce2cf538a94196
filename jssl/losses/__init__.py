"""Losses: pure functions, arrays in, scalar out."""

from jssl.losses import (
    clustering,
    contrastive,
    kmeans,
    reconstruction,
    redundancy,
    regression,
    sigreg,
    spread,
)

__all__ = [
    "clustering",
    "contrastive",
    "kmeans",
    "reconstruction",
    "redundancy",
    "regression",
    "sigreg",
    "spread",
]
