"""DCL (arXiv 2110.06848) on small images; with ``--config.method.weighted=True`` DCLW.

jssl pretrain --config dcl --workdir runs/dcl

CIFAR-10 by the protocol of README.md: kNN 49.0 %, linear 51.1 %.
"""

from jssl.cli.recipes import small_images


def get_config(data="bundled", encoder="resnet18", epochs=10, batch_size=256):
    config = small_images(data, encoder, epochs, batch_size)
    config.method = {"name": "dcl", "temperature": 0.2, "hidden": 512, "out": 128}
    return config
