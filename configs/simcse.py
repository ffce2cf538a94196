"""SimCSE (arXiv 2104.08821), sentences told apart under dropout, tiny, on texts.

jssl pretrain --config simcse:data=text:SENTENCES.txt --workdir runs/simcse

Not measured yet.
"""

from jssl.cli.recipes import defaults


def get_config(data="text:SENTENCES.txt", encoder="bert_tiny", epochs=10, batch_size=64):
    config = defaults()
    config.data.source, config.data.vocabulary, config.data.length = data, 4096, 32
    config.data.pack = False
    config.train.epochs, config.train.batch_size = epochs, batch_size
    config.encoder = {"name": encoder, "dropout": 0.1}
    config.method = {"name": "simcse"}
    config.optimizer = {"name": "adamw", "lr": 3e-4, "weight_decay": 0.0, "clip": 1.0}
    config.optimizer.warmup_epochs = 0.5
    return config
