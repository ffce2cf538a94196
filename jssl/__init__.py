"""Self-supervised learning for JAX: every pretext task is a tuple of pure functions."""

__version__ = "0.1.0"
