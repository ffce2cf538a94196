"""SwAV (arXiv 2006.09882) on small images.

jssl pretrain --config swav --workdir runs/swav

Not measured yet.
"""

from jssl.cli.config import small_images


def get_config(data="bundled", encoder="resnet18", epochs=10, batch_size=256):
    config = small_images(data, encoder, epochs, batch_size)
    # Fewer prototypes than examples in a batch, so that no queue is needed.
    config.method = {
        "name": "swav",
        "prototypes": 128,
        "hidden": 512,
        "freeze_prototypes_niters": 50,
    }
    # Multi-crop: large crops show more of the image than elsewhere, small ones less.
    config.augment.scale = (0.25, 1.0)
    config.augment_local = {"count": 4, "size": 16, "scale": (0.08, 0.3)}
    return config
