"""I-JEPA (arXiv 2301.08243) with a small ViT on small images.

jssl pretrain --config ijepa --workdir runs/ijepa
jssl pretrain --config ijepa:recipe=imagenet,data=folder:IMAGENET --workdir runs/imagenet

CIFAR-10 by the protocol of README.md: kNN 36.4 %, linear 43.9 %.
"""

from jssl.cli.recipes import imagenet, small_images


def get_config(data="bundled", encoder="vit", epochs=10, batch_size=256, recipe="small"):
    if recipe == "imagenet":
        return paper(data)
    config = small_images(data, encoder, epochs, batch_size, recipe)
    # At 0.996 the teacher of a short run stays near random weights.
    if encoder == "vit":
        config.encoder.cls_token = False
    config.method = {"name": "ijepa", "momentum": 0.98, "dim": 64, "depth": 3, "heads": 4}
    # A crop and nothing else, as in the paper.
    config.augment.update({"scale": (0.3, 1.0), "jitter_p": 0.0, "grayscale_p": 0.0, "flip": 0.0})
    config.optimizer = {"name": "adamw", "lr": 2e-3, "weight_decay": 0.04}
    config.optimizer.update({"final_weight_decay": 0.4, "warmup_epochs": 2.0})
    return config


def paper(data):
    """Appendix A.1 and the released configs; ViT-H/14. Not run here."""
    config = imagenet(data, "vit_h14", 300, 2048)
    config.encoder.update({"cls_token": False, "pool": "mean"})
    config.method = {"name": "ijepa", "dim": 384, "depth": 12, "heads": 16}
    config.augment = {"scale": (0.3, 1.0), "jitter_p": 0.0, "grayscale_p": 0.0, "blur_p": 0.0}
    config.augment.flip = 0.0
    config.optimizer = {"name": "adamw", "lr": 1e-3, "weight_decay": 0.04}
    config.optimizer.update({"final_weight_decay": 0.4, "final_lr": 1e-6, "warmup_epochs": 40.0})
    return config
