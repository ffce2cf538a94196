"""FlexMatch (arXiv 2110.08263) with 250 labels on small images.

jssl pretrain --config flexmatch --workdir runs/flexmatch
jssl evaluate --workdir runs/flexmatch --protocols classifier

The recipe of FixMatch, as in the paper.

Not measured yet.
"""

from jssl.cli.recipes import few_labels


def get_config(data="bundled", encoder="resnet18", epochs=40, batch_size=64, recipe="small"):
    config = few_labels(data, encoder, epochs, batch_size, recipe)
    config.method = {"name": "flexmatch"}
    # The strong view of FixMatch: RandAugment, then a square of half the side.
    config.augment2 = {"rand_augment": 2, "cutout": 0.5}
    return config
