"""Losses: pure functions, arrays in, scalar out."""

from jssl.losses import (
    clustering,
    contrastive,
    reconstruction,
    redundancy,
    regression,
    sigreg,
    spread,
)

__all__ = [
    "clustering",
    "contrastive",
    "reconstruction",
    "redundancy",
    "regression",
    "sigreg",
    "spread",
]
