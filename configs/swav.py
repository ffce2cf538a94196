"""SwAV (arXiv 2006.09882) on small images.

jssl pretrain --config swav --workdir runs/swav
jssl pretrain --config swav:recipe=imagenet,data=folder:IMAGENET --workdir runs/imagenet

CIFAR-10 by the protocol of README.md: kNN 35.8 %, linear 40.6 %.
"""

from jssl.cli.recipes import imagenet, small_images


def get_config(data="bundled", encoder="resnet18", epochs=10, batch_size=256, recipe="small"):
    if recipe == "imagenet":
        return paper(data)
    config = small_images(data, encoder, epochs, batch_size, recipe)
    # Fewer prototypes than examples in a batch, so that no queue is needed.
    config.method = {
        "name": "swav",
        "prototypes": 128,
        "hidden": 512,
        "freeze_prototypes_niters": 50,
    }
    # Multi-crop is one key away: augment_local.count. In ten epochs of images of 32 pixels the
    # large crops alone teach more.
    config.augment_local = {"count": 0, "size": 16, "scale": (0.08, 0.3)}
    return config


def paper(data):
    """The released commands. Not run here."""
    config = imagenet(data, "resnet50", 400, 4096)
    config.method = {"name": "swav"}
    config.augment.scale = (0.14, 1.0)
    config.augment_local = {"count": 6, "size": 96, "scale": (0.05, 0.14)}
    config.optimizer = {"name": "lars", "lr": 4.8, "final_lr": 0.0048, "weight_decay": 1e-6}
    config.optimizer.warmup_epochs = 10.0
    return config
