"""Losses: pure functions, arrays in, scalar out."""

from jssl.losses import clustering, contrastive, kmeans, reconstruction, regression, spread

__all__ = ["clustering", "contrastive", "kmeans", "reconstruction", "regression", "spread"]
