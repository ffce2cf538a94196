"""What the shipped configs start from."""

import ml_collections
from ml_collections import config_dict


def defaults() -> ml_collections.ConfigDict:
    """The keys that every config has, with the meaning they have in all of them."""
    return ml_collections.ConfigDict(
        {
            "seed": 0,
            "precision": "float32",
            "init_from": config_dict.placeholder(str),
            "init_what": "encoder",
            "freeze": "none",
            "unfreeze_epochs": config_dict.placeholder(float),
            "data": {
                "source": "bundled",
                "eval_source": config_dict.placeholder(str),
                "limit": config_dict.placeholder(int),
                "size": config_dict.placeholder(int),
                "channels": config_dict.placeholder(int),
                "tokenizer": config_dict.placeholder(str),
                "vocabulary": 8192,
                "length": 128,
                "pack": True,
                "rate": 16000,
                "seconds": 1.0,
                "bands": 64,
                "pattern": config_dict.placeholder(str),
                "held": config_dict.placeholder(str),
                "stride": config_dict.placeholder(int),
                "training": 0.8,
                "missing": False,
                "workers": 0,
                "max_bad": 0.01,
                "labels": config_dict.placeholder(float),
                "unlabeled": 0,
            },
            "encoder": {"name": "resnet18"},
            "method": {"name": "simclr"},
            "augment": {},
            "augment2": {},
            "augment_local": {},
            "optimizer": {
                "name": "sgd",
                "lr": 0.1,
                "warmup_epochs": 1.0,
                "final_lr": 0.0,
                "final_weight_decay": config_dict.placeholder(float),
                "constant": (),
                "layer_decay": config_dict.placeholder(float),
                "clip": config_dict.placeholder(float),
                "clip_each": config_dict.placeholder(float),
            },
            "train": {
                "epochs": 10,
                "steps": config_dict.placeholder(int),
                "batch_size": 256,
                "accumulate": 1,
                "log_every": 20,
                "trace": "",
            },
            "checkpoint": {"every_steps": config_dict.placeholder(int), "keep": 3},
            "eval": {"every_epochs": 5, "limit": config_dict.placeholder(int), "k": 20},
            "mesh": {"fsdp": 1},
        }
    )


def small_images(
    data: str, encoder: str, epochs: int, batch_size: int, recipe: str = "small"
) -> ml_collections.ConfigDict:
    """What the shipped recipes for images of about 32 pixels start from.

    A ResNet of 16 channels with a 2x2 stem, or a ViT of like cost; SimCLR's views with half the
    colour distortion and no blur, as in its appendix B.9, and larger crops than there; SGD, or
    AdamW for a ViT.
    """
    if recipe != "small":
        raise ValueError(f"recipe must be one that this config has, got {recipe!r}")
    config = defaults()
    config.data.source = data
    config.train.epochs, config.train.batch_size = epochs, batch_size
    config.encoder = {"name": encoder}
    config.augment = {
        "scale": (0.2, 1.0),
        "brightness": 0.4,
        "contrast": 0.4,
        "saturation": 0.4,
        "hue": 0.1,
        "blur_p": 0.0,
    }
    config.optimizer = {"name": "sgd", "lr": 0.3, "weight_decay": 1e-4, "nesterov": True}
    if encoder.startswith("resnet"):
        config.encoder.update({"width": 16, "stem": "2x2"})
    else:
        config.optimizer = {"name": "adamw", "lr": 1e-3, "weight_decay": 0.05}
    if encoder == "vit":
        config.encoder.update({"dim": 96, "depth": 4, "heads": 4, "patch": 4, "pool": "mean"})
    config.optimizer.warmup_epochs = 1.0
    return config


def few_labels(
    data: str, encoder: str, epochs: int, batch_size: int, recipe: str = "small"
) -> ml_collections.ConfigDict:
    """What learning from few labels starts from: 250 of them and 7 other images beside each.

    Flips and shifts by an eighth, SGD with Nesterov momentum whose rate of 0.03 falls along a
    cosine to a fifth: those of FixMatch (arXiv 2001.07685, section 4 and table 4).
    """
    config = small_images(data, encoder, epochs, batch_size, recipe)
    config.data.labels, config.data.unlabeled = 250.0, 7
    config.augment = {"padding": 4, "jitter_p": 0.0, "grayscale_p": 0.0, "blur_p": 0.0}
    if encoder != "vit":
        config.optimizer.update({"lr": 0.03, "weight_decay": 5e-4, "final_lr": 0.03 * 0.195})
    config.optimizer.warmup_epochs = 0.0
    return config


def imagenet(data: str, encoder: str, epochs: int, batch_size: int) -> ml_collections.ConfigDict:
    """What the papers' ImageNet recipes start from: 224 pixels, the views of SimCLR."""
    config = defaults()
    config.data.source, config.data.size = data, 224
    config.train.epochs, config.train.batch_size = epochs, batch_size
    config.encoder = {"name": encoder}
    return config


def byol_views(config: ml_collections.ConfigDict) -> None:
    """The two distributions of views of BYOL's table 6, which other methods took over."""
    config.augment.update({"brightness": 0.4, "contrast": 0.4, "saturation": 0.2, "hue": 0.1})
    config.augment.blur_p = 1.0
    config.augment2 = {"blur_p": 0.1, "solarize_p": 0.2}


def moco_views(config: ml_collections.ConfigDict) -> None:
    """The views of MoCo v2, which SimSiam took over: larger crops, half of SimCLR's colours."""
    config.augment.update({"scale": (0.2, 1.0), "brightness": 0.4, "contrast": 0.4})
    config.augment.update({"saturation": 0.4, "hue": 0.1})


# What the builders of a section may be told; read from their signatures once they are needed.
