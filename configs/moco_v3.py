"""MoCo v3 (arXiv 2104.02057) on small images.

jssl pretrain --config moco_v3 --workdir runs/moco_v3
jssl pretrain --config moco_v3:encoder=vit --workdir runs/moco_v3_vit
jssl pretrain --config moco_v3:recipe=imagenet,data=folder:IMAGENET --workdir runs/imagenet

CIFAR-10 by the protocol of README.md: kNN 41.5 %, linear 44.8 %.
"""

from jssl.cli.recipes import byol_views, imagenet, small_images


def get_config(data="bundled", encoder="resnet18", epochs=10, batch_size=256, recipe="small"):
    if recipe == "imagenet":
        return paper(data)
    config = small_images(data, encoder, epochs, batch_size, recipe)
    # In ten epochs the momentum encoder has to move faster than in a hundred or more.
    config.method = {
        "name": "moco_v3",
        "temperature": 0.2 if encoder == "vit" else 0.5,
        "momentum": 0.97,
        "hidden": 512,
        "out": 128,
    }
    # The paper's views are BYOL's: the second is solarized at times.
    config.augment.saturation = 0.2
    config.augment2 = {"solarize_p": 0.2}
    return config


def paper(data):
    """The released commands; ViT-S/16. Not run here."""
    config = imagenet(data, "vit_s16", 300, 4096)
    config.method = {"name": "moco_v3", "temperature": 0.2, "momentum": 0.99}
    byol_views(config)
    # 1.5e-4 for a batch of 256, in proportion for larger ones.
    config.optimizer = {"name": "adamw", "lr": 2.4e-3, "weight_decay": 0.1, "warmup_epochs": 40.0}
    return config
