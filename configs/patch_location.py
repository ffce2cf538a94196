"""Relative patch location (arXiv 1505.05192) on small images.

jssl pretrain --config patch_location --workdir runs/patch_location

CIFAR-10 by the protocol of README.md: kNN 25.8 %, linear 28.3 %.
"""

from jssl.cli.recipes import small_images


def get_config(data="bundled", encoder="resnet18", epochs=10, batch_size=256):
    config = small_images(data, encoder, epochs, batch_size)
    # Two patches, half a gap and the jitter fill an image of 28 pixels.
    config.method = {
        "name": "patch_location",
        "patch": 10,
        "gap": 4,
        "jitter": 2,
        "pairs": 4,
        "hidden": 256,
    }
    # The paper crops by patches alone, and leaves the colours to what it does to each patch.
    config.augment.update({"scale": (0.6, 1.0), "flip": 0.0, "jitter_p": 0.0, "grayscale_p": 0.0})
    if config.optimizer.name == "sgd":
        config.optimizer.update({"lr": 0.1, "weight_decay": 5e-4})
    return config
