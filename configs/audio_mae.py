"""Audio-MAE (arXiv 2207.06405): MAE of log-mel spectrograms, with a small ViT, at 8 kHz.

jssl pretrain --config audio_mae:data=audio:RECORDINGS --workdir runs/audio_mae

80 % of the patches are hidden. The decoder attends to all patches, where the released one has local
windows. Spectrograms are standardised one by one, not by the data set.

Spoken digits: see README.md, "Sound".
"""

from jssl.cli.recipes import defaults


def get_config(data="audio:RECORDINGS", encoder="vit", epochs=30, batch_size=64):
    config = defaults()
    config.data.source, config.data.rate = data, 8000
    config.train.epochs, config.train.batch_size = epochs, batch_size
    config.encoder = {"name": encoder}
    if encoder == "vit":
        config.encoder.update({"dim": 96, "depth": 4, "heads": 4, "patch": 8, "pool": "mean"})
    config.method = {"name": "mae", "mask_ratio": 0.8, "dim": 64, "depth": 1, "heads": 4}
    config.optimizer = {"name": "adamw", "lr": 2e-3, "b2": 0.95, "weight_decay": 0.05}
    return config
