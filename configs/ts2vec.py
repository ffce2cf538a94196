"""TS2Vec (arXiv 2106.10466), hierarchical contrast of windows of a time series.

jssl pretrain --config ts2vec:data=series:FILE.csv --workdir runs/ts2vec

Not measured yet.
"""

from jssl.cli.recipes import defaults


def get_config(data="series:FILE.csv", encoder="dilated", epochs=10, batch_size=8):
    config = defaults()
    config.data.source, config.data.length, config.data.stride = data, 200, 50
    config.train.epochs, config.train.batch_size = epochs, batch_size
    config.encoder = {"name": encoder}
    config.method = {"name": "ts2vec"}
    # The released code's: AdamW at a constant rate.
    config.optimizer = {"name": "adamw", "lr": 1e-3, "weight_decay": 0.01, "final_lr": 1e-3}
    config.optimizer.warmup_epochs = 0.0
    return config
