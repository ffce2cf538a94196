"""Pretext tasks, one file a paper. Each is a function that returns a `jssl.method.Method`."""

from jssl.methods.byol import byol
from jssl.methods.dcl import dcl
from jssl.methods.mae import mae
from jssl.methods.moco_v2 import moco_v2
from jssl.methods.moco_v3 import moco_v3
from jssl.methods.nnclr import nnclr
from jssl.methods.simclr import simclr

METHODS = {
    "simclr": simclr,
    "dcl": dcl,
    "moco_v2": moco_v2,
    "moco_v3": moco_v3,
    "nnclr": nnclr,
    "byol": byol,
    "mae": mae,
}

__all__ = ["METHODS", "byol", "dcl", "mae", "moco_v2", "moco_v3", "nnclr", "simclr"]
