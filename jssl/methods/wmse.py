"""W-MSE: whitening for self-supervised representation learning.

Ermolov, Siarohin, Sangineto & Sebe 2021, arXiv 2007.06346.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from jssl import require
from jssl.losses import redundancy, spread
from jssl.method import Array, Batch, Method, Out, Vars
from jssl.nn.forward import forward_apart, forward_together, start
from jssl.nn.heads import MLP, JointEmbedding


def wmse(
    encoder: nn.Module,
    views: Callable[[Array, Batch], Array],
    prepare: Callable[[Batch], Array],
    *,
    sub_batch: int = 128,
    iterations: int = 1,
    epsilon: float = 0.0,
    normalize: bool = True,
    hidden: int = 1024,
    out: int = 64,
) -> Method:
    """Views meet after whitening, which scatters the batch and leaves no way to collapse.

    Args:
      encoder: E of the paper, a module that returns `Features`.
      views: ``(key, batch) -> [n 2 ...]``, two random views of each example (the paper also tries
        four).
      prepare: ``batch -> [n ...]``, the unaugmented examples, normalised as the views are.
      sub_batch: examples whitened together, more than ``out``; divides the batch.
      iterations: random cuts of the batch into such parts, over which the loss is a mean.
      epsilon: share of the identity in the covariance that is inverted, in [0, 1]. Without it a
        covariance that is singular makes the loss NaN.
      normalize: compare whitened features by their cosine; without it by squared distance.
      hidden: width of the hidden layer of the projector g.
      out: width of its output.

    Raises:
      ValueError: if sub_batch is not more than ``out``, epsilon is outside [0, 1] or there is no
        iteration; as soon as the step is traced if sub_batch does not divide the batch.
    """
    if sub_batch <= out:
        raise ValueError(f"sub_batch must be more than out={out}, got {sub_batch}")
    require.fraction(epsilon=epsilon)
    require.at_least(1, iterations=iterations)
    dtypes = {"dtype": encoder.dtype, "param_dtype": encoder.param_dtype}
    net = JointEmbedding(encoder, MLP((hidden, out), bias=True, final_bias=True, **dtypes))

    def init(key, batch):
        return Vars(*start(net, key, prepare(batch)))

    def loss(params, state, views, key, step):
        k_order, k_encoder, k_projector = jax.random.split(key, 3)
        # The encoder sees one view at a time, the projector both, as in the released code.
        made, state = forward_apart(net, params, state, views, k_encoder, method="encode")
        pooled = jnp.stack([features.pooled for features in made], axis=1)
        n = len(pooled)
        (z, _), state = forward_together(net, params, state, pooled, k_projector, method="project")
        z1, z2 = z[:, 0], z[:, 1]
        cuts = jax.random.split(k_order, iterations)
        order = jnp.stack([jax.random.permutation(cut, n) for cut in cuts])
        value = redundancy.wmse(z1, z2, order, sub_batch, epsilon, normalize=normalize)
        return value, Out(state, {"loss": value} | spread.spread(z1, z2))

    def after(params, state, step):
        return state

    def embed(params, state, batch):
        return net.apply({"params": params, **state}, prepare(batch), method="encode")

    return Method(init, views, loss, after, embed)
