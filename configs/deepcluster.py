"""DeepCluster (arXiv 1807.05520) on small images.

jssl pretrain --config deepcluster --workdir runs/deepcluster

Not measured yet.
"""

from jssl.cli.config import defaults


def get_config(data="bundled", encoder="resnet18", epochs=10, batch_size=256):
    config = defaults()
    config.data.source = data
    config.train.epochs = epochs
    config.train.batch_size = batch_size
    # Ten times the classes of a small set, as the paper has it for ImageNet.
    config.method = {"name": "deepcluster", "clusters": 100, "pca": 64}
    config.encoder = {"name": encoder}
    if encoder.startswith("resnet"):
        config.encoder.update({"width": 16, "stem": "2x2"})
    elif encoder == "vit":
        config.encoder.update({"dim": 128, "depth": 6, "heads": 4, "patch": 4, "pool": "mean"})
    # The paper crops and flips. In so short a run it learns no invariance to colour by itself.
    config.augment = {
        "scale": (0.2, 1.0),
        "brightness": 0.4,
        "contrast": 0.4,
        "saturation": 0.4,
        "hue": 0.1,
        "blur_p": 0.0,
    }
    # The first epoch only fills the memory, so it may as well be the one that warms up.
    config.optimizer = {
        "name": "sgd",
        "lr": 0.3,
        "weight_decay": 1e-4,
        "warmup_epochs": 1.0,
    }
    return config
