"""DCL (arXiv 2110.06848) on small images; with ``--config.method.weighted=True`` DCLW.

jssl pretrain --config dcl --workdir runs/dcl

Not measured yet.
"""

from jssl.cli.config import defaults


def get_config(data="bundled", encoder="resnet18", epochs=10, batch_size=256):
    config = defaults()
    config.data.source = data
    config.train.epochs = epochs
    config.train.batch_size = batch_size
    config.method = {"name": "dcl", "temperature": 0.2, "hidden": 512, "out": 128}
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
