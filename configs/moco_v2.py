"""MoCo v2 (arXiv 2003.04297) on small images.

jssl pretrain --config moco_v2 --workdir runs/moco_v2
jssl pretrain --config moco_v2:recipe=imagenet,data=folder:IMAGENET --workdir runs/imagenet

CIFAR-10 by the protocol of README.md: kNN 41.2 %, linear 43.4 %.
"""

from jssl.cli.recipes import imagenet, moco_views, small_images


def get_config(data="bundled", encoder="resnet18", epochs=10, batch_size=256, recipe="small"):
    if recipe == "imagenet":
        return paper(data)
    config = small_images(data, encoder, epochs, batch_size, recipe)
    # In ten epochs the key encoder has to move faster, and 65,536 keys would span epochs.
    config.method = {"name": "moco_v2", "momentum": 0.98, "queue": 4096, "hidden": 512}
    return config


def paper(data):
    """The released commands. Not run here."""
    config = imagenet(data, "resnet50", 200, 256)
    config.method = {"name": "moco_v2"}
    moco_views(config)
    config.optimizer = {"name": "sgd", "lr": 0.03, "weight_decay": 1e-4, "warmup_epochs": 0.0}
    return config
