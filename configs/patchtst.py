"""PatchTST (arXiv 2211.14730), hidden patches of each channel of a time series filled in.

jssl pretrain --config patchtst:data=series:FILE.csv --workdir runs/patchtst

Not measured yet.
"""

from jssl.cli.recipes import defaults


def get_config(data="series:FILE.csv", encoder="patch_series", epochs=10, batch_size=64):
    config = defaults()
    # 42 patches of 12 steps, as of the paper's 512.
    config.data.source, config.data.length, config.data.stride = data, 504, 1
    config.train.epochs, config.train.batch_size = epochs, batch_size
    config.encoder = {"name": encoder}
    config.method = {"name": "patchtst"}
    # The released code's Adam, whose cycle of rates is a warm-up and a cosine here.
    config.optimizer = {"name": "adamw", "lr": 1e-4, "weight_decay": 0.0, "warmup_epochs": 3.0}
    return config
