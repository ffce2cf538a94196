"""Barlow Twins (arXiv 2103.03230) on small images.

jssl pretrain --config barlow_twins --workdir runs/barlow_twins
jssl pretrain --config barlow_twins:recipe=imagenet,data=folder:IMAGENET --workdir runs/imagenet

CIFAR-10 by the protocol of README.md: kNN 42.3 %, linear 46.2 %.
"""

from jssl.cli.recipes import byol_views, imagenet, small_images


def get_config(data="bundled", encoder="resnet18", epochs=10, batch_size=256, recipe="small"):
    if recipe == "imagenet":
        return paper(data)
    config = small_images(data, encoder, epochs, batch_size, recipe)
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


def paper(data):
    """Section 2.2. Not run here."""
    config = imagenet(data, "resnet50", 1000, 2048)
    config.method = {"name": "barlow_twins"}
    byol_views(config)
    # 0.2 for a batch of 256, in proportion for larger ones; the paper has 0.0048 for biases and
    # norms.
    config.optimizer = {"name": "lars", "lr": 1.6, "weight_decay": 1.5e-6, "warmup_epochs": 10.0}
    return config
