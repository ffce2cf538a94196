"""Passing views through a network in training, statistics threaded through."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jssl.method import Array, PyTree


def start(net: nn.Module, key: Array, x: Any, **options: Any) -> tuple[PyTree, PyTree]:
    """Parameters and the other collections (batch statistics) of a network for inputs like x."""
    variables = dict(net.init(key, x, train=False, **options))
    return variables.pop("params"), variables


def forward(
    net: nn.Module, params: PyTree, stats: PyTree, x: Any, key: Array, **options: Any
) -> tuple[Any, PyTree]:
    """One training pass: the output and the statistics after it.

    Args:
      net: takes ``train``.
      params: its parameters.
      stats: its other collections, as from `start`.
      x: [n ...].
      key: for whatever is random in it.
      options: further arguments of its call.
    """
    out, stats = net.apply(
        {"params": params, **stats},
        x,
        train=True,
        mutable=list(stats),
        rngs={"dropout": key},
        **options,
    )
    return out, dict(stats)


def forward_together(
    net: nn.Module, params: PyTree, stats: PyTree, views: Array, key: Array
) -> tuple[Any, PyTree]:
    """`forward` of all views [n v ...] in one pass, so that batch norm sees the n * v of them.

    Every array of the output comes back as [n v ...].
    """
    n, v = views.shape[:2]
    out, stats = forward(net, params, stats, views.reshape(n * v, *views.shape[2:]), key)
    return jax.tree.map(lambda x: x.reshape(n, v, *x.shape[1:]), out), stats


def forward_crops(
    net: nn.Module, params: PyTree, stats: PyTree, crops: Sequence[Array], key: Array
) -> tuple[Array, PyTree]:
    """Projections [n v k] of crops of several sizes, and the statistics after them.

    As in the released code of multi-crop (arXiv 2006.09882): the encoder passes once a size, its
    batch norms seeing crops of one size at a time; the projector once, seeing all crops.

    Args:
      net: a `jssl.nn.heads.JointEmbedding`.
      params, stats, key: as in `forward`.
      crops: an array [n u ...] a size; the v projections stand in their order.
    """
    pooled, (key, *keys) = [], jax.random.split(key, len(crops) + 1)
    for k, x in zip(keys, crops, strict=True):
        n, u = x.shape[:2]
        x = x.reshape(n * u, *x.shape[2:])
        features, stats = forward(net, params, stats, x, k, method="encode")
        pooled.append(features.pooled.reshape(n, u, -1))
    # Beside the batch axis, so that every example stays on its device.
    together = jnp.concatenate(pooled, axis=1)
    n, v, d = together.shape
    z, stats = forward(net, params, stats, together.reshape(n * v, d), key, method="project")
    return z.reshape(n, v, -1), stats
