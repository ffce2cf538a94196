"""FixMatch (arXiv 2001.07685) with 250 labels on small images.

jssl pretrain --config fixmatch --workdir runs/fixmatch
jssl pretrain --config fixmatch --config.data.labels=40 --workdir runs/fixmatch_40
jssl pretrain --config fixmatch --config.init_from=runs/simclr --workdir runs/tuned
jssl evaluate --workdir runs/fixmatch --protocols classifier

The paper trains a WRN-28-2 for 2^20 steps. An epoch is one of the unlabelled images.

The bundled images with 50 labels: see README.md, "Few labels".
"""

from jssl.cli.recipes import few_labels


def get_config(data="bundled", encoder="resnet18", epochs=40, batch_size=64, recipe="small"):
    config = few_labels(data, encoder, epochs, batch_size, recipe)
    config.method = {"name": "fixmatch"}
    # The strong view of the released code: RandAugment, then a square of half the side.
    config.augment2 = {"rand_augment": 2, "cutout": 0.5}
    return config
