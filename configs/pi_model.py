"""Pi-model (arXiv 1610.02242) with 250 labels on small images.

jssl pretrain --config pi_model --workdir runs/pi_model
jssl evaluate --workdir runs/pi_model --protocols classifier

Flips and shifts are all the noise; the paper adds dropout and Gaussian noise.

Not measured yet.
"""

from jssl.cli.recipes import few_labels


def get_config(data="bundled", encoder="resnet18", epochs=40, batch_size=64, recipe="small"):
    config = few_labels(data, encoder, epochs, batch_size, recipe)
    config.method = {"name": "pi_model"}
    return config
