"""The layers of an encoder, from its input to its output, by the names of its parameters."""

import re
from fnmatch import fnmatchcase
from typing import Any

import jax

from jssl.method import PyTree

# Of a residual network and of a transformer.
BLOCK = re.compile(r"encoder/(?:stage(\d+)_block|transformer/blocks_)(\d+)(?=/)")
STACKED, LAST_NORM = "encoder/transformer/blocks/", "encoder/transformer/norm/"
FREEZE = "none, all, first:N, last:N or a pattern of names such as encoder/stage1*"


def depths(params: PyTree) -> tuple[PyTree, int]:
    """At what depth each parameter stands, and how many layers the encoder has.

    Args:
      params: of a method, its encoder under ``encoder``. Values do not count.

    Returns:
      A tree of whole numbers: 0 for the stem, or the embeddings; 1 and up for the blocks; the
      number of layers for the norm that closes a transformer, and for all that is no encoder.

    Raises:
      ValueError: if there is no encoder, or its blocks are stacked.

    Source: for a ViT the layers are those of BEiT's released code (Bao et al. 2021, arXiv
    2106.08254) and of MAE's.
    """
    names = paths(params)
    if not any(name.startswith("encoder/") for name in jax.tree.leaves(names)):
        raise ValueError("layers are those of an encoder, and the parameters have none")
    if any(name.startswith(STACKED) for name in jax.tree.leaves(names)):
        raise ValueError("layers that are stacked cannot be told apart: give encoder.scan=false")
    found = {match.group(): match for match in map(BLOCK.match, jax.tree.leaves(names)) if match}
    blocks = sorted(found, key=lambda name: [int(i or 0) for i in found[name].groups()])
    count = len(blocks) + 1

    def depth(name: str) -> int:
        if match := BLOCK.match(name):
            return 1 + blocks.index(match.group())
        return 0 if name.startswith("encoder/") and not name.startswith(LAST_NORM) else count

    return jax.tree.map(depth, names), count


def decayed(params: PyTree, decay: float) -> PyTree:
    """For each parameter what its learning rate is multiplied by: less, the nearer the input.

    ``decay`` to the power of the layers that come after, the norm that closes a transformer and
    all that is no encoder counted as the last: those have 1.

    Source: Bao et al. 2021, arXiv 2106.08254, and its released code; Clark et al. 2020, arXiv
    2003.10555.
    """
    each, count = depths(params)
    return jax.tree.map(lambda depth: decay ** (count - depth), each)


def paths(params: PyTree) -> PyTree:
    """The name of each parameter, such as ``encoder/stem/kernel``."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: jax.tree_util.keystr(path, simple=True, separator="/"), params
    )


def layer(name: str) -> str:
    """The layer that a parameter belongs to, such as ``encoder/stage1_block1`` or ``head``."""
    if match := BLOCK.match(name):
        return match.group()
    *module, _ = name.split("/")
    return "/".join(module[:2]) if len(module) > 1 else name if module == ["encoder"] else module[0]


def frozen(params: PyTree, freeze: str) -> PyTree:
    """True for each parameter that is frozen.

    Args:
      params: of a method, its encoder under ``encoder``. Values do not count.
      freeze: ``none``; ``all`` of the encoder; its ``first:N`` or ``last:N`` layers (`depths`; the
        norm that closes a transformer goes with the last); or a pattern of names in which ``*``
        stands for anything, several separated by commas.

    Raises:
      ValueError: if it freezes nothing, all that there is, or more layers than there are.
    """
    names: Any = paths(params)
    end, colon, number = freeze.partition(":")
    if freeze == "none":
        return jax.tree.map(lambda name: False, names)
    if colon and end in ("first", "last"):
        each, count = depths(params)
        if not number.isdigit() or not 1 <= int(number) <= count:
            raise ValueError(f"freeze={end}:N takes 1 to {count}, the layers there are: {freeze}")
        n = int(number)
        chosen = range(n) if end == "first" else range(count - n, count)
        mask = jax.tree.map(
            lambda name, depth: name.startswith("encoder/") and min(depth, count - 1) in chosen,
            names,
            each,
        )
    else:
        patterns = ["encoder/*"] if freeze == "all" else freeze.split(",")
        for pattern in patterns:
            if not any(fnmatchcase(name, pattern) for name in jax.tree.leaves(names)):
                raise ValueError(f"freeze takes {FREEZE}; no parameter is called {pattern!r}")
        mask = jax.tree.map(lambda name: any(fnmatchcase(name, p) for p in patterns), names)
    if all(jax.tree.leaves(mask)):
        raise ValueError(f"freeze={freeze} leaves nothing to train")
    return mask
