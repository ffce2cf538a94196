"""Encoders by name: what a config's ``encoder.name`` and its options build."""

import dataclasses
import difflib
from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from jssl.nn.audio import CPCEncoder
from jssl.nn.resnet import ResNet
from jssl.nn.series import DilatedConvs, PatchTransformer
from jssl.nn.table import TableMLP
from jssl.nn.text import TextTransformer
from jssl.nn.vit import ViT
from jssl.nn.wav2vec import Wav2Vec2Encoder

# BERT (arXiv 1810.04805) and its small sizes (arXiv 1908.08962); GPT-2's decoder.
_BERT = partial(TextTransformer, post_norm=True, types=2)
_GPT = partial(TextTransformer, causal=True, max_length=1024)

# What an encoder takes of a batch; all others take images.
_TAKES = {TextTransformer: "tokens", CPCEncoder: "signal", Wav2Vec2Encoder: "signal"}
_TAKES |= {DilatedConvs: "series", PatchTransformer: "series", TableMLP: "row"}

ENCODERS: dict[str, Callable[..., nn.Module]] = {
    "resnet": ResNet,
    "resnet18": partial(ResNet, blocks=(2, 2, 2, 2)),
    "resnet34": partial(ResNet, blocks=(3, 4, 6, 3)),
    "resnet50": partial(ResNet, blocks=(3, 4, 6, 3), bottleneck=True),
    "resnet101": partial(ResNet, blocks=(3, 4, 23, 3), bottleneck=True),
    "vit": ViT,
    "vit_ti16": partial(ViT, dim=192, depth=12, heads=3, patch=16),
    "vit_s16": partial(ViT, dim=384, depth=12, heads=6, patch=16),
    "vit_b16": partial(ViT, dim=768, depth=12, heads=12, patch=16),
    "vit_l16": partial(ViT, dim=1024, depth=24, heads=16, patch=16),
    "vit_h14": partial(ViT, dim=1280, depth=32, heads=16, patch=14),
    "dilated": DilatedConvs,
    "patch_series": PatchTransformer,
    "table": TableMLP,
    "text": TextTransformer,
    "bert_tiny": partial(_BERT, dim=128, depth=2, heads=2),
    "bert_mini": partial(_BERT, dim=256, depth=4, heads=4),
    "bert_small": partial(_BERT, dim=512, depth=4, heads=8),
    "bert_base": partial(_BERT, dim=768, depth=12, heads=12),
    "bert_large": partial(_BERT, dim=1024, depth=24, heads=16),
    "gpt_tiny": partial(_GPT, dim=128, depth=4, heads=4),
    "gpt2_small": partial(_GPT, dim=768, depth=12, heads=12),
    "gpt2_medium": partial(_GPT, dim=1024, depth=24, heads=16),
    "cpc": CPCEncoder,
    "wav2vec2": Wav2Vec2Encoder,
}

REQUIRED = "required"


def build(name: str, **options: Any) -> nn.Module:
    """The encoder called ``name``, with ``options`` over its defaults (`describe`).

    An unknown name or option, or a required one left out, raises ValueError.
    """
    defaults = options_of(name)
    for option in options:
        if option not in defaults:
            raise ValueError(
                f"unknown option {option!r} of encoder {name!r}{_nearest(option, defaults)}; "
                f"it takes {', '.join(defaults)}"
            )
    missing = [o for o, value in defaults.items() if value is REQUIRED and o not in options]
    if missing:
        raise ValueError(f"encoder {name!r} needs {', '.join(missing)}, got {options}")
    return ENCODERS[name](**options)


def takes(name: str) -> str:
    """What the encoder called ``name`` takes of a batch: such as "image" or "tokens"."""
    builder = ENCODERS[name]
    return _TAKES.get(getattr(builder, "func", builder), "image")


def options_of(name: str) -> dict[str, Any]:
    """The options of one encoder with their defaults, `REQUIRED` where there is none."""
    if name not in ENCODERS:
        raise ValueError(
            f"unknown encoder {name!r}{_nearest(name, ENCODERS)}; choose from {', '.join(ENCODERS)}"
        )
    builder = ENCODERS[name]
    module, preset = builder, {}
    if isinstance(builder, partial):
        module, preset = builder.func, builder.keywords
    defaults = {
        field.name: REQUIRED if field.default is dataclasses.MISSING else field.default
        for field in dataclasses.fields(module)
        if field.name not in ("parent", "name")
    }
    return defaults | preset


def describe() -> dict[str, dict[str, Any]]:
    """Every encoder's name with its options and defaults, dtypes by name, fit for JSON."""

    def plain(value: Any) -> Any:
        return jnp.dtype(value).name if callable(value) else value

    return {name: {o: plain(v) for o, v in options_of(name).items()} for name in ENCODERS}


def _nearest(word: str, known: Any) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f", did you mean {close[0]!r}?" if close else ""
