"""Pretext tasks, one file a paper. Each is a function that returns a `jssl.method.Method`."""

from jssl.methods.byol import byol
from jssl.methods.dino import dino
from jssl.methods.lejepa import lejepa
from jssl.methods.mae import mae
from jssl.methods.simclr import simclr
from jssl.methods.simsiam import simsiam

METHODS = {
    "simclr": simclr,
    "byol": byol,
    "mae": mae,
    "simsiam": simsiam,
    "dino": dino,
    "lejepa": lejepa,
}

__all__ = ["METHODS", "byol", "dino", "lejepa", "mae", "simclr", "simsiam"]
