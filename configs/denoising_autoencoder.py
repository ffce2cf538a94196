"""A denoising autoencoder (Vincent et al. 2008, 2010) on small images.

jssl pretrain --config denoising_autoencoder --workdir runs/denoising_autoencoder

CIFAR-10 by the protocol of README.md: kNN 40.6 %, linear 40.2 %.
"""

from jssl.cli.recipes import small_images


def get_config(data="bundled", encoder="resnet18", epochs=10, batch_size=256):
    config = small_images(data, encoder, epochs, batch_size)
    config.method = {"name": "denoising_autoencoder", "code": 128, "width": 16}
    config.method.update({"noise": "masking", "level": 0.25})
    config.augment.update({"scale": (0.5, 1.0), "jitter_p": 0.0, "grayscale_p": 0.0})
    config.optimizer = {"name": "adamw", "lr": 2e-3, "weight_decay": 0.05, "warmup_epochs": 1.0}
    return config
