r"""Pseudo-Label (Lee 2013) with 250 labels on small images.

jssl pretrain --config pseudo_label --workdir runs/pseudo_label
jssl pretrain --config pseudo_label --config.method.round_epochs=5 \
  --config.method.balance=true --workdir runs/rounds
jssl evaluate --workdir runs/pseudo_label --protocols classifier

Labels anew at every step, as in the paper; with ``round_epochs`` they are kept for a round.

The bundled images with 50 labels: see README.md, "Few labels".
"""

from jssl.cli.recipes import few_labels


def get_config(data="bundled", encoder="resnet18", epochs=40, batch_size=64, recipe="small"):
    config = few_labels(data, encoder, epochs, batch_size, recipe)
    config.method = {"name": "pseudo_label"}
    return config
