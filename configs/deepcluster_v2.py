"""DeepCluster-v2 (arXiv 2006.09882) on small images.

jssl pretrain --config deepcluster_v2 --workdir runs/deepcluster_v2

Not measured yet.
"""

from jssl.cli.config import small_images


def get_config(data="bundled", encoder="resnet18", epochs=10, batch_size=256):
    config = small_images(data, encoder, epochs, batch_size)
    config.method = {"name": "deepcluster_v2", "prototypes": (200, 200, 200), "hidden": 512}
    # Multi-crop, as in SwAV.
    config.augment.scale = (0.25, 1.0)
    config.augment_local = {"count": 4, "size": 16, "scale": (0.08, 0.3)}
    # The first epoch only fills the memory: what warms up is the second.
    config.optimizer.warmup_epochs = 2.0
    return config
