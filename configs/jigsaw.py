"""Jigsaw puzzles (arXiv 1603.09246) on small images.

jssl pretrain --config jigsaw --workdir runs/jigsaw

CIFAR-10 by the protocol of README.md: kNN 26.1 %, linear 31.9 %.
"""

from jssl.cli.recipes import small_images


def get_config(data="bundled", encoder="resnet18", epochs=10, batch_size=256):
    config = small_images(data, encoder, epochs, batch_size)
    # Tiles of 8 in cells of 9 or 10 pixels, and as many orders as are 3 tiles or more apart.
    config.method = {
        "name": "jigsaw",
        "tile": 8,
        "permutations": 100,
        "puzzles": 2,
        "channel_shift": 1,
        "hidden": 512,
    }
    # Section 4.2: grey for three images of ten, and no other change of the colours.
    config.augment.update({"scale": (0.6, 1.0), "flip": 0.0, "jitter_p": 0.0, "grayscale_p": 0.3})
    if config.optimizer.name == "sgd":
        config.optimizer.update({"lr": 0.1, "weight_decay": 5e-4})
    return config
