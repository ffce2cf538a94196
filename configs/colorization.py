"""Colorful image colorization (arXiv 1603.08511) on small images.

jssl pretrain --config colorization:data=folder:PHOTOS --workdir runs/colorization

Wants coloured images: those of the bundled set are grey, and teach it nothing.

CIFAR-10 by the protocol of README.md: kNN 36.2 %, linear 38.3 %.
"""

from jssl.cli.recipes import small_images


def get_config(data="bundled", encoder="resnet18", epochs=10, batch_size=256):
    config = small_images(data, encoder, epochs, batch_size)
    config.data.channels = 3
    # The paper tells a colour for every 4 x 4 of 224 x 224 pixels. The prior, of some hundred steps
    # in all, follows faster than its default.
    config.method = {"name": "colorization", "stride": 4, "width": 64, "momentum": 0.95}
    # To change the colours would change the answer.
    config.augment.update({"scale": (0.5, 1.0), "jitter_p": 0.0, "grayscale_p": 0.0})
    config.optimizer = {"name": "adamw", "lr": 2e-3, "weight_decay": 1e-3, "warmup_epochs": 1.0}
    return config
