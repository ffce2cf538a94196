"""Losses: pure functions, arrays in, scalar out."""

from jssl.losses import (
    clustering,
    consistency,
    contrastive,
    kmeans,
    reconstruction,
    redundancy,
    regression,
    sequence,
    sigreg,
    spread,
)

__all__ = [
    "clustering",
    "consistency",
    "contrastive",
    "kmeans",
    "reconstruction",
    "redundancy",
    "regression",
    "sequence",
    "sigreg",
    "spread",
]
