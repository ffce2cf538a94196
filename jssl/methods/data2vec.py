"""data2vec: a general framework for self-supervised learning in speech, vision and language.

Baevski, Hsu, Xu, Babu, Gu & Auli 2022, arXiv 2202.03555.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from jssl import require
from jssl.augment.masks import block_mask
from jssl.losses import reconstruction, spread
from jssl.losses.reconstruction import layer_norm
from jssl.method import Array, Batch, Method, Out, Vars
from jssl.nn import teacher
from jssl.nn.forward import start
from jssl.nn.positions import grid_of
from jssl.nn.vit import ViT


def data2vec(
    encoder: nn.Module,
    view: Callable[[Array, Batch], Array],
    prepare: Callable[[Batch], Array],
    *,
    mask_ratio: float = 0.6,
    min_patches: int = 16,
    top_k: int = 6,
    beta: float = 2.0,
    tau: float = 0.9998,
    final_tau: float = 0.9998,
    tau_steps: int = 1,
) -> Method:
    """Predict what a teacher makes of the whole image from an image with hidden blocks.

    Args:
      encoder: a `jssl.nn.vit.ViT`; a learned token stands for each hidden patch.
      view: ``(key, batch) -> [n h w c]``, one random view, the same to student and teacher; a crop,
        a flip and colour jitter in the paper.
      prepare: ``batch -> [n h w c]``, the unaugmented images, normalised as the view is.
      mask_ratio: share of hidden patches, in (0, 1), in blocks.
      min_patches: least area of a block.
      top_k: K, the number of last blocks whose mean is the target.
      beta: where the loss goes over from a square to an absolute error.
      tau: share of the teacher kept at the first step.
      final_tau: the same after ``tau_steps``.
      tau_steps: steps over which it goes from one to the other.

    As in the released code for images: patches alone are targets, each block's output is layer-
    normalised without parameters, and so is their mean. There the encoder has relative positions
    and layer scale, here it is as it comes.

    Raises:
      ValueError: if the encoder is not a ViT of at least K blocks, or an option is out of range.
    """
    if not isinstance(encoder, ViT):
        raise ValueError(f"data2vec needs a ViT encoder, got a {type(encoder).__name__}")
    if not 1 <= top_k <= encoder.depth:
        raise ValueError(f"top_k must be from 1 to the {encoder.depth} blocks, got {top_k}")
    require.fraction(mask_ratio=mask_ratio, tau=tau, final_tau=final_tau)
    require.positive(beta=beta)
    require.at_least(1, tau_steps=tau_steps)
    head = nn.Dense(encoder.dim, dtype=encoder.dtype, param_dtype=encoder.param_dtype)

    def views(key, batch):
        k_view, k_mask = jax.random.split(key)
        images = view(k_view, batch)
        rows, columns = grid_of(images.shape[1:3], encoder.patch)
        count = round(mask_ratio * rows * columns)
        if not 0 < count < rows * columns:
            raise ValueError(f"mask_ratio must hide a part of {rows * columns}, got {mask_ratio}")
        grid = (rows, columns)
        mask = block_mask(k_mask, len(images), grid, count, min_patches=min_patches)
        return {"image": images, "mask": mask}

    def init(key, batch):
        k_encoder, k_head, k_views = jax.random.split(key, 3)
        first = views(k_views, batch)
        params, _ = start(encoder, k_encoder, first["image"], mask=first["mask"])
        tokens = jnp.zeros((1, 1, encoder.dim), encoder.param_dtype)
        params = {"encoder": params, "head": head.init(k_head, tokens)["params"]}
        return Vars(params, teacher.begin(params, {}, without="head"))

    def targets(params, images):
        """[n t d]: section 3.3 ("Targets"). A teacher drops no branch: it is not in training."""
        _, blocks = encoder.apply({"params": params}, images, train=False, blocks=True)
        return layer_norm(jnp.mean(layer_norm(blocks[-top_k:]), axis=0))

    def loss(params, state, views, key, step):
        images, mask = views["image"], views["mask"]
        target = targets(state["teacher"]["encoder"], images)
        tokens = encoder.apply(
            {"params": params["encoder"]}, images, train=True, mask=mask, rngs={"dropout": key}
        ).tokens
        pred = head.apply({"params": params["head"]}, tokens)
        # Equation 2.
        value = reconstruction.masked_smooth_l1(pred, target, mask, beta)
        return value, Out(state, {"loss": value} | spread.token_spread(target))

    def after(params, state, step):
        # Equation 1.
        rate = teacher.linear(tau, final_tau, step, tau_steps)
        return state | {"teacher": teacher.follow(state["teacher"], params, rate)}

    def embed(params, state, batch):
        return encoder.apply({"params": params["encoder"]}, prepare(batch), train=False)

    return Method(init, views, loss, after, embed)
