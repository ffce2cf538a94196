"""SimSiam (arXiv 2011.10566) on small images.

jssl pretrain --config simsiam --workdir runs/simsiam

Not measured yet.
"""

from jssl.cli.config import defaults


def get_config(data="bundled", encoder="resnet18", epochs=10, batch_size=256):
    config = defaults()
    config.data.source = data
    config.train.epochs = epochs
    config.train.batch_size = batch_size
    # Two layers in the projector are the paper's CIFAR-10 recipe (appendix D).
    config.method = {"name": "simsiam", "hidden": 512, "out": 512, "bottleneck": 128, "layers": 2}
    config.encoder = {"name": encoder}
    if encoder.startswith("resnet"):
        config.encoder.update({"width": 16, "stem": "2x2"})
    elif encoder == "vit":
        config.encoder.update({"dim": 128, "depth": 6, "heads": 4, "patch": 4})
    config.augment = {
        "scale": (0.2, 1.0),
        "brightness": 0.4,
        "contrast": 0.4,
        "saturation": 0.4,
        "hue": 0.1,
        "blur_p": 0.0,
    }
    config.optimizer = {
        "name": "sgd",
        "lr": 0.1,
        "weight_decay": 5e-4,
        # The predictor has to keep up with a moving target (section 4.2): its rate does not decay.
        "constant": ("predictor",),
        "warmup_epochs": 0.0,
    }
    return config
