"""SimCLR (arXiv 2002.05709) on small images, or by the paper's ImageNet recipe.

jssl pretrain --config simclr --workdir runs/simclr
jssl pretrain --config simclr:data=arrays:cifar10_jpeg.npz,epochs=10 --workdir runs/cifar
jssl pretrain --config simclr:recipe=imagenet,data=folder:IMAGENET --workdir runs/imagenet

CIFAR-10 by the protocol of README.md: kNN 49.0 %, linear 50.0 %.
"""

from jssl.cli.config import defaults, small_images


def get_config(data="bundled", encoder="resnet18", epochs=10, batch_size=256, recipe="small"):
    if recipe == "imagenet":
        return imagenet(data)
    config = small_images(data, encoder, epochs, batch_size)
    config.method = {"name": "simclr", "temperature": 0.2, "hidden": 512, "out": 128}
    return config


def imagenet(data):
    """ResNet-50, 100 epochs: appendix B.6 and section 2.2, not run here."""
    config = defaults()
    config.data.source, config.data.size = data, 224
    config.train.epochs, config.train.batch_size = 100, 4096
    config.method = {"name": "simclr", "temperature": 0.1, "hidden": 2048, "out": 128}
    config.encoder = {"name": "resnet50"}
    # The paper's learning rate is 0.3 for a batch of 256, in proportion for larger ones.
    config.optimizer = {"name": "lars", "lr": 4.8, "weight_decay": 1e-6, "warmup_epochs": 10.0}
    return config
