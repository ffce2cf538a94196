"""Mean Teacher (arXiv 1703.01780) with 250 labels on small images.

jssl pretrain --config mean_teacher --workdir runs/mean_teacher
jssl evaluate --workdir runs/mean_teacher --protocols classifier

Flips and shifts are all the noise; the paper adds dropout and Gaussian noise.

Not measured yet.
"""

from jssl.cli.recipes import few_labels


def get_config(data="bundled", encoder="resnet18", epochs=40, batch_size=64, recipe="small"):
    config = few_labels(data, encoder, epochs, batch_size, recipe)
    config.method = {"name": "mean_teacher"}
    return config
