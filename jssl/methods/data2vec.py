"""data2vec: a general framework for self-supervised learning in speech, vision and language.

Baevski, Hsu, Xu, Babu, Gu & Auli 2022, arXiv 2202.03555; and, with a decoder, data2vec 2.0:
Baevski, Babu, Hsu & Auli 2022, arXiv 2212.07525.
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
from jssl.nn.decoder import TokenDecoder
from jssl.nn.forward import start
from jssl.nn.positions import grid_of
from jssl.nn.vit import ViT

# What a block's output is normalised over: the features of a patch, the patches of an image.
AXES = {"layer": -1, "instance": -2}


def data2vec(
    encoder: nn.Module,
    view: Callable[[Array, Batch], Array],
    prepare: Callable[[Batch], Array],
    *,
    mask_ratio: float = 0.6,
    min_patches: int = 16,
    top_k: int = 6,
    target_norm: str = "layer",
    decoder: int = 0,
    width: int = 768,
    groups: int = 16,
    beta: float = 2.0,
    tau: float = 0.9998,
    final_tau: float = 0.9998,
    tau_steps: int = 1,
) -> Method:
    """Predict what a teacher makes of the whole image from an image with hidden blocks.

    Args:
      encoder: a `jssl.nn.vit.ViT`.
      view: ``(key, batch) -> [n h w c]``, one random view, the same to student and teacher; a crop,
        a flip and colour jitter in the paper.
      prepare: ``batch -> [n h w c]``, the unaugmented images, normalised as the view is.
      mask_ratio: share of hidden patches, in (0, 1).
      min_patches: least area of a block: of what is hidden or, with a decoder, of what is seen
        (data2vec 2.0, section 3.3, "inverse block masking").
      top_k: K, the number of last blocks whose mean is the target.
      target_norm: of what each block returns: "layer", over the features of a patch, or "instance",
        over the patches of an image, as in data2vec 2.0.
      decoder: 0: the encoder sees a learned token for each hidden patch, and a linear layer
        predicts. More: it sees the other patches alone, and so many convolutions predict from
        these and from noise in the place of the hidden ones (data2vec 2.0, section 3.2).
      width: of the decoder.
      groups: of its convolutions. Divide the width and the encoder's.
      beta: where the loss goes over from a square to an absolute error.
      tau: share of the teacher kept at the first step.
      final_tau: the same after ``tau_steps``.
      tau_steps: steps over which it goes from one to the other.

    As in the released code for images: patches alone are targets, and the mean of the normalised
    blocks is layer-normalised without parameters. There the encoder has relative positions and
    layer scale, here it is as it comes; data2vec 2.0 also takes the blocks' targets before their
    last residual sum, masks each image 16 times, has the class token predict the mean patch, and
    has a squared error. These are left out.

    Raises:
      ValueError: if the encoder is not a ViT of at least K blocks, or an option is out of range.
    """
    if not isinstance(encoder, ViT):
        raise ValueError(f"data2vec needs a ViT encoder, got a {type(encoder).__name__}")
    if not 1 <= top_k <= encoder.depth:
        raise ValueError(f"top_k must be from 1 to the {encoder.depth} blocks, got {top_k}")
    require.fraction(mask_ratio=mask_ratio, tau=tau, final_tau=final_tau)
    require.positive(beta=beta)
    require.at_least(0, decoder=decoder)
    require.at_least(1, tau_steps=tau_steps, width=width, groups=groups)
    require.one_of(AXES, target_norm=target_norm)
    if decoder and (width % groups or encoder.dim % groups):
        raise ValueError(f"groups must divide the widths {encoder.dim} and {width}, got {groups}")
    dtypes = {"dtype": encoder.dtype, "param_dtype": encoder.param_dtype}
    head = TokenDecoder(encoder.dim, width, decoder, groups, **dtypes)

    def views(key, batch):
        k_view, k_mask = jax.random.split(key)
        images = view(k_view, batch)
        rows, columns = grid = grid_of(images.shape[1:3], encoder.patch)
        count = round(mask_ratio * rows * columns)
        if not 0 < count < rows * columns:
            raise ValueError(f"mask_ratio must hide a part of {rows * columns}, got {mask_ratio}")
        blocks = {"n": len(images), "grid": grid, "min_patches": min_patches}
        if not decoder:
            return {"image": images, "mask": block_mask(k_mask, count=count, **blocks)}
        seen = block_mask(k_mask, count=rows * columns - count, **blocks)
        keep = jnp.argsort(~seen, axis=1, stable=True)[:, : rows * columns - count]
        return {"image": images, "mask": ~seen, "keep": keep.astype(jnp.int32)}

    def hidden(views):
        """How the encoder is told what it does not see."""
        return {"keep": views["keep"]} if decoder else {"mask": views["mask"]}

    def init(key, batch):
        k_encoder, k_head, k_views = jax.random.split(key, 3)
        first = views(k_views, batch)
        params, _ = start(encoder, k_encoder, first["image"], **hidden(first))
        tokens = jnp.zeros((1, *grid_of(first["image"].shape[1:3], encoder.patch), encoder.dim))
        head_params = head.init(k_head, tokens.astype(encoder.param_dtype))["params"]
        params = {"encoder": params, "head": head_params}
        return Vars(params, teacher.begin(params, {}, without="head"))

    def targets(params, images):
        """[n t d]: section 3.3 ("Targets"). A teacher drops no branch: it is not in training."""
        _, blocks = encoder.apply({"params": params}, images, train=False, blocks=True)
        return layer_norm(jnp.mean(layer_norm(blocks[-top_k:], AXES[target_norm]), axis=0))

    def loss(params, state, views, key, step):
        images, mask = views["image"], views["mask"]
        target = targets(state["teacher"]["encoder"], images)
        k_drop, k_noise = jax.random.split(key)
        tokens = encoder.apply(
            {"params": params["encoder"]},
            images,
            train=True,
            **hidden(views),
            rngs={"dropout": k_drop},
        ).tokens
        if decoder:
            noise = 0.01 * jax.random.normal(k_noise, target.shape, tokens.dtype)
            tokens = noise.at[jnp.arange(len(noise))[:, None], views["keep"]].set(tokens)
        n, _, d = target.shape
        grid = grid_of(images.shape[1:3], encoder.patch)
        pred = head.apply({"params": params["head"]}, tokens.reshape(n, *grid, d))
        # Equation 2.
        value = reconstruction.masked_smooth_l1(pred.reshape(target.shape), target, mask, beta)
        return value, Out(state, {"loss": value} | spread.token_spread(target))

    def after(params, state, step):
        # Equation 1.
        rate = teacher.linear(tau, final_tau, step, tau_steps)
        return state | {"teacher": teacher.follow(state["teacher"], params, rate)}

    def embed(params, state, batch):
        return encoder.apply({"params": params["encoder"]}, prepare(batch), train=False)

    return Method(init, views, loss, after, embed)
