"""MoCo v2 (arXiv 2003.04297) on small images.

jssl pretrain --config moco_v2 --workdir runs/moco_v2

Not measured yet.
"""

from jssl.cli.config import small_images


def get_config(data="bundled", encoder="resnet18", epochs=10, batch_size=256):
    config = small_images(data, encoder, epochs, batch_size)
    # In ten epochs the key encoder has to move faster, and 65,536 keys would span epochs.
    config.method = {"name": "moco_v2", "momentum": 0.98, "queue": 4096, "hidden": 512}
    return config
