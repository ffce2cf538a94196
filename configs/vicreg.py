"""VICReg (arXiv 2105.04906) on small images.

jssl pretrain --config vicreg --workdir runs/vicreg

Not measured yet.
"""

from jssl.cli.config import small_images


def get_config(data="bundled", encoder="resnet18", epochs=10, batch_size=256):
    config = small_images(data, encoder, epochs, batch_size)
    # The paper's expander is 8192 wide.
    config.method = {"name": "vicreg", "hidden": 512, "out": 512}
    # The two views of the paper are BYOL's: the second is solarized at times.
    config.augment.saturation = 0.2
    config.augment2 = {"solarize_p": 0.2}
    # The paper: LARS, 1000 epochs, a learning rate of 0.2 times batch / 256, decay 1e-6, 10 epochs
    # of warm-up.
    if config.optimizer.name == "sgd":
        config.optimizer.lr = 0.05
    return config
