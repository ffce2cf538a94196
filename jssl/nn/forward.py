"""Passing views through a network in training, statistics threaded through."""

from collections.abc import Callable
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


def variables_within(function: Callable, encoder: nn.Module, *arguments: Any) -> PyTree:
    """The variables with which a function applies an encoder, such as ``{"params": ...}``.

    Args:
      function: such as a method's ``embed``, whichever of its encoders that is: a student's, a
        teacher's.
      encoder: a module of the kind that is looked for; the first call of one counts.
      arguments: of the function.

    Raises:
      ValueError: if the function applies none.
    """
    kind = type(encoder)

    @jax.jit
    def run(*arguments):
        found = []

        def watch(call, args, kwargs, context):
            if isinstance(context.module, kind) and not found:
                found.append(dict(context.module.variables))
            return call(*args, **kwargs)

        with nn.intercept_methods(watch):
            function(*arguments)
        return found

    found = run(*arguments)
    if not found:
        raise ValueError(f"no {kind.__name__} is applied here")
    return found[0]


def forward_apart(
    net: nn.Module, params: PyTree, stats: PyTree, views: Array, key: Array, **options: Any
) -> tuple[list[Any], PyTree]:
    """`forward` of each of the views [n v ...] in turn: the v outputs, and the statistics.

    Batch norm sees the views of one distribution, and one view of every example, at a time.
    """
    outs = []
    for i, k in enumerate(jax.random.split(key, views.shape[1])):
        out, stats = forward(net, params, stats, views[:, i], k, **options)
        outs.append(out)
    return outs, stats


def forward_together(
    net: nn.Module, params: PyTree, stats: PyTree, views: Array, key: Array, **options: Any
) -> tuple[Any, PyTree]:
    """`forward` of all views [n v ...] in one pass, so that batch norm sees the n * v of them.

    Every array of the output comes back as [n v ...].
    """
    n, v = views.shape[:2]
    flat = views.reshape(n * v, *views.shape[2:])
    out, stats = forward(net, params, stats, flat, key, **options)
    return jax.tree.map(lambda x: x.reshape(n, v, *x.shape[1:]), out), stats


def encode_crops(
    net: nn.Module, params: PyTree, stats: PyTree, crops: list[Array], key: Array, **large: Any
) -> tuple[list[Any], PyTree]:
    """`forward_together` of the crops of each size through the encoder of a `JointEmbedding`.

    Args:
      net, params, stats, key: as in `forward`.
      crops: [n v h w c] for each size, the large ones first.
      large: further arguments of the encoder for the large ones.

    Returns:
      Features for each size, every array as [n v ...], and the statistics.
    """
    features, options = [], large
    for views, k in zip(crops, jax.random.split(key, len(crops)), strict=True):
        out, stats = forward_together(net, params, stats, views, k, method="encode", **options)
        features, options = [*features, out], {}
    return features, stats


def forward_crops(
    net: nn.Module, params: PyTree, stats: PyTree, crops: list[Array], key: Array
) -> tuple[Any, PyTree]:
    """`encode_crops`, then the pooled features of all sizes to the heads.

    Returns:
      What ``net.project`` returns, every array as [n v ...] for all v crops, and the statistics.
    """
    k_encode, k_project = jax.random.split(key)
    features, stats = encode_crops(net, params, stats, crops, k_encode)
    return project_crops(net, params, stats, features, k_project)


def project_crops(
    net: nn.Module, params: PyTree, stats: PyTree, features: list[Any], key: Array
) -> tuple[Any, PyTree]:
    """The heads of a `JointEmbedding` on what `encode_crops` returned; see `forward_crops`."""
    # Joined beside the batch axis, so that a sharded batch stays where it is.
    pooled = jnp.concatenate([x.pooled for x in features], axis=1)
    return forward_together(net, params, stats, pooled, key, method="project")


def forward_groups(
    net: nn.Module, params: PyTree, stats: PyTree, x: Array, key: Array, groups: int
) -> tuple[Any, PyTree]:
    """`forward` of x [n ...] in this many groups, each with batch statistics of its own.

    As on that many devices without synchronised batch norm, but that the running statistics are
    the mean of those after each group. One group is `forward`.

    Raises:
      ValueError: if the groups do not divide the batch.
    """
    n = len(x)
    if n % groups:
        raise ValueError(f"groups must divide the batch of {n}, got {groups}")
    if groups == 1:
        return forward(net, params, stats, x, key)
    x, keys = x.reshape(groups, n // groups, *x.shape[1:]), jax.random.split(key, groups)
    out, stats = jax.vmap(lambda x, key: forward(net, params, stats, x, key))(x, keys)
    out = jax.tree.map(lambda y: y.reshape(n, *y.shape[2:]), out)
    return out, jax.tree.map(lambda s: jnp.mean(s, axis=0), stats)
