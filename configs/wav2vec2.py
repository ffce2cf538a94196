"""wav2vec 2.0 (arXiv 2006.11477), hidden frames told from other hidden ones, small, at 8 kHz.

jssl pretrain --config wav2vec2:data=audio:RECORDINGS --workdir runs/wav2vec2

Spoken digits: see README.md, "Sound".
"""

from jssl.cli.recipes import defaults


def get_config(
    data="audio:RECORDINGS", encoder="wav2vec2", epochs=30, batch_size=32, recipe="small"
):
    config = defaults()
    config.data.source, config.encoder = data, {"name": encoder}
    config.train.epochs, config.train.batch_size = epochs, batch_size
    config.method = {"name": "wav2vec2"}
    if recipe == "librispeech":
        # Section 4.2, base: 250,000 samples of each recording. Not run here.
        config.data.seconds, config.train.batch_size = 15.625, 384
        config.optimizer = {"name": "adamw", "lr": 5e-4, "b2": 0.98, "weight_decay": 0.01}
    elif recipe == "small":
        config.data.rate = 8000
        # 10 ms a frame; the codebooks are smaller, as there is little to tell apart.
        config.encoder.update({"dim": 96, "depth": 3, "heads": 4, "conv_dim": 64})
        config.encoder.update({"kernels": (10, 8, 4), "strides": (5, 4, 4)})
        config.encoder.update({"positions": 16, "groups": 4})
        config.method.update({"entries": 40, "dim": 64, "mask_length": 5, "mask_share": 0.13})
        config.method.update({"gradient_scale": 1.0, "penalty": 0.1, "gumbel": (2.0, 0.5, 0.999)})
        config.optimizer = {"name": "adamw", "lr": 1e-3, "b2": 0.98, "weight_decay": 0.01}
    else:
        raise ValueError(f"recipe must be small or librispeech, got {recipe!r}")
    return config
