"""SCARF: self-supervised contrastive learning using random feature corruption.

Bahri, Jiang, Tay & Metzler 2021, arXiv 2106.15147.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from jssl import require
from jssl.losses.geometry import l2_normalize
from jssl.method import Array, Batch, Method, Out, Vars
from jssl.nn.forward import forward_together, start
from jssl.nn.heads import MLP, JointEmbedding
from jssl.nn.table import TableMLP


def corrupt(key: Array, x: Array, share: float) -> Array:
    """Rows [n f] with floor(share f) of the f features of each drawn anew, algorithm 1.

    Which ones is uniform over all subsets. A new value is that of the column in a row of the batch,
    each as likely: over random batches a draw of the column's empirical marginal.
    """
    k_which, k_row = jax.random.split(key)
    n, f = x.shape
    order = jnp.argsort(jax.random.uniform(k_which, (n, f), jnp.float32), axis=1)
    hidden = jnp.argsort(order, axis=1) < int(share * f + 1e-9)
    other = jnp.take_along_axis(x, jax.random.randint(k_row, (n, f), 0, n), axis=0)
    return jnp.where(hidden, other, x)


def scarf(
    encoder: nn.Module,
    prepare: Callable[[Batch], Array],
    *,
    corruption: float = 0.6,
    temperature: float = 1.0,
    hidden: int = 256,
    out: int = 256,
) -> Method:
    """Contrastive learning: tell which row of the batch a corrupted row was.

    Args:
      encoder: f of the paper, a `jssl.nn.table.TableMLP`.
      prepare: ``batch -> [n d]``, the features of ``batch["row"]`` [n f], scaled and one-hot. What
        is corrupted are the columns before that, so a category changes as a whole.
      corruption: c, share of the columns that are drawn anew, in (0, 1).
      temperature: of the loss, > 0.
      hidden: width of the hidden layer of the head g.
      out: width of its output.

    The paper draws new values from all training rows; here from those of the batch, see `corrupt`.
    The loss is the paper's plus log(n), which has no gradient.

    Raises:
      ValueError: if the encoder is none of tables, for an option out of its range, or where too
        few columns leave none to corrupt.
    """
    require.fraction(corruption=corruption)
    require.positive(temperature=temperature)
    if not isinstance(encoder, TableMLP):
        raise ValueError(f"scarf needs a TableMLP encoder, got a {type(encoder).__name__}")
    dtypes = {"dtype": encoder.dtype, "param_dtype": encoder.param_dtype}
    net = JointEmbedding(encoder, MLP((hidden, out), norm=None, **dtypes))

    def init(key, batch):
        return Vars(*start(net, key, prepare(batch)))

    def views(key, batch):
        row = batch["row"]
        if int(corruption * row.shape[1] + 1e-9) == 0:
            raise ValueError(f"corruption={corruption} of {row.shape[1]} columns changes none")
        # One view is the row as it is.
        corrupted = {**batch, "row": corrupt(key, row, corruption)}
        return jnp.stack([prepare(batch), prepare(corrupted)], axis=1)

    def loss(params, state, views, key, step):
        (_, z, _), state = forward_together(net, params, state, views, key)
        z, corrupted = l2_normalize(z[:, 0]), l2_normalize(z[:, 1])
        logits = z @ corrupted.T / temperature
        own = jnp.arange(len(z), dtype=jnp.int32)
        positive = jnp.sum(z * corrupted, axis=-1) / temperature
        value = jnp.mean(jax.nn.logsumexp(logits, axis=1) - positive)
        right = jax.lax.argmax(logits, 1, jnp.int32) == own
        return value, Out(state, {"loss": value, "proxy_accuracy": jnp.mean(right, dtype=z.dtype)})

    def after(params, state, step):
        return state

    def embed(params, state, batch):
        return net.apply({"params": params, **state}, prepare(batch), method="encode")

    return Method(init, views, loss, after, embed)
