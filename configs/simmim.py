"""SimMIM (arXiv 2111.09886) with a small ViT on small images.

jssl pretrain --config simmim --workdir runs/simmim
jssl pretrain --config simmim:encoder=resnet18 --workdir runs/simmim_resnet
jssl pretrain --config simmim:recipe=imagenet,data=folder:IMAGENET --workdir runs/imagenet

CIFAR-10 by the protocol of README.md: kNN 32.9 %, linear 43.9 %.
"""

from jssl.cli.recipes import imagenet, small_images


def get_config(data="bundled", encoder="vit", epochs=10, batch_size=256, recipe="small"):
    if recipe == "imagenet":
        return paper(data)
    config = small_images(data, encoder, epochs, batch_size, recipe)
    # The paper hides squares of 32 of 192 pixels, or smaller ones and more of them. Without the
    # window it learns the colour of what is near, and little else in ten epochs.
    config.method = {"name": "simmim", "mask_ratio": 0.75, "mask_patch": 4, "norm_window": 9}
    # A crop and a flip, without colour jitter, as in the paper.
    config.augment.update({"scale": (0.67, 1.0), "jitter_p": 0.0, "grayscale_p": 0.0})
    config.optimizer = {"name": "adamw", "lr": 2e-3, "b2": 0.95, "weight_decay": 0.05, "clip": 5.0}
    config.optimizer.warmup_epochs = 1.0
    return config


def paper(data):
    """The released recipe for ViT-B/16, without its relative positions. Not run here.

    Its rate is constant after the warm-up, a tenth in the last eighth; here it falls along a
    cosine.
    """
    config = imagenet(data, "vit_b16", 800, 2048)
    config.encoder.update({"drop_path": 0.1})
    config.method = {"name": "simmim"}
    config.augment = {"scale": (0.67, 1.0), "jitter_p": 0.0, "grayscale_p": 0.0, "blur_p": 0.0}
    # 1e-4 for a batch of 512, in proportion for larger ones.
    config.optimizer = {"name": "adamw", "lr": 4e-4, "weight_decay": 0.05, "clip": 5.0}
    config.optimizer.warmup_epochs = 10.0
    return config
