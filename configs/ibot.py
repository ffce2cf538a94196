"""iBOT (arXiv 2111.07832) with a small ViT on small images.

jssl pretrain --config ibot --workdir runs/ibot
jssl pretrain --config ibot:recipe=imagenet,data=folder:IMAGENET --workdir runs/imagenet

CIFAR-10 by the protocol of README.md: kNN 37.7 %, linear 45.9 %.
"""

from jssl.cli.recipes import byol_views, imagenet, small_images


def get_config(data="bundled", encoder="vit", epochs=10, batch_size=256, recipe="small"):
    if recipe == "imagenet":
        return paper(data)
    config = small_images(data, encoder, epochs, batch_size, recipe)
    config.encoder.pool = "cls"
    # For ten epochs: fewer classes, a faster teacher that is sharp all along, no small crops, and a
    # high rate.
    config.method = {
        "name": "ibot",
        "momentum": 0.99,
        "teacher_temperature": 0.04,
        "patch_temperature": 0.04,
        "warmup_teacher_epochs": 0,
        "k": 512,
        "hidden": 256,
        "bottleneck": 128,
    }
    config.augment.update({"scale": (0.4, 1.0), "saturation": 0.2})
    config.augment2 = {"solarize_p": 0.2}
    config.optimizer = {
        "name": "adamw",
        "lr": 2e-3,
        "final_lr": 1e-6,
        "weight_decay": 0.04,
        "clip": 3.0,
        "warmup_epochs": 1.0,
    }
    return config


def paper(data):
    """Appendix B and the released command; ViT-S/16 with multi-crop. Not run here."""
    config = imagenet(data, "vit_s16", 800, 1024)
    config.encoder.drop_path = 0.1
    config.method = {"name": "ibot", "norm_last_layer": False}
    config.augment.scale = (0.25, 1.0)
    byol_views(config)
    config.augment_local = {"count": 10, "size": 96, "scale": (0.05, 0.25), "blur_p": 0.5}
    # 5e-4 for a batch of 256, in proportion for larger ones.
    config.optimizer = {"name": "adamw", "lr": 2e-3, "final_lr": 1e-6, "warmup_epochs": 10.0}
    config.optimizer.update({"weight_decay": 0.04, "final_weight_decay": 0.4, "clip": 3.0})
    return config
