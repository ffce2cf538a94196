"""Every registered method, small: the one place where the ladder's suite learns of a new one."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np

from jssl import methods
from jssl.augment import compose, image
from jssl.nn import encoders
from jssl.train import step as train_step

MEAN, STD = 0.3, 0.35
SIZE = 16
VOCABULARY, TOKENS, STEPS = 30, 24, 12
SAMPLES = 64


def resnet(**options):
    return encoders.build("resnet", blocks=(1, 1), width=8, stem="cifar", **options)


def vit(**options):
    return encoders.build("vit", dim=24, depth=2, heads=2, patch=4, pool="mean", **options)


def resnet_by_4(**options):
    """A token for every 4 x 4 pixels, as the ViT has."""
    return encoders.build("resnet", blocks=(1, 1), width=8, stem="2x2", **options)


def vit_cls(**options):
    return vit(**options).clone(pool="cls")


def text(**options):
    return encoders.build(
        "text",
        vocabulary=VOCABULARY,
        dim=16,
        depth=2,
        heads=2,
        types=2,
        max_length=TOKENS,
        **options,
    )


def text_causal(**options):
    return text(causal=True, **options)


def text_dropout(**options):
    return text(dropout=0.1, **options)


def cpc_net(**options):
    return encoders.build("cpc", dim=8, context=6, kernels=(4, 3), strides=(2, 2), **options)


def wav2vec_net(**options):
    small = {"dim": 8, "depth": 2, "heads": 2, "conv_dim": 6, "positions": 4, "groups": 2}
    return encoders.build("wav2vec2", kernels=(4, 2), strides=(2, 2), **small, **options)


def dilated(**options):
    return encoders.build("dilated", dim=12, width=8, depth=2, dropout=0.0, **options)


def patch_series(**options):
    small = {"dim": 8, "depth": 1, "heads": 2, "patch": 3, "dropout": 0.0}
    return encoders.build("patch_series", **small, **options)


def table_net(**options):
    return encoders.build("table", dim=12, depth=2, **options)


# name -> (encoder builders to try, options). What a method's signature asks for, it is given.
CASES = {
    "simclr": ((resnet, vit), {"hidden": 32, "out": 16, "temperature": 0.2}),
    "dcl": ((resnet, vit), {"hidden": 32, "out": 16, "temperature": 0.2}),
    "moco_v2": ((resnet, vit), {"hidden": 32, "out": 16, "momentum": 0.9, "queue": 64}),
    "moco_v3": (
        (resnet, vit),
        {"hidden": 32, "out": 16, "momentum": 0.9, "temperature": 0.5},
    ),
    "nnclr": (
        (resnet, vit),
        {"hidden": 32, "out": 16, "predictor_hidden": 32, "queue": 64, "temperature": 0.2},
    ),
    "byol": ((resnet, vit), {"hidden": 32, "out": 16, "tau": 0.9}),
    "barlow_twins": ((resnet, vit), {"hidden": 32, "out": 16}),
    "vicreg": ((resnet, vit), {"hidden": 32, "out": 16}),
    # Parts that divide every batch of the ladder; so small that they are close to singular.
    "wmse": ((resnet, vit), {"hidden": 32, "out": 3, "sub_batch": 4, "epsilon": 0.1}),
    "mae": ((vit,), {"dim": 16, "depth": 1, "heads": 2}),
    "simmim": ((vit, resnet), {"mask_patch": 4}),
    "data2vec": (
        (vit,),
        {"top_k": 2, "min_patches": 2, "tau": 0.9, "final_tau": 0.99, "tau_steps": 4},
    ),
    "ijepa": ((vit,), {"dim": 16, "depth": 1, "heads": 2, "momentum": 0.9}),
    "beit": ((vit,), {"min_patches": 2}),
    "vqvae": ((resnet_by_4, vit), {"k": 16, "dim": 8, "width": 16, "decay": 0.9}),
    "autoencoder": ((resnet, vit), {"code": 8, "width": 8}),
    "denoising_autoencoder": (
        (resnet, vit),
        {"code": 8, "width": 8, "noise": "salt_and_pepper", "alpha": 2.0},
    ),
    "inpainting": ((resnet, vit), {"width": 8}),
    "colorization": ((resnet, vit), {"width": 8, "stride": 2, "momentum": 0.9}),
    "bert": ((text,), {"whole_words": True}),
    "gpt": ((text_causal,), {}),
    "simcse": ((text_dropout,), {}),
    "cpc": ((cpc_net,), {"steps": 3, "among": "batch", "negatives": 20}),
    "wav2vec2": (
        (wav2vec_net,),
        {"mask_share": 0.2, "mask_length": 3, "distractors": 4, "entries": 5, "dim": 6},
    ),
    "clip": ((resnet, vit), {"out": 16}),
    "siglip": ((resnet, vit), {"out": 16}),
    "ts2vec": ((dilated,), {}),
    "patchtst": ((patch_series,), {"head_dropout": 0.0}),
    "scarf": ((table_net,), {"hidden": 16, "out": 8}),
    "rotation": ((resnet, vit), {}),
    "supervised": ((resnet, vit), {"label_smoothing": 0.1, "mixup": 0.8, "cutmix": 1.0}),
    "fixmatch": ((resnet, vit), {"threshold": 0.11, "momentum": 0.9}),
    "flexmatch": ((resnet, vit), {"threshold": 0.11, "momentum": 0.9}),
    # Rounds of a step.
    "pseudo_label": (
        (resnet, vit),
        {"threshold": 0.11, "ramp": (0.0, 0.01), "round_epochs": 0.5, "balance": True},
    ),
    "pi_model": ((resnet, vit), {"ramp": 0.01}),
    "mean_teacher": ((resnet, vit), {"ramp": 0.01, "momentum": 0.9, "first_momentum": 0.5}),
    "patch_location": ((resnet, vit), {"patch": 4, "gap": 2, "jitter": 1, "hidden": 16}),
    "jigsaw": (
        (resnet, vit),
        {"tile": 4, "permutations": 10, "channel_shift": 1, "hidden": 16},
    ),
    "dino": ((resnet, vit), {"k": 32, "hidden": 32, "bottleneck": 16, "momentum": 0.9}),
    "ibot": ((vit_cls,), {"k": 32, "hidden": 32, "bottleneck": 16, "momentum": 0.9}),
    "lejepa": ((resnet, vit), {"hidden": 32, "out": 8, "directions": 16}),
    "simsiam": ((resnet, vit), {"hidden": 32, "out": 16, "bottleneck": 8}),
    "deepcluster": ((resnet, vit), {"clusters": 4, "pca": 6}),
    "deepcluster_v2": ((resnet, vit), {"hidden": 32, "out": 16, "prototypes": (4, 3, 5)}),
    # The second step moves the prototypes, with a queue that the first has filled.
    "swav": (
        (resnet, vit),
        {
            "hidden": 32,
            "out": 16,
            "prototypes": 12,
            "freeze_prototypes_niters": 1,
            "queue_length": 16,
            "queue_start_epoch": 0,
        },
    ),
}
# What asks for colours takes RGB images alone.
OF_COLORS = ("colorization",)
# What learns from few labels and the unlabelled examples beside them.
OF_FEW_LABELS = ("fixmatch", "flexmatch", "pseudo_label", "pi_model", "mean_teacher")
BESIDE = 2
# What asks for captions beside images.
OF_PAIRS = ("clip", "siglip")
# Encoders of tokens, of signals and of series; all others are of images.
OF_TOKENS = (text, text_causal, text_dropout)
OF_SIGNALS = (cpc_net, wav2vec_net)
OF_SERIES = (dilated, patch_series)
OF_ROWS = (table_net,)
# As different as methods can be: these climb the whole ladder in `make test`, and all the others
# the part that compiles nothing; `make test-long` does the rest.
OFTEN = ("simclr", "byol", "mae")
CELLS = [(name, encoder) for name, (encoders_, _) in CASES.items() for encoder in encoders_]
IDS = [f"{name}-{encoder.__name__}" for name, encoder in CELLS]


def make(
    name,
    encoder,
    *,
    dtype=None,
    size=SIZE,
    scale=(0.4, 1.0),
    steps=100,
    steps_per_epoch=2,
    examples=None,
    begin=None,
    options=None,
    tokenizer=None,
):
    """A small version of a method; ``options`` instead of those in `CASES`.

    ``tokenizer`` is for methods that need one; a new one by default.
    """
    # Crop and flip alone: the colours are tested in their own room and cost most of the compiling.
    plain = {"jitter_p": 0.0, "grayscale_p": 0.0, "blur_p": 0.0}
    view = compose.image_view(size, scale=scale, **plain, mean=MEAN, std=STD)
    pair = compose.two_views(view)
    small = compose.image_view(size // 2, scale=(0.1, 0.4), **plain, mean=MEAN, std=STD)
    crops = compose.multi_crop(pair, small, 2)
    pixel = dtype or jnp.float32
    wide = jnp.float64 if dtype == jnp.float64 else jnp.float32

    def pixels(batch):
        return image.as_float(batch["image"], pixel)

    offered = {
        "encoder": encoder(dtype=dtype, param_dtype=wide),
        "view": lambda key, batch: view(key, pixels(batch)),
        "views": lambda key, batch: pair(key, pixels(batch)),
        "crops": lambda key, batch: crops(key, pixels(batch)),
        "prepare": lambda batch: image.normalize(image.resize(pixels(batch), size), MEAN, STD),
        "restore": lambda x: jnp.clip(image.denormalize(x, MEAN, STD), 0, 1),
        "unrestore": lambda x: image.normalize(x, MEAN, STD),
        "total_steps": steps,
        "steps_per_epoch": steps_per_epoch,
        "examples": examples or (16 * BESIDE if name in OF_FEW_LABELS else 16),
        "num_classes": 10,
        "begin": begin,
        "text_encoder": text(dtype=dtype, param_dtype=wide, pool="last"),
        "caption": tokens,
    }
    if encoder in OF_TOKENS:
        offered["prepare"] = tokens
        offered |= {"pad_token": 0, "cls_token": 1, "sep_token": 2, "mask_token": 3}
        offered["word_starts"] = [i % 3 > 0 for i in range(VOCABULARY)]
    if encoder in OF_SIGNALS:
        offered["prepare"] = lambda batch: {
            "signal": batch["signal"].astype(wide),
            "samples": batch["samples"],
        }
    if encoder in OF_SERIES:

        def prepare(batch):
            return {"series": batch["series"].astype(pixel), "observed": batch["observed"]}

        offered |= {"prepare": prepare, "view": lambda key, batch: prepare(batch)}
    if encoder in OF_ROWS:
        offered["prepare"] = lambda batch: batch["row"].astype(pixel)
    factory = methods.METHODS[name]
    asked = inspect.signature(factory).parameters
    if "tokenizer" in asked:
        offered["tokenizer"] = tokenizer or make("vqvae", resnet_by_4, dtype=dtype, size=size)
    options = CASES[name][1] if options is None else options
    return factory(**{k: v for k, v in offered.items() if k in asked}, **options)


def tokens(batch):
    """The rows of tokens of a batch."""
    return {key: batch[key] for key in ("tokens", "segments")}


def batch(n=16, size=SIZE, channels=3, seed=0):
    """Random uint8 images with structure, a coloured gradient and noise; tokens; signals; series.

    A method takes what is of its kind. Beside each example stand unlabelled ones.
    """

    def pictures(rng, n):
        ramp = np.linspace(0, 160, size)[None, :, None, None] * rng.random((n, 1, 1, channels))
        return (ramp + rng.integers(0, 96, (n, size, size, channels))).astype(np.uint8)

    rng = np.random.default_rng(seed)
    images = pictures(rng, n)
    others = pictures(np.random.default_rng(seed + 10**6), n * BESIDE)
    labels = rng.integers(0, 10, n)
    segments = 1 + np.cumsum(rng.random((n, TOKENS)) < 0.1, axis=1)
    own = np.random.default_rng(seed + 2 * 10**6)
    series = np.cumsum(own.normal(size=(n, STEPS, channels)), axis=1)
    return {
        "series": jnp.asarray(series, jnp.float32),
        "observed": jnp.asarray(own.random(series.shape) < 0.95),
        "row": jnp.asarray(own.normal(size=(n, 7)), jnp.float32),
        "image": jnp.asarray(images),
        "tokens": jnp.asarray(rng.integers(4, VOCABULARY, (n, TOKENS)), jnp.int32),
        "segments": jnp.asarray(segments, jnp.int32).at[-1, -3:].set(0),
        "signal": jnp.asarray(rng.normal(size=(n, SAMPLES)), jnp.float32),
        "samples": jnp.asarray(rng.integers(SAMPLES // 2, SAMPLES + 1, n), jnp.int32),
        "label": jnp.asarray(labels, jnp.int32),
        "index": jnp.arange(n, dtype=jnp.int32),
        "unlabeled": {
            "image": jnp.asarray(others.reshape(n, BESIDE, *others.shape[1:])),
            "index": jnp.arange(n * BESIDE, dtype=jnp.int32).reshape(n, BESIDE),
        },
    }


def first(method, tx, batch):
    """The first train state of seed 0, made by one program: op by op takes four times as long."""
    return jax.jit(lambda batch: train_step.init(method, tx, 0, batch))(batch)
