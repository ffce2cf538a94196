"""SimCLR (arXiv 2002.05709) on small images.

jssl pretrain --config simclr --workdir runs/simclr
jssl pretrain --config simclr:data=arrays:cifar10_jpeg.npz,epochs=10 --workdir runs/cifar
jssl pretrain --config simclr:recipe=imagenet,data=folder:IMAGENET --workdir runs/imagenet

CIFAR-10 by the protocol of README.md: kNN 49.2 ± 0.6 %, linear 50.8 ± 0.7 %.
"""

from jssl.cli.recipes import imagenet, small_images


def get_config(data="bundled", encoder="resnet18", epochs=10, batch_size=256, recipe="small"):
    if recipe == "imagenet":
        return paper(data)
    config = small_images(data, encoder, epochs, batch_size, recipe)
    config.method = {"name": "simclr", "temperature": 0.2, "hidden": 512, "out": 128}
    return config


def paper(data):
    """Appendix B.6 and section 2.2. Not run here."""
    config = imagenet(data, "resnet50", 100, 4096)
    config.method = {"name": "simclr", "temperature": 0.1, "hidden": 2048, "out": 128}
    # 0.3 for a batch of 256, in proportion for larger ones.
    config.optimizer = {"name": "lars", "lr": 4.8, "weight_decay": 1e-6, "warmup_epochs": 10.0}
    return config
