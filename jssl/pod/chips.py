"""What the makers publish about their chips, and the names of pods."""

import re
from typing import NamedTuple

GIB = 2**30


class Chip(NamedTuple):
    """Public peak figures of one chip.

    name: of the generation.
    memory: bytes of HBM.
    flops: bfloat16 operations a second, dense.
    bandwidth: bytes a second to and from HBM.
    interconnect: bytes a second that a chip can send over all its links at once: half of the
      bidirectional figure.
    sides: of a topology, 2 or 3; 0 for a GPU.
    options: of `jax.experimental.topologies.get_topology_desc`; a chip of two cores is one device.
    source: where the figures stand.
    """

    name: str
    memory: int
    flops: float
    bandwidth: float
    interconnect: float
    sides: int
    options: dict
    source: str


def _tpu(name, gib, flops, bandwidth, interconnect, sides, **options):
    source = f"cloud.google.com/tpu/docs/{name}"
    return Chip(name, gib * GIB, flops, bandwidth, interconnect, sides, options, source)


def _gpu(name, gigabytes, flops, bandwidth, interconnect):
    source = "NVIDIA's data sheet, SXM"
    return Chip(name, gigabytes * 10**9, flops, bandwidth, interconnect, 0, {}, source)


TPUS = {
    chip.name: chip
    for chip in (
        _tpu("v4", 32, 275e12, 1.2e12, 3e11, 3, chip_config_name="megacore"),
        _tpu("v5e", 16, 197e12, 8.19e11, 2e11, 2),
        _tpu("v5p", 95, 459e12, 2.765e12, 6e11, 3, chip_config_name="megacore"),
        _tpu("v6e", 32, 918e12, 1.638e12, 4e11, 2),
    )
}

# By a word of `device_kind`; the first that fits.
GPUS = {
    "H200": _gpu("H200", 141, 989e12, 4.8e12, 4.5e11),
    "H100": _gpu("H100", 80, 989e12, 3.35e12, 4.5e11),
    "A100-SXM4-80GB": _gpu("A100 80GB", 80, 312e12, 2.039e12, 3e11),
    "A100": _gpu("A100", 40, 312e12, 1.555e12, 3e11),
}

KNOWN = "v4:AxBxC, v5e:AxB, v5p:AxBxC, v6e:AxB (such as v5e:16x16 or v5p:4x4x8) or gpu"


def parse(name: str) -> tuple[Chip, tuple[int, ...]]:
    """``v5e:16x16`` as its chip and the sides of the topology.

    Raises:
      ValueError: if there is no such generation, or it is not built in that many dimensions.
    """
    match = re.fullmatch(r"(\w+):([1-9]\d*(?:x[1-9]\d*)*)", name)
    chip = TPUS.get(match[1]) if match else None
    sides = tuple(int(side) for side in match[2].split("x")) if match else ()
    if chip is None or len(sides) != chip.sides:
        raise ValueError(f"--topology must be {KNOWN}, got {name!r}")
    return chip, sides


def hosts(sides: tuple[int, ...]) -> tuple[int, int, int]:
    """The chips of one host, of at most 2 x 2 in the first two dimensions."""
    return min(2, sides[0]), min(2, sides[1]), 1


def gpu(kind: str) -> Chip:
    """The figures of a GPU by its ``device_kind``; ValueError for one that is not listed."""
    for word, chip in GPUS.items():
        if word in kind:
            return chip
    raise ValueError(f"no peak figures for the GPU {kind!r}; there are some for {', '.join(GPUS)}")
