"""TS2Vec (arXiv 2106.10466), hierarchical contrast of windows of a time series.

jssl pretrain --config ts2vec:data=series:FILE.csv --workdir runs/ts2vec

Measured on ETTh1 with 600 steps (python benchmarks/forecast.py --data ETTh1.csv; 2026-11-23, jax
0.10.2, Python 3.11.7, four shared x86 cores, 212 s of training, seed 0): MSE / MAE of forecasts 24,
48, 168, 336 and 720 hours ahead 0.652 / 0.550, 0.655 / 0.566, 0.801 / 0.661, 0.914 / 0.730 and
1.045 / 0.810; a random encoder 0.557 / 0.509, 0.604 / 0.544, 0.822 / 0.674, 0.966 / 0.753 and
1.095 / 0.831; ridge regression on the raw windows 0.372 / 0.406, 0.444 / 0.451, 0.810 / 0.651,
1.086 / 0.788 and 1.378 / 0.908. Near hours are lost by training, far ones won.
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
