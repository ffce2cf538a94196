"""Softmax and sigmoid over the pairs of a whole batch, without the matrix of their logits.

Every device keeps its rows. The columns go round a ring of all devices (``ppermute``) and are met
in chunks, so that the largest array is n_local x chunk. The log-sum-exp streams (Milakov &
Gimelshein 2018, arXiv 1805.02867, algorithm 3); gradients compute the logits again in one more
round, as in Dao et al. 2022, arXiv 2205.14135, and Liu et al. 2023, arXiv 2310.01889.

The functions here take scaled vectors, split over devices, of which they make the logits
``rows @ columns.T``. Under ``jit`` the ring is that of all devices over which the inputs' mesh, or
that of ``jax.set_mesh``, lies, and the leading axis is split over all of its axes; without a mesh
only the chunks remain. Inside ``shard_map`` or ``pmap``, ``axis_name`` is the axis of the ring.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import AxisType, PartitionSpec
from jaxtyping import Array, Float, Int

from jssl import require

IMPLS = ("auto", "dense", "ring")
LIMIT = 2**30  # bytes of dense logits a device, above which "auto" takes the ring
BLOCK = 2**24  # logits a device has at a time: 64 MiB in float32


def wanted(
    loss_impl: str,
    x: Float[Array, "n d"],
    columns: int | None = None,
    *,
    axis_name: str | None = None,
) -> bool:
    """Whether a loss is to take the ring.

    Args:
      loss_impl: "ring", "dense", or "auto": the ring where the dense logits would take more than
        1 GiB on a device.
      x: the rows.
      columns: how many there are; as many as rows by default.

    Raises:
      ValueError: if ``loss_impl`` is none of these.
    """
    require.one_of(IMPLS, loss_impl=loss_impl)
    if loss_impl != "auto":
        return loss_impl == "ring"
    if axis_name is None:
        rows, whole = len(x) / _mesh(x)[2], len(x)
    else:
        rows, whole = len(x), len(x) * lax.axis_size(axis_name)
    return rows * (whole if columns is None else columns) * x.dtype.itemsize > LIMIT


def among_others(
    x: Float[Array, "n d"], without_partner: bool = False, *, axis_name: str | None = None
) -> tuple[Float[Array, "n"], Int[Array, "n"]]:
    """Log-sum-exp of each row with all others of the batch, and which of them is nearest.

    Args:
      x: both views of each example beside each other, of length temperature ** -1/2.
      without_partner: leave the other view out of the sum; it may still be the nearest.

    Returns:
      [n] log-sum-exp, and [n] the index in the whole batch of the first that is nearest.
    """
    return _split(functools.partial(_among_others, without_partner), axis_name, x)


def among_keys(
    q: Float[Array, "n d"],
    k: Float[Array, "m d"],
    *,
    whole: bool = False,
    axis_name: str | None = None,
) -> tuple[Float[Array, "n"], Float[Array, "n"], Int[Array, "n"]]:
    """Log-sum-exp of each query with all keys, the highest logit, and the index of its key.

    The keys and the highest logit have no gradient. That of the log-sum-exp is the mean of the
    keys under the softmax: it is gathered on the way, and no second round is needed.

    ``whole``: every device has all keys, as of a queue, and none go round.
    """
    k = lax.stop_gradient(k)
    if whole:
        found = _split(lambda _, q, k: _among_keys(None, q, k), axis_name, q, replicated=k)
    else:
        found = _split(_among_keys, axis_name, q, k)
    lse, peak, nearest = found
    return lse, lax.stop_gradient(peak), nearest


def both_ways(
    a: Float[Array, "n d"], b: Float[Array, "n d"], *, axis_name: str | None = None
) -> tuple[Float[Array, "n"], Float[Array, "n"], Int[Array, "n"], Int[Array, "n"]]:
    """Log-sum-exp of each row with all columns, of each column with all rows, and the nearest."""
    return _split(_both_ways, axis_name, a, b)


def sigmoids(
    a: Float[Array, "n d"],
    b: Float[Array, "n d"],
    bias: Float[Array, ""],
    *,
    axis_name: str | None = None,
) -> tuple[Float[Array, "n"], Int[Array, "n"], Int[Array, "n"]]:
    """Each row's sum of -log sigmoid(± logit), + for its partner, and the nearest both ways."""
    bias = bias + jnp.zeros_like(a[:, 0])  # a row's own, so that its gradient needs no collective
    return _split(_sigmoids, axis_name, a, b, bias)


# Where the rows are


def _mesh(x):
    """The mesh of x, its axes that no ``shard_map`` around us has taken, and their devices."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        mesh = jax.typeof(x).sharding.mesh
    types = zip(mesh.axis_names, mesh.axis_types, strict=True)
    axes = tuple(name for name, kind in types if kind != AxisType.Manual)
    return mesh, axes, math.prod(mesh.shape[name] for name in axes)


def _split(core, axis_name, *inputs, replicated=None):
    """``core(axis, *inputs)``, rows split over the devices, what is replicated as it is."""
    whole = () if replicated is None else (replicated,)
    mesh, axes, devices = _mesh(inputs[0])
    if axis_name is not None or devices == 1:
        return core(axis_name, *inputs, *whole)
    if len(inputs[0]) % devices:
        raise ValueError(
            f"the rows of a ring loss must be a multiple of the {devices} devices, "
            f"got {len(inputs[0])}"
        )
    split = PartitionSpec(axes)
    return jax.shard_map(
        functools.partial(core, axes),
        mesh=mesh,
        in_specs=(split,) * len(inputs) + (PartitionSpec(),) * len(whole),
        out_specs=split,
        axis_names=set(axes),
    )(*inputs, *whole)


def _index(axis, x):
    """The rows' places in the whole batch."""
    index = jnp.arange(len(x), dtype=jnp.int32)
    return index if axis is None else index + lax.axis_index(axis) * len(x)


def chunk_of(rows: int, columns: int) -> int:
    """Columns met at a time, of which at least 128 keep a matrix unit busy."""
    return min(columns, max(128, BLOCK // rows))


def _around(axis, rows, visit, carry, guests, luggage=()):
    """Shows every device's guests to every device, chunk by chunk.

    ``visit(carry, guests, luggage) -> carry, luggage``; ``carry`` stays with the device, luggage
    comes home with its guests, changed.
    """
    m = len(jax.tree.leaves(guests)[0])
    chunk = chunk_of(rows, m)
    whole = m // chunk * chunk

    def meet(carry, guests, luggage):
        both = guests, luggage
        chunks = jax.tree.map(lambda x: x[:whole].reshape(-1, chunk, *x.shape[1:]), both)
        carry, done = lax.scan(lambda carry, both: visit(carry, *both), carry, chunks)
        done = jax.tree.map(lambda x: x.reshape(whole, *x.shape[2:]), done)
        if whole < m:
            carry, rest = visit(carry, *jax.tree.map(lambda x: x[whole:], both))
            done = jax.tree.map(lambda *x: jnp.concatenate(x), done, rest)
        return carry, done

    if axis is None:
        return meet(carry, guests, luggage)
    devices = lax.axis_size(axis)
    neighbours = [(i, (i + 1) % devices) for i in range(devices)]

    def step(state, _):
        carry, guests, luggage = state
        # The guests do not wait for what is computed with them.
        leaving = lax.ppermute(guests, axis, neighbours)
        carry, luggage = meet(carry, guests, luggage)
        return (carry, leaving, lax.ppermute(luggage, axis, neighbours)), None

    state, _ = lax.scan(step, (carry, guests, luggage), None, length=devices)
    return state[0], state[2]


# What streams: the greatest and its index, and the sum of exponentials below a moving maximum


def _start(x):
    """Of the rows of x, before the first block: (greatest, its index), (maximum, sum)."""
    lowest = jnp.full_like(x[:, 0], jnp.finfo(x.dtype).min)
    return (lowest, jnp.zeros_like(lowest, jnp.int32)), (lowest, jnp.zeros_like(lowest))


def _nearest(sofar, logits, index, axis=1):
    """The greatest logit along an axis and, of several, the one with the lowest index."""
    peak, nearest = sofar
    here = jnp.max(logits, axis=axis)
    at = index[lax.argmax(logits, axis, jnp.int32)]
    # The blocks come in another order on every device.
    better = (here > peak) | ((here == peak) & (at < nearest))
    return jnp.where(better, here, peak), jnp.where(better, at, nearest)


def _add(sofar, logits, axis=1):
    """The sum of exponentials along an axis, relative to the highest logit so far."""
    top, total = sofar
    higher = jnp.maximum(top, jnp.max(logits, axis=axis))
    here = jnp.sum(jnp.exp(logits - jnp.expand_dims(higher, axis)), axis=axis)
    return higher, total * jnp.exp(top - higher) + here


def _logsumexp(sofar):
    top, total = sofar
    return top + jnp.log(total)


# Each row among all others: the logits are symmetric, and so is their gradient


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _among_others(without_partner, axis, x):
    return _among_others_forward(without_partner, axis, x)[0]


def _masked(without_partner, x, own, others, index):
    """The logits of a block, and those of them that are summed."""
    logits = jnp.where(own[:, None] == index[None, :], -jnp.inf, x @ others.T)
    if not without_partner:
        return logits, logits
    return logits, jnp.where((own ^ 1)[:, None] == index[None, :], -jnp.inf, logits)


def _among_others_forward(without_partner, axis, x):
    own = _index(axis, x)

    def visit(carry, guests, luggage):
        logits, summed = _masked(without_partner, x, own, *guests)
        return (_nearest(carry[0], logits, guests[1]), _add(carry[1], summed)), luggage

    ((_, nearest), total), _ = _around(axis, len(x), visit, _start(x), (x, own))
    lse = _logsumexp(total)
    return (lse, nearest), (x, lse)


def _among_others_backward(without_partner, axis, residuals, cotangents):
    (x, lse), (g, _) = residuals, cotangents
    own = _index(axis, x)

    def visit(gradient, guests, luggage):
        others, index, their_g, their_lse = guests
        _, summed = _masked(without_partner, x, own, others, index)
        # A logit counts in its row's sum and, since it is the same one, in its column's.
        weight = g[:, None] * jnp.exp(summed - lse[:, None])
        weight += their_g[None, :] * jnp.exp(summed - their_lse[None, :])
        return gradient + weight @ others, luggage

    guests = (x, own, g, lse)
    return (_around(axis, len(x), visit, jnp.zeros_like(x), guests)[0],)


_among_others.defvjp(_among_others_forward, _among_others_backward)


# Each query among constant keys


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _among_keys(axis, q, k):
    def visit(carry, guests, luggage):
        keys, index = guests
        logits = q @ keys.T
        return (_nearest(carry[0], logits, index), _add(carry[1], logits)), luggage

    (nearest, total), _ = _around(axis, len(q), visit, _start(q), (k, _index(axis, k)))
    return _logsumexp(total), *nearest


def _among_keys_forward(axis, q, k):
    def visit(carry, guests, luggage):
        nearest, (top, total), pulled = carry
        keys, index = guests
        logits = q @ keys.T
        higher, total = _add((top, total), logits)
        pulled = pulled * jnp.exp(top - higher)[:, None]
        pulled += jnp.exp(logits - higher[:, None]) @ keys
        return (_nearest(nearest, logits, index), (higher, total), pulled), luggage

    start = (*_start(q), jnp.zeros_like(q))
    (nearest, total, pulled), _ = _around(axis, len(q), visit, start, (k, _index(axis, k)))
    return (_logsumexp(total), *nearest), (pulled / total[1][:, None], k)


def _among_keys_backward(axis, residuals, cotangents):
    mean_key, k = residuals
    return cotangents[0][:, None] * mean_key, jnp.zeros_like(k)


_among_keys.defvjp(_among_keys_forward, _among_keys_backward)


# Rows and columns, both of which have a gradient


def _pair_gradients(axis, a, b, weigh, theirs):
    """Gradients of a, of what is added to its logits, and of b.

    ``weigh(logits, *theirs)`` is the gradient of a block's logits. ``theirs`` go round with b, and
    so does its gradient, which comes home complete.
    """

    def visit(carry, guests, luggage):
        columns, others = guests
        weight = weigh(a @ columns.T, *others)
        carry = carry[0] + weight @ columns, carry[1] + jnp.sum(weight, axis=1)
        return carry, luggage + weight.T @ a

    start = jnp.zeros_like(a), jnp.zeros_like(a[:, 0])
    (da, added), db = _around(axis, len(a), visit, start, (b, theirs), jnp.zeros_like(b))
    return da, added, db


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _both_ways(axis, a, b):
    return _both_ways_forward(axis, a, b)[0]


def _both_ways_forward(axis, a, b):
    own = _index(axis, a)

    def visit(carry, guests, luggage):
        columns, index = guests
        logits = a @ columns.T
        carry = _nearest(carry[0], logits, index), _add(carry[1], logits)
        return carry, (_nearest(luggage[0], logits, own, 0), _add(luggage[1], logits, 0))

    mine, theirs = _around(axis, len(a), visit, _start(a), (b, own), _start(b))
    rows, columns = _logsumexp(mine[1]), _logsumexp(theirs[1])
    return (rows, columns, mine[0][1], theirs[0][1]), (a, b, rows, columns)


def _both_ways_backward(axis, residuals, cotangents):
    (a, b, rows, columns), (g, their_g, _, _) = residuals, cotangents

    def weigh(logits, their_g, their_lse):
        by_row = g[:, None] * jnp.exp(logits - rows[:, None])
        return by_row + their_g[None, :] * jnp.exp(logits - their_lse[None, :])

    da, _, db = _pair_gradients(axis, a, b, weigh, (their_g, columns))
    return da, db


_both_ways.defvjp(_both_ways_forward, _both_ways_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _sigmoids(axis, a, b, bias):
    return _sigmoids_forward(axis, a, b, bias)[0]


def _sigmoids_forward(axis, a, b, bias):
    own = _index(axis, a)

    def visit(carry, guests, luggage):
        columns, index = guests
        logits = a @ columns.T + bias[:, None]
        signed = jnp.where(own[:, None] == index[None, :], -logits, logits)
        total = carry[1] + jnp.sum(jax.nn.softplus(signed), axis=1)
        return (_nearest(carry[0], logits, index), total), _nearest(luggage, logits, own, 0)

    start = _start(a)[0], jnp.zeros_like(bias)
    mine, theirs = _around(axis, len(a), visit, start, (b, own), _start(b)[0])
    return (mine[1], mine[0][1], theirs[1]), (a, b, bias)


def _sigmoids_backward(axis, residuals, cotangents):
    (a, b, bias), (g, _, _) = residuals, cotangents
    own = _index(axis, a)

    def weigh(logits, index):
        logits = logits + bias[:, None]
        partner = own[:, None] == index[None, :]
        slope = jnp.where(partner, -jax.nn.sigmoid(-logits), jax.nn.sigmoid(logits))
        return g[:, None] * slope

    da, dbias, db = _pair_gradients(axis, a, b, weigh, (own,))
    return da, db, dbias


_sigmoids.defvjp(_sigmoids_forward, _sigmoids_backward)
