"""CPC (arXiv 1807.03748), the frames to come told from the others of a recording, small, at 8 kHz.

jssl pretrain --config cpc:data=audio:RECORDINGS --workdir runs/cpc

Spoken digits: see README.md, "Sound".
"""

from jssl.cli.recipes import defaults


def get_config(data="audio:RECORDINGS", encoder="cpc", epochs=20, batch_size=32, recipe="small"):
    config = defaults()
    config.data.source, config.encoder = data, {"name": encoder}
    config.train.epochs, config.train.batch_size = epochs, batch_size
    config.method = {"name": "cpc"}
    if recipe == "librispeech":
        # Section 3.1, with 8 GPUs of 8; 20480 samples at 16 kHz. Not run here.
        config.data.seconds, config.train.batch_size = 1.28, 64
        config.method.among = "batch"
        config.optimizer = {"name": "adamw", "lr": 2e-4, "weight_decay": 0.0, "warmup_epochs": 0.0}
    elif recipe == "small":
        config.data.rate = 8000
        # 10 ms a frame, as in the paper.
        config.encoder.update({"dim": 64, "context": 128})
        config.encoder.update({"kernels": (10, 8, 4, 4), "strides": (5, 4, 2, 2)})
        config.optimizer = {"name": "adamw", "lr": 1e-3, "weight_decay": 0.0, "clip": 1.0}
    else:
        raise ValueError(f"recipe must be small or librispeech, got {recipe!r}")
    return config
