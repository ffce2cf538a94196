"""BEiT: BERT pre-training of image transformers.

Bao, Dong, Piao & Wei 2021, arXiv 2106.08254.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from jssl import require
from jssl.augment import image
from jssl.augment.masks import block_mask
from jssl.losses import reconstruction
from jssl.method import Array, Batch, Method, Out, Vars
from jssl.nn.positions import grid_of, patchify, unpatchify
from jssl.nn.vit import ViT

MISSING = (
    "beit needs a tokenizer: train one with `jssl pretrain --config vqvae --workdir runs/vqvae`, "
    "then give --config.method.tokenizer=runs/vqvae"
)


def beit(
    encoder: nn.Module,
    view: Callable[[Array, Batch], Array],
    prepare: Callable[[Batch], Array],
    restore: Callable[[Array], Array],
    *,
    tokenizer: Method | None = None,
    mask_ratio: float = 0.4,
    min_patches: int = 16,
) -> Method:
    """Masked prediction of visual tokens: blocks of patches are hidden, their codes are asked for.

    Args:
      encoder: a `jssl.nn.vit.ViT`; a learned mask token stands for what is hidden.
      view: ``(key, batch) -> [n h w c]``, one random view; crop, flip and light jitter in the
        paper. Encoder and tokenizer see the same one.
      prepare: ``batch -> [n h w c]``, the unaugmented images, normalised as the view is.
      restore: normalised images back to [0, 1], from which the tokenizer makes its own input.
      tokenizer: a trained method with ``codes``, a grid of them as large as that of the patches.
        Its variables are frozen, in ``state["tokenizer"]``.
      mask_ratio: share of hidden patches, in (0, 1); 75 of 196 in the released code.
      min_patches: least area of a block; 16 of 196 patches in the paper.

    ``chance`` is what the best of all constant answers scores: the share of the most frequent code
    among those asked for.

    Raises:
      ValueError: if the encoder is not a ViT, or there is no tokenizer, or none whose codes fit.
    """
    if not isinstance(encoder, ViT):
        raise ValueError(f"beit needs a ViT encoder, got a {type(encoder).__name__}")
    if tokenizer is None:
        raise ValueError(MISSING)
    if tokenizer.codes is None:
        raise ValueError("tokenizer must be a run of a method that has codes, such as vqvae")
    require.fraction(mask_ratio=mask_ratio)
    k, encode, decode = tokenizer.codes
    dtypes = {"dtype": encoder.dtype, "param_dtype": encoder.param_dtype}
    # The deviation of the released code.
    head = nn.Dense(k, kernel_init=nn.initializers.truncated_normal(0.02), **dtypes)

    def views(key, batch):
        k_view, k_mask = jax.random.split(key)
        images = view(k_view, batch)
        grid = grid_of(images.shape[1:3], encoder.patch)
        count = int(mask_ratio * grid[0] * grid[1])
        mask = block_mask(k_mask, len(images), grid, count, min_patches=min_patches)
        return {"image": images, "mask": mask}

    def tokenize(state, images):
        # The whole view: what is hidden from the encoder is not from the tokenizer.
        codes = encode(*state["tokenizer"], {"image": restore(images)})
        grid = grid_of(images.shape[1:3], encoder.patch)
        if codes.shape[1:] != grid:
            theirs, ours = (f"{rows}x{columns}" for rows, columns in (codes.shape[1:], grid))
            raise ValueError(
                f"tokenizer must make as many codes of an image as there are patches, {ours}; it "
                f"makes {theirs}"
            )
        return codes

    def init(key, batch):
        k_encoder, k_head, k_tokenizer, k_views = jax.random.split(key, 4)
        first = views(k_views, batch)
        params = encoder.init(k_encoder, first["image"], train=False, mask=first["mask"])["params"]
        tokens = encoder.apply({"params": params}, first["image"], train=False).tokens
        params = {"encoder": params, "head": head.init(k_head, tokens)["params"]}
        state = {"tokenizer": tokenizer.init(k_tokenizer, batch)}
        tokenize(state, first["image"])
        return Vars(params, state)

    def predict(params, views, key, *, train):
        tokens = encoder.apply(
            {"params": params["encoder"]},
            views["image"],
            train=train,
            mask=views["mask"],
            rngs={"dropout": key},
        ).tokens
        return head.apply({"params": params["head"]}, tokens)

    def loss(params, state, views, key, step):
        codes = tokenize(state, views["image"])
        labels, mask = codes.reshape(len(codes), -1), views["mask"]
        logits = predict(params, views, key, train=True)
        # Equation 2.
        value, accuracy = reconstruction.masked_cross_entropy(logits, labels, mask)
        asked = jnp.where(mask[:, :, None], jax.nn.one_hot(labels, k), 0)
        chance = jnp.max(jnp.sum(asked, axis=(0, 1))) / jnp.sum(asked)
        metrics = {"loss": value, "proxy_accuracy": accuracy, "chance": chance}
        return value, Out(state, metrics)

    def after(params, state, step):
        return state

    def embed(params, state, batch):
        return encoder.apply({"params": params["encoder"]}, prepare(batch), train=False)

    def reconstruct(params, state, views, key):
        """What is hidden as the tokenizer decodes the predicted codes among the true others."""
        images, hidden = views["image"], views["mask"]
        size, codes = images.shape[1:3], tokenize(state, images)
        predicted = jnp.argmax(predict(params, views, key, train=False), axis=-1)
        mixed = jnp.where(hidden.reshape(codes.shape), predicted.reshape(codes.shape), codes)
        decoded = image.resize(decode(*state["tokenizer"], mixed), size)
        seen = patchify(restore(images), encoder.patch)

        def picture(patches):
            patches = jnp.where(hidden[:, :, None], patches.astype(seen.dtype), seen)
            return unpatchify(patches, encoder.patch, size)

        nothing = patchify(restore(jnp.zeros_like(images)), encoder.patch)
        return {
            "original": picture(seen),
            "masked": picture(nothing),
            "reconstruction": picture(patchify(decoded, encoder.patch)),
        }

    return Method(init, views, loss, after, embed, reconstruct)
