"""Pretext tasks, one file a paper. Each is a function that returns a `jssl.method.Method`."""

from jssl.methods.byol import byol
from jssl.methods.mae import mae
from jssl.methods.simclr import simclr
from jssl.methods.swav import swav

METHODS = {
    "simclr": simclr,
    "byol": byol,
    "mae": mae,
    "swav": swav,
}

__all__ = ["METHODS", "byol", "mae", "simclr", "swav"]
