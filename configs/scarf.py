"""SCARF (arXiv 2106.15147), corrupted rows of a table told apart, by the paper's recipe.

jssl pretrain --config scarf:data=table:FILE.csv --workdir runs/scarf

Measured on two small sets of scikit-learn as csv, breast cancer and digits (2026-11-23, jax 0.10.2,
Python 3.11.7, four shared x86 cores, 56 and 72 s of training, seed 0), accuracy by kNN, a linear
probe and 5 labels a class: 96.9, 97.6, 92.3 and 91.2, 94.7, 83.9 %; a random encoder 97.6, 96.9,
86.1 and 92.0, 94.4, 63.9 %; the values themselves 96.9, 98.4, 93.2 and 97.6, 96.3, 83.1 %.
"""

from jssl.cli.recipes import defaults


def get_config(data="table:FILE.csv", encoder="table", epochs=100, batch_size=128):
    config = defaults()
    config.data.source = data
    config.train.epochs, config.train.batch_size = epochs, batch_size
    config.encoder = {"name": encoder}
    config.method = {"name": "scarf"}
    # Adam at a constant rate; the paper stops early by the loss of a held-out part.
    config.optimizer = {"name": "adamw", "lr": 1e-3, "weight_decay": 0.0, "final_lr": 1e-3}
    config.optimizer.warmup_epochs = 0.0
    return config
