"""SimCLR on the 12,000 bundled Fashion-MNIST images, in a few minutes on two cores.

jssl quickstart
"""

from jssl.cli.config import shipped


def get_config(epochs=10):
    config = shipped("simclr", epochs=epochs)
    # Grey images give themselves away by their brightness, as coloured ones do by their colours
    # (section 3.1 of the paper): it is changed strongly, in every view, and at times inverted.
    config.augment.update(
        {
            "scale": (0.5, 1.0),
            "brightness": 0.8,
            "contrast": 0.8,
            "jitter_p": 1.0,
            "blur_p": 0.5,
            "blur_sigma": (0.1, 1.0),
            "solarize_p": 0.3,
        }
    )
    return config
