"""GPT (Radford et al. 2018), next tokens, tiny, on texts.

jssl pretrain --config gpt:data=text:BOOKS.txt --workdir runs/gpt

Not measured yet.
"""

from jssl.cli.recipes import defaults


def get_config(data="text:BOOKS.txt", encoder="gpt_tiny", epochs=10, batch_size=32):
    config = defaults()
    config.data.source, config.data.vocabulary, config.data.length = data, 4096, 128
    config.train.epochs, config.train.batch_size = epochs, batch_size
    config.encoder = {"name": encoder}
    config.method = {"name": "gpt"}
    config.optimizer = {"name": "adamw", "lr": 1e-3, "weight_decay": 0.01, "clip": 1.0}
    config.optimizer.warmup_epochs = 0.5
    return config
