"""DINO (arXiv 2104.14294) on small images.

jssl pretrain --config dino --workdir runs/dino
jssl pretrain --config dino:encoder=vit --workdir runs/dino_vit
jssl pretrain --config dino:recipe=imagenet,data=folder:IMAGENET --workdir runs/imagenet

CIFAR-10 by the protocol of README.md: kNN 32.1 %, linear 35.5 %.
"""

from jssl.cli.recipes import byol_views, imagenet, small_images


def get_config(data="bundled", encoder="resnet18", epochs=10, batch_size=256, recipe="small"):
    if recipe == "imagenet":
        return paper(data)
    config = small_images(data, encoder, epochs, batch_size, recipe)
    # For ten epochs: a faster teacher, fewer prototypes, a sharp teacher all along, since 0.07 is
    # for those who warm up for thirty.
    config.method = {
        "name": "dino",
        "momentum": 0.95,
        "teacher_temperature": 0.04,
        "warmup_teacher_epochs": 0,
        "k": 1024,
        "hidden": 512,
        "bottleneck": 128,
        # The authors' option; a convolutional network has batch norms anyway.
        "norm": "batch" if encoder.startswith("resnet") else None,
    }
    config.augment.update({"scale": (0.4, 1.0), "saturation": 0.2})
    config.augment2 = {"solarize_p": 0.2}
    config.augment_local = {"count": 2, "size": 16, "scale": (0.05, 0.4)}
    # As the authors for ViTs. A ResNet keeps SGD, which they use too and which beats AdamW in 100
    # steps.
    if not encoder.startswith("resnet"):
        config.optimizer = {
            "name": "adamw",
            "lr": 1e-3,
            "final_lr": 1e-6,
            "weight_decay": 0.04,
            "final_weight_decay": 0.4,
            "clip_each": 3.0,
            "warmup_epochs": 1.0,
        }
    return config


def paper(data):
    """Appendix C and the released commands; ViT-S/16. Not run here."""
    config = imagenet(data, "vit_s16", 300, 1024)
    config.method = {"name": "dino", "norm_last_layer": False}
    config.augment.scale = (0.25, 1.0)
    byol_views(config)
    config.augment_local = {"count": 8, "size": 96, "scale": (0.05, 0.25), "blur_p": 0.5}
    # 5e-4 for a batch of 256, in proportion for larger ones.
    config.optimizer = {"name": "adamw", "lr": 2e-3, "final_lr": 1e-6, "warmup_epochs": 10.0}
    config.optimizer.update({"weight_decay": 0.04, "final_weight_decay": 0.4, "clip_each": 3.0})
    return config
