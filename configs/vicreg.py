"""VICReg (arXiv 2105.04906) on small images.

jssl pretrain --config vicreg --workdir runs/vicreg

Not measured yet.
"""

from jssl.cli.config import defaults


def get_config(data="bundled", encoder="resnet18", epochs=10, batch_size=256):
    config = defaults()
    config.data.source = data
    config.train.epochs = epochs
    config.train.batch_size = batch_size
    # The paper's expander is 8192 wide.
    config.method = {"name": "vicreg", "hidden": 512, "out": 512}
    config.encoder = {"name": encoder}
    if encoder.startswith("resnet"):
        config.encoder.update({"width": 16, "stem": "2x2"})
    config.augment = {
        "scale": (0.2, 1.0),
        "brightness": 0.4,
        "contrast": 0.4,
        "saturation": 0.2,
        "hue": 0.1,
        "blur_p": 0.0,
    }
    # The two views of the paper are BYOL's: the second is solarized at times.
    config.augment2 = {"solarize_p": 0.2}
    # The paper: LARS, 1000 epochs, a learning rate of 0.2 times batch / 256, decay 1e-6, 10 epochs
    # of warm-up.
    config.optimizer = {
        "name": "sgd",
        "lr": 0.1,
        "weight_decay": 1e-4,
        "nesterov": True,
        "warmup_epochs": 1.0,
    }
    return config
