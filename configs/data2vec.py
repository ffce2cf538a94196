"""data2vec (arXiv 2202.03555) with the decoder of data2vec 2.0, a small ViT on small images.

jssl pretrain --config data2vec --workdir runs/data2vec
jssl pretrain --config data2vec:recipe=imagenet,data=folder:IMAGENET --workdir runs/imagenet

CIFAR-10 by the protocol of README.md: kNN 41.9 %, linear 47.1 %.
"""

from jssl.cli.recipes import imagenet, small_images


def get_config(data="bundled", encoder="vit", epochs=10, batch_size=256, recipe="small"):
    if recipe == "imagenet":
        return paper(data)
    config = small_images(data, encoder, epochs, batch_size, recipe)
    # Without data2vec 2.0's decoder a short run learns next to nothing. And a teacher that keeps
    # 0.9998 a step stays at random weights for all of it.
    config.method = {"name": "data2vec", "decoder": 3, "width": 64, "groups": 1}
    config.method.update({"mask_ratio": 0.75, "min_patches": 4, "top_k": 4})
    config.method.update({"target_norm": "instance"})
    config.method.update({"tau": 0.99, "final_tau": 0.999, "tau_steps": 500})
    config.augment.update({"scale": (0.4, 1.0), "jitter_p": 0.0, "grayscale_p": 0.0})
    config.optimizer = {"name": "adamw", "lr": 2e-3, "weight_decay": 0.05}
    config.optimizer.warmup_epochs = 2.0
    return config


def paper(data):
    """The first paper's released recipe for ViT-B/16, without its relative positions and scales.

    Not run here.
    """
    config = imagenet(data, "vit_b16", 800, 2048)
    config.encoder.update({"drop_path": 0.25, "pool": "mean"})
    config.method = {"name": "data2vec"}
    config.augment = {"jitter_p": 1.0, "brightness": 0.4, "contrast": 0.4, "saturation": 0.4}
    config.augment.update({"hue": 0.0, "grayscale_p": 0.0, "blur_p": 0.0})
    config.optimizer = {"name": "adamw", "lr": 2e-3, "weight_decay": 0.05, "clip": 3.0}
    config.optimizer.warmup_epochs = 10.0
    return config
