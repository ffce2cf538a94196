"""A run of several processes: how they find each other, and what one of them says to all."""

import os
from collections.abc import Mapping

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from jssl.method import PyTree
from jssl.train import shard

VARIABLES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")

# Bytes of the longest line that process 0 says to all.
LINE = 512


def join(environment: Mapping[str, str] = os.environ) -> None:
    """Joins the other processes of this run, where there are any; before JAX starts its devices.

    They are named by the environment (``JAX_COORDINATOR_ADDRESS`` as HOST:PORT of process 0,
    ``JAX_NUM_PROCESSES`` and ``JAX_PROCESS_ID``, one process after the other from 0), or are what
    JAX finds by itself on a TPU pod, under Slurm or under Open MPI.

    Raises:
      ValueError: if some of the variables are missing, or are not numbers that fit.
    """
    if jax.distributed.is_initialized():
        return
    given = {name: environment[name] for name in VARIABLES if environment.get(name)}
    if given:
        jax.distributed.initialize(*_named(given))
        return
    try:
        jax.distributed.initialize()
    except ValueError as error:
        if "coordinator_address" not in str(error):
            raise
    except RuntimeError as error:
        # As in a notebook, where JAX has started already, alone.
        if "must be called before" not in str(error):
            raise


def _named(given: dict[str, str]) -> tuple[str, int, int]:
    missing = [name for name in VARIABLES if name not in given]
    if missing:
        raise ValueError(f"{next(iter(given))} is given, {' and '.join(missing)} must be too")
    address, count, number = given.values()
    if not address.rpartition(":")[2].isdigit() or not address.rpartition(":")[0]:
        raise ValueError(f"{VARIABLES[0]} must be HOST:PORT, got {address!r}")
    if not count.isdigit() or not number.isdigit() or int(number) >= int(count):
        raise ValueError(
            f"{VARIABLES[2]} must be a number from 0 to {VARIABLES[1]} - 1, got {number!r} of "
            f"{count!r}"
        )
    return address, int(count), int(number)


def said_by_first(text: str | None) -> str | None:
    """The line of process 0, in every process; waits until all have come here.

    Args:
      text: what this process would say; of at most 512 bytes, cut where it is longer.
    """
    if jax.process_count() == 1:
        return text
    line = np.zeros(LINE, np.uint8)
    content = np.frombuffer(b"" if text is None else b"=" + text.encode(), np.uint8)[:LINE]
    line[: len(content)] = content
    heard = bytes(np.asarray(multihost_utils.broadcast_one_to_all(line))).rstrip(b"\0")
    return heard[1:].decode(errors="ignore") if heard else None


def whole(tree: PyTree, mesh: Mesh) -> PyTree:
    """Arrays that lie over the devices of all processes, as whole numpy arrays in each of them."""
    return jax.device_get(jax.jit(lambda x: x, out_shardings=shard.replicated(mesh))(tree))
