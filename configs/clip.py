"""CLIP (arXiv 2103.00020), images told by their captions, small, on pairs.

jssl pretrain --config clip:data=pairs:FOLDER --workdir runs/clip

Emoji with English captions, see "Images with words" in README.md: recall@1, 5, 10 of 7.5, 22.3 and
28.2 % by images, 9.2, 20.1 and 27.4 % by captions (chance 0.3, 1.4, 2.8 %), in 177 s.
"""

from jssl.cli.recipes import small_images


def get_config(data="pairs:FOLDER", encoder="resnet18", epochs=30, batch_size=128):
    config = small_images(data, encoder, epochs, batch_size)
    config.data.vocabulary, config.data.length = 1024, 32
    config.text_encoder = {"name": "text", "dim": 128, "depth": 2, "heads": 4}
    config.text_encoder.update({"causal": True, "pool": "last"})
    config.method = {"name": "clip", "out": 128}
    # Captions tell left from right and name colours: crops alone, as in the paper.
    config.augment.update({"scale": (0.5, 1.0), "flip": 0.0, "jitter_p": 0.0, "grayscale_p": 0.0})
    config.optimizer = {"name": "adamw", "lr": 1e-3, "b2": 0.98, "weight_decay": 0.2, "clip": 1.0}
    config.optimizer.warmup_epochs = 2.0
    return config
