"""SimSiam (arXiv 2011.10566) on small images.

jssl pretrain --config simsiam --workdir runs/simsiam
jssl pretrain --config simsiam:recipe=imagenet,data=folder:IMAGENET --workdir runs/imagenet

CIFAR-10 by the protocol of README.md: kNN 39.1 %, linear 41.7 %.
"""

from jssl.cli.recipes import imagenet, moco_views, small_images


def get_config(data="bundled", encoder="resnet18", epochs=10, batch_size=256, recipe="small"):
    if recipe == "imagenet":
        return paper(data)
    config = small_images(data, encoder, epochs, batch_size, recipe)
    # Two layers in the projector are the paper's CIFAR-10 recipe (appendix D).
    config.method = {"name": "simsiam", "hidden": 1024, "out": 1024, "layers": 2, "bottleneck": 256}
    if config.optimizer.name == "sgd":
        config.optimizer = {"name": "sgd", "lr": 0.4, "weight_decay": 5e-4, "warmup_epochs": 0.0}
    # The predictor has to keep up with a moving target (section 4.2): its rate does not decay.
    config.optimizer.constant = ("predictor",)
    return config


def paper(data):
    """Section 3. Not run here."""
    config = imagenet(data, "resnet50", 100, 512)
    config.method = {"name": "simsiam"}
    moco_views(config)
    # 0.05 for a batch of 256, in proportion for larger ones.
    config.optimizer = {"name": "sgd", "lr": 0.1, "weight_decay": 1e-4, "warmup_epochs": 0.0}
    config.optimizer.constant = ("predictor",)
    return config
