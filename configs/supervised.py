"""Supervised training from scratch: what labels alone give, for comparison.

jssl pretrain --config supervised --workdir runs/supervised

Not measured yet.
"""

from jssl.cli.config import small_images


def get_config(data="bundled", encoder="resnet18", epochs=10, batch_size=256):
    config = small_images(data, encoder, epochs, batch_size)
    config.method = {"name": "supervised"}
    config.augment.update({"scale": (0.5, 1.0), "jitter_p": 0.0, "grayscale_p": 0.0})
    return config
