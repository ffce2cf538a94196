"""MoCo v2 (arXiv 2003.04297) on small images.

jssl pretrain --config moco_v2 --workdir runs/moco_v2

Not measured yet.
"""

from jssl.cli.config import defaults


def get_config(data="bundled", encoder="resnet18", epochs=10, batch_size=256):
    config = defaults()
    config.data.source = data
    config.train.epochs = epochs
    config.train.batch_size = batch_size
    # In ten epochs the key encoder has to move faster, and 65,536 keys would span epochs.
    config.method = {
        "name": "moco_v2",
        "momentum": 0.98,
        "queue": 4096,
        "hidden": 512,
        "out": 128,
    }
    config.encoder = {"name": encoder}
    if encoder.startswith("resnet"):
        config.encoder.update({"width": 16, "stem": "2x2"})
    config.augment = {
        "scale": (0.2, 1.0),
        "brightness": 0.4,
        "contrast": 0.4,
        "saturation": 0.4,
        "hue": 0.1,
        "blur_p": 0.0,
    }
    config.optimizer = {
        "name": "sgd",
        "lr": 0.3,
        "weight_decay": 1e-4,
        "nesterov": True,
        "warmup_epochs": 1.0,
    }
    if encoder == "vit":
        config.encoder.update({"dim": 128, "depth": 6, "heads": 4, "patch": 4, "pool": "mean"})
        adamw = {"name": "adamw", "lr": 1e-3, "weight_decay": 0.05, "warmup_epochs": 1.0}
        config.optimizer = adamw
    return config
