"""BYOL (arXiv 2006.07733) on small images.

jssl pretrain --config byol --workdir runs/byol
jssl pretrain --config byol:recipe=imagenet,data=folder:IMAGENET --workdir runs/imagenet

CIFAR-10 by the protocol of README.md: kNN 39.5 ± 1.3 %, linear 43.1 ± 1.1 %.
"""

from jssl.cli.recipes import byol_views, imagenet, small_images


def get_config(data="bundled", encoder="resnet18", epochs=10, batch_size=256, recipe="small"):
    if recipe == "imagenet":
        return paper(data)
    config = small_images(data, encoder, epochs, batch_size, recipe)
    # The paper's teacher (0.996) has a thousand epochs; in ten it has to move faster.
    config.method = {"name": "byol", "tau": 0.9, "hidden": 1024, "out": 128}
    if config.optimizer.name == "sgd":
        config.optimizer.lr = 0.6
    # Less saturation than SimCLR's, and a second view that is solarized at times (table 6).
    config.augment.saturation = 0.2
    config.augment2 = {"solarize_p": 0.2}
    return config


def paper(data):
    """Section 3.3, appendix B and the released presets. Not run here."""
    config = imagenet(data, "resnet50", 300, 4096)
    config.method = {"name": "byol", "tau": 0.99, "hidden": 4096, "out": 256}
    byol_views(config)
    # 0.3 for a batch of 256, in proportion for larger ones.
    config.optimizer = {"name": "lars", "lr": 4.8, "weight_decay": 1e-6, "warmup_epochs": 10.0}
    return config
