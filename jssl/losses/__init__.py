"""Losses: pure functions, arrays in, scalar out."""

from jssl.losses import contrastive, reconstruction, regression, spread

__all__ = ["contrastive", "reconstruction", "regression", "spread"]
