"""Augmentations and masks: pure, batched, jitted, on the device; `f(key, x, ...)`."""

from jssl.augment import (
    audio,
    blocks,
    color,
    compose,
    image,
    lab,
    masks,
    mix,
    noise,
    patches,
    rand_augment,
    tokens,
)

__all__ = [
    "audio",
    "blocks",
    "color",
    "compose",
    "image",
    "lab",
    "masks",
    "mix",
    "noise",
    "patches",
    "rand_augment",
    "tokens",
]
