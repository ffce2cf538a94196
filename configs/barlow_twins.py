"""Barlow Twins (arXiv 2103.03230) on small images.

jssl pretrain --config barlow_twins --workdir runs/barlow_twins

Not measured yet.
"""

from jssl.cli.config import small_images


def get_config(data="bundled", encoder="resnet18", epochs=10, batch_size=256):
    config = small_images(data, encoder, epochs, batch_size)
    # The paper's projector is 8192 wide. Its loss is a sum over out * out entries, too large for
    # the learning rates of other methods.
    config.method = {"name": "barlow_twins", "scale": 0.1, "hidden": 512, "out": 512}
    # The two views of the paper are BYOL's: the second is solarized at times.
    config.augment.saturation = 0.2
    config.augment2 = {"solarize_p": 0.2}
    # The paper: LARS, 1000 epochs, a learning rate of 0.2 (0.0048 for biases and norms) times
    # batch / 256, decay 1.5e-6, 10 epochs of warm-up.
    if config.optimizer.name == "sgd":
        config.optimizer.lr = 0.1
    return config
