"""SCARF (arXiv 2106.15147), corrupted rows of a table told apart, by the paper's recipe.

jssl pretrain --config scarf:data=table:FILE.csv --workdir runs/scarf

Not measured yet.
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
