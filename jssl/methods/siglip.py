"""SigLIP: sigmoid loss for language image pre-training.

Zhai, Mustafa, Kolesnikov & Beyer 2023, arXiv 2303.15343.
"""

from collections.abc import Callable

import flax.linen as nn

from jssl import require
from jssl.losses import contrastive, ring
from jssl.method import Array, Batch, Method
from jssl.methods.clip import of_pairs
from jssl.nn.towers import TwoTowers


def siglip(
    encoder: nn.Module,
    text_encoder: nn.Module,
    view: Callable[[Array, Batch], Array],
    prepare: Callable[[Batch], Array],
    caption: Callable[[Batch], dict[str, Array]],
    *,
    out: int = 768,
    temperature: float = 0.1,
    bias: float = -10.0,
    locked: bool = False,
    loss_impl: str = "auto",
) -> Method:
    """Tell of each image and each caption of the batch, by themselves, whether they are a pair.

    Args:
      encoder, text_encoder, view, prepare, caption: as in `jssl.methods.clip.clip`; the paper's
        text encoder is not causal.
      out: width of the common space; that of the encoders, 768 with a ViT-B, in the released code.
      temperature: > 0; at first, t' = log 10 of section 3.2; then learned.
      bias: of the logits at first (section 3.2); then learned.
      locked: SigLiT: see `jssl.methods.clip.clip`.
      loss_impl: "dense", "ring" without the matrix of logits, or "auto", see `contrastive`.

    Raises:
      ValueError: for an option out of its range.
    """
    require.positive(temperature=temperature)
    require.one_of(ring.IMPLS, loss_impl=loss_impl)
    dtypes = {"dtype": encoder.dtype, "param_dtype": encoder.param_dtype}
    net = TwoTowers(encoder, text_encoder, out, 1 / temperature, bias, locked, **dtypes)

    def objective(a, b, scale, bias):
        return contrastive.siglip_accuracy(a, b, scale, bias, loss_impl=loss_impl)

    return of_pairs(net, view, prepare, caption, objective)
