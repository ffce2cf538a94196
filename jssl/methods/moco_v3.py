"""MoCo v3: momentum contrast within the batch, for vision transformers too.

Chen, Xie & He 2021, arXiv 2104.02057.
"""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax

from jssl import require
from jssl.losses import contrastive, ring, spread
from jssl.method import Array, Batch, Method, Out, Vars
from jssl.nn import teacher
from jssl.nn.forward import forward_apart, start
from jssl.nn.heads import MLP, JointEmbedding
from jssl.nn.vit import ViT


def moco_v3(
    encoder: nn.Module,
    views: Callable[[Array, Batch], Array],
    prepare: Callable[[Batch], Array],
    *,
    total_steps: int,
    temperature: float = 0.2,
    momentum: float = 0.99,
    hidden: int = 4096,
    out: int = 256,
    layers: int | None = None,
    freeze_patches: bool = True,
    loss_impl: str = "auto",
) -> Method:
    """Contrastive learning with a predictor; the keys are a momentum encoder's, of this batch.

    Args:
      encoder: backbone, a module that returns `Features`.
      views: ``(key, batch) -> [n 2 ...]``, two random views, drawn from two distributions.
      prepare: ``batch -> [n ...]``, the unaugmented examples, normalised as the views are.
      total_steps: length of training, over which the momentum rises to 1.
      temperature: of the loss; the released code has 0.2 for a ViT and 1 for a ResNet.
      momentum: share of the momentum encoder kept at the first step.
      hidden: width of the hidden layers of projector and predictor.
      out: width of their outputs.
      layers: of the projector; None means 3 for a ViT and 2 for any other encoder.
      freeze_patches: keep the random patch projection of a ViT (section 4.2); without meaning for
        any other encoder.
      loss_impl: "dense", "ring" without the matrix of logits, or "auto", see `contrastive`.

    Raises:
      ValueError: if an option is out of range.
    """
    require.one_of(ring.IMPLS, loss_impl=loss_impl)
    require.positive(temperature=temperature)
    require.fraction(momentum=momentum)
    require.at_least(1, total_steps=total_steps)
    vit = isinstance(encoder, ViT)
    freeze = vit and freeze_patches
    if layers is None:
        layers = 3 if vit else 2
    require.at_least(1, layers=layers)
    dtypes = {"dtype": encoder.dtype, "param_dtype": encoder.param_dtype}
    # The last batch norm has no parameters; a ResNet's predictor, in the released code, has none.
    plain = {"final_norm": "batch", "final_scale": False, "final_offset": False, **dtypes}
    projector = MLP((hidden,) * (layers - 1) + (out,), **plain)
    predictor = MLP((hidden, out), **(plain if vit else dtypes))
    base = JointEmbedding(encoder, projector, predictor)
    target = JointEmbedding(encoder, projector)

    infonce = functools.partial(
        contrastive.infonce_accuracy, temperature=temperature, loss_impl=loss_impl
    )

    def frozen(params, patches):
        """The parameters with this patch projection."""
        return params | {"encoder": params["encoder"] | {"embed": patches}}

    def init(key, batch):
        params, stats = start(base, key, prepare(batch))
        return Vars(params, teacher.begin(params, stats, without="predictor"))

    def loss(params, state, views, key, step):
        if freeze:
            params = frozen(params, jax.lax.stop_gradient(params["encoder"]["embed"]))
        k_query, k_key = jax.random.split(key)
        (made1, made2), stats = forward_apart(base, params, state["stats"], views, k_query)
        (key1, key2), ema_stats = forward_apart(
            target, state["teacher"], state["teacher_stats"], views, k_key
        )
        # Algorithm 1: equation 1 in both directions, times 2 tau; infonce stops the keys' gradient.
        loss1, accuracy1 = infonce(made1.p, key2.z)
        loss2, accuracy2 = infonce(made2.p, key1.z)
        value = 2 * temperature * (loss1 + loss2)
        metrics = {"loss": value, "proxy_accuracy": (accuracy1 + accuracy2) / 2}
        metrics |= spread.spread(made1.z, made2.z)
        return value, Out(state | {"stats": stats, "teacher_stats": ema_stats}, metrics)

    def adjust(before, params, state, step):
        # Weight decay must leave it alone too.
        return frozen(params, before["encoder"]["embed"]) if freeze else params

    def after(params, state, step):
        # The released code moves its momentum encoder as the next step begins, with that step's
        # momentum, which rises to 1 along a cosine.
        rate = teacher.slowing(momentum, step + 1, total_steps)
        return state | {"teacher": teacher.follow(state["teacher"], params, rate)}

    def embed(params, state, batch):
        return base.apply({"params": params, **state["stats"]}, prepare(batch), method="encode")

    return Method(init, views, loss, after, embed, adjust=adjust)
