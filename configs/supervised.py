"""Supervised training: from scratch, for comparison, or on from a pretrained encoder.

jssl pretrain --config supervised --workdir runs/supervised
jssl pretrain --config supervised:recipe=fine_tune --config.init_from=runs/simclr --workdir runs/t

The recipe ``fine_tune`` is AdamW on crops and flips with a learning rate that falls from layer to
layer, as in BEiT (arXiv 2106.08254, appendix).

CIFAR-10 by the protocol of README.md: kNN 63.9 %, linear 65.6 %.
"""

from jssl.cli.recipes import small_images


def get_config(data="bundled", encoder="resnet18", epochs=10, batch_size=256, recipe="small"):
    tuning = recipe == "fine_tune"
    small = "small" if tuning else recipe
    config = small_images(data, encoder, epochs, batch_size, small)
    config.method = {"name": "supervised"}
    config.augment.update({"scale": (0.5, 1.0), "jitter_p": 0.0, "grayscale_p": 0.0})
    if tuning:
        config.optimizer = {"name": "adamw", "lr": 1e-3, "weight_decay": 0.05, "layer_decay": 0.75}
        config.method.update({"label_smoothing": 0.1})
    return config
