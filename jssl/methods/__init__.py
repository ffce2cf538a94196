"""Pretext tasks, one file a paper. Each is a function that returns a `jssl.method.Method`."""

from jssl.methods.byol import byol
from jssl.methods.deepcluster import deepcluster
from jssl.methods.deepcluster_v2 import deepcluster_v2
from jssl.methods.mae import mae
from jssl.methods.simclr import simclr
from jssl.methods.swav import swav

METHODS = {
    "simclr": simclr,
    "byol": byol,
    "mae": mae,
    "deepcluster": deepcluster,
    "deepcluster_v2": deepcluster_v2,
    "swav": swav,
}

__all__ = ["METHODS", "byol", "deepcluster", "deepcluster_v2", "mae", "simclr", "swav"]
