"""LeJEPA (arXiv 2511.08544) on small images.

jssl pretrain --config lejepa --workdir runs/lejepa

Not measured yet.
"""

from jssl.cli.config import defaults


def get_config(data="bundled", encoder="resnet18", epochs=10, batch_size=256):
    config = defaults()
    config.data.source = data
    config.train.epochs = epochs
    config.train.batch_size = batch_size
    config.method = {"name": "lejepa", "weight": 0.05, "hidden": 512, "out": 64}
    config.encoder = {"name": encoder}
    # Decay of the weights as the authors advise it for each family.
    weight_decay = 5e-4
    if encoder.startswith("resnet"):
        config.encoder.update({"width": 16, "stem": "2x2"})
    elif encoder == "vit":
        config.encoder.update({"dim": 128, "depth": 6, "heads": 4, "patch": 4})
        weight_decay = 5e-2
    config.augment = {
        "scale": (0.3, 1.0),
        "brightness": 0.4,
        "contrast": 0.4,
        "saturation": 0.2,
        "hue": 0.1,
        "blur_p": 0.0,
        "solarize_p": 0.2,
    }
    config.augment_local = {"count": 4, "size": 16, "scale": (0.05, 0.3)}
    config.optimizer = {
        "name": "adamw",
        "lr": 2e-3,
        "final_lr": 2e-6,
        "weight_decay": weight_decay,
        "warmup_epochs": 1.0,
    }
    return config
