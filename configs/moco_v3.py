"""MoCo v3 (arXiv 2104.02057) on small images.

jssl pretrain --config moco_v3 --workdir runs/moco_v3
jssl pretrain --config moco_v3:encoder=vit --workdir runs/moco_v3_vit

Not measured yet.
"""

from jssl.cli.config import small_images


def get_config(data="bundled", encoder="resnet18", epochs=10, batch_size=256):
    config = small_images(data, encoder, epochs, batch_size)
    # In ten epochs the momentum encoder has to move faster than in a hundred or more.
    config.method = {
        "name": "moco_v3",
        "temperature": 0.2 if encoder == "vit" else 0.5,
        "momentum": 0.97,
        "hidden": 512,
        "out": 128,
    }
    # The paper's views are BYOL's: the second is solarized at times.
    config.augment.saturation = 0.2
    config.augment2 = {"solarize_p": 0.2}
    return config
