"""Pretext tasks, one file a paper. Each is a function that returns a `jssl.method.Method`."""

from jssl.methods.barlow_twins import barlow_twins
from jssl.methods.byol import byol
from jssl.methods.mae import mae
from jssl.methods.simclr import simclr
from jssl.methods.vicreg import vicreg
from jssl.methods.wmse import wmse

METHODS = {
    "simclr": simclr,
    "byol": byol,
    "barlow_twins": barlow_twins,
    "vicreg": vicreg,
    "wmse": wmse,
    "mae": mae,
}

__all__ = ["METHODS", "barlow_twins", "byol", "mae", "simclr", "vicreg", "wmse"]
