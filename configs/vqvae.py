"""VQ-VAE (arXiv 1711.00937) on small images: a tokenizer for others, such as BEiT.

jssl pretrain --config vqvae --workdir runs/vqvae
jssl pretrain --config vqvae:recipe=imagenet,data=folder:IMAGENET --workdir runs/vqvae_imagenet

CIFAR-10 by the protocol of README.md: kNN 32.5 %, linear 38.7 %.
"""

from jssl.cli.recipes import imagenet, small_images


def get_config(data="bundled", encoder="resnet", epochs=10, batch_size=256, recipe="small"):
    if recipe == "imagenet":
        return paper(data)
    config = small_images(data, encoder, epochs, batch_size, recipe)
    # A code for every 4 x 4 pixels, as the paper has of ImageNet. Shorter averages and a smaller
    # decoder than there, for ten epochs on a CPU.
    config.method = {"name": "vqvae", "patch": 4, "k": 512, "width": 48, "decay": 0.95}
    if encoder == "resnet":
        config.encoder = {"name": "resnet", "blocks": (1, 1), "width": 32, "stem": "2x2"}
    # Crops no smaller than what the tokenizer will be asked about, and true colours.
    config.augment.update({"scale": (0.5, 1.0), "jitter_p": 0.0, "grayscale_p": 0.0})
    config.optimizer = {"name": "adamw", "lr": 1e-3, "weight_decay": 0.0, "warmup_epochs": 1.0}
    return config


def paper(data):
    """A tokenizer for BEiT's recipe: 14 x 14 codes of 112 pixels, 8192 of them. Not run here.

    The paper's own has 32 x 32 codes of 128 pixels, 512 of them; rate, batch and sizes are its
    (section 4.1). BEiT takes that of DALL-E, a discrete VAE by the Gumbel-softmax.
    """
    config = imagenet(data, "resnet", 20, 128)
    config.data.size = 112
    config.encoder = {"name": "resnet", "blocks": (2, 2), "width": 128, "stem": "imagenet"}
    config.method = {"name": "vqvae", "patch": 8, "k": 8192, "width": 256}
    config.augment = {"scale": (0.2, 1.0), "jitter_p": 0.0, "grayscale_p": 0.0, "blur_p": 0.0}
    config.optimizer = {"name": "adamw", "lr": 2e-4, "weight_decay": 0.0, "warmup_epochs": 0.0}
    return config
