"""DeepCluster-v2 (arXiv 2006.09882) on small images.

jssl pretrain --config deepcluster_v2 --workdir runs/deepcluster_v2

Not measured yet.
"""

from jssl.cli.config import defaults


def get_config(data="bundled", encoder="resnet18", epochs=10, batch_size=256):
    config = defaults()
    config.data.source = data
    config.train.epochs = epochs
    config.train.batch_size = batch_size
    config.method = {
        "name": "deepcluster_v2",
        "prototypes": (200, 200, 200),
        "hidden": 512,
        "out": 128,
    }
    config.encoder = {"name": encoder}
    if encoder.startswith("resnet"):
        config.encoder.update({"width": 16, "stem": "2x2"})
    elif encoder == "vit":
        config.encoder.update({"dim": 128, "depth": 6, "heads": 4, "patch": 4, "pool": "mean"})
    # Multi-crop, as in SwAV.
    config.augment = {
        "scale": (0.25, 1.0),
        "brightness": 0.4,
        "contrast": 0.4,
        "saturation": 0.4,
        "hue": 0.1,
        "blur_p": 0.0,
    }
    config.augment_local = {"count": 4, "size": 16, "scale": (0.08, 0.3)}
    # The first epoch only fills the memory, so it may as well be the one that warms up.
    config.optimizer = {
        "name": "sgd",
        "lr": 0.3,
        "weight_decay": 1e-4,
        "nesterov": True,
        "warmup_epochs": 1.0,
    }
    return config
