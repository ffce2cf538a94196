"""Losses: pure functions, arrays in, scalar out."""

from jssl.losses import contrastive, reconstruction, redundancy, regression, spread

__all__ = ["contrastive", "reconstruction", "redundancy", "regression", "spread"]
