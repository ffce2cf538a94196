"""BERT (arXiv 1810.04805), masked tokens and pairs of sentences, tiny, on texts.

jssl pretrain --config bert:data=text:BOOKS.txt --workdir runs/bert

Not measured yet.
"""

from jssl.cli.recipes import defaults


def get_config(data="text:BOOKS.txt", encoder="bert_tiny", epochs=10, batch_size=32):
    config = defaults()
    config.data.source, config.data.vocabulary, config.data.length = data, 4096, 128
    config.train.epochs, config.train.batch_size = epochs, batch_size
    config.encoder = {"name": encoder}
    config.method = {"name": "bert"}
    config.optimizer = {"name": "adamw", "lr": 1e-3, "weight_decay": 0.01, "clip": 1.0}
    config.optimizer.warmup_epochs = 0.5
    return config
