"""SigLIP (arXiv 2303.15343), images told by their captions, small, on pairs.

jssl pretrain --config siglip:data=pairs:FOLDER --workdir runs/siglip

Not measured yet.
"""

from jssl.cli.recipes import small_images


def get_config(data="pairs:FOLDER", encoder="resnet18", epochs=30, batch_size=128):
    config = small_images(data, encoder, epochs, batch_size)
    config.data.vocabulary, config.data.length = 1024, 32
    config.text_encoder = {"name": "text", "dim": 128, "depth": 2, "heads": 4, "pool": "last"}
    # About the prior, -log(batch - 1), as the paper's -10 is for its batches of 32 thousand.
    config.method = {"name": "siglip", "out": 128, "bias": -5.0}
    # Captions tell left from right and name colours: crops alone, as in the paper.
    config.augment.update({"scale": (0.5, 1.0), "flip": 0.0, "jitter_p": 0.0, "grayscale_p": 0.0})
    config.optimizer = {"name": "adamw", "lr": 1e-3, "b2": 0.98, "weight_decay": 0.2, "clip": 1.0}
    config.optimizer.warmup_epochs = 2.0
    return config
