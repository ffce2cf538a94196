"""DeepCluster-v2 (arXiv 2006.09882) on small images.

jssl pretrain --config deepcluster_v2 --workdir runs/deepcluster_v2
jssl pretrain --config deepcluster_v2:recipe=imagenet,data=folder:IMAGENET --workdir runs/imagenet

CIFAR-10 by the protocol of README.md: kNN 37.4 %, linear 42.8 %.
"""

from jssl.cli.recipes import imagenet, small_images


def get_config(data="bundled", encoder="resnet18", epochs=10, batch_size=256, recipe="small"):
    if recipe == "imagenet":
        return paper(data)
    config = small_images(data, encoder, epochs, batch_size, recipe)
    config.method = {"name": "deepcluster_v2", "prototypes": (50, 50, 50), "hidden": 512}
    # Small crops as in SwAV, and as few.
    config.augment_local = {"count": 0, "size": 16, "scale": (0.08, 0.3)}
    # The first epoch only fills the memory: what warms up is the second.
    config.optimizer.warmup_epochs = 2.0
    return config


def paper(data):
    """The released commands. Not run here."""
    config = imagenet(data, "resnet50", 400, 4096)
    config.method = {"name": "deepcluster_v2"}
    config.augment.scale = (0.14, 1.0)
    config.augment_local = {"count": 6, "size": 96, "scale": (0.05, 0.14)}
    config.optimizer = {"name": "lars", "lr": 4.8, "final_lr": 0.0048, "weight_decay": 1e-6}
    config.optimizer.warmup_epochs = 10.0
    return config
