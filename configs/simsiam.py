"""SimSiam (arXiv 2011.10566) on small images.

jssl pretrain --config simsiam --workdir runs/simsiam

Not measured yet.
"""

from jssl.cli.config import small_images


def get_config(data="bundled", encoder="resnet18", epochs=10, batch_size=256):
    config = small_images(data, encoder, epochs, batch_size)
    # Two layers in the projector are the paper's CIFAR-10 recipe (appendix D).
    config.method = {"name": "simsiam", "hidden": 512, "out": 512, "bottleneck": 128, "layers": 2}
    if config.optimizer.name == "sgd":
        config.optimizer = {"name": "sgd", "lr": 0.1, "weight_decay": 5e-4, "warmup_epochs": 0.0}
    # The predictor has to keep up with a moving target (section 4.2): its rate does not decay.
    config.optimizer.constant = ("predictor",)
    return config
