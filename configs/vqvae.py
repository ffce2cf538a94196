"""VQ-VAE (arXiv 1711.00937) on small images: a tokenizer for others, such as BEiT.

jssl pretrain --config vqvae --workdir runs/vqvae

Not measured yet.
"""

from jssl.cli.config import small_images


def get_config(data="bundled", encoder="resnet", epochs=10, batch_size=256):
    config = small_images(data, encoder, epochs, batch_size)
    # A code for every 4 x 4 pixels, as the paper has of ImageNet. Shorter averages and a smaller
    # decoder than there, for ten epochs on a CPU.
    config.method = {"name": "vqvae", "patch": 4, "k": 512, "width": 64, "decay": 0.95}
    if encoder == "resnet":
        config.encoder = {"name": "resnet", "blocks": (1, 1), "width": 32, "stem": "2x2"}
    # Crops no smaller than what the tokenizer will be asked about, and true colours.
    config.augment.update({"scale": (0.5, 1.0), "jitter_p": 0.0, "grayscale_p": 0.0})
    config.optimizer = {"name": "adamw", "lr": 1e-3, "weight_decay": 0.0, "warmup_epochs": 1.0}
    return config
