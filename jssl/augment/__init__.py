"""Augmentations and masks: pure, batched, jitted, on the device; `f(key, x, ...)`."""

from jssl.augment import color, compose, image, masks, patches

__all__ = ["color", "compose", "image", "masks", "patches"]
