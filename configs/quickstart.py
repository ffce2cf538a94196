"""SimCLR on the 12,000 bundled Fashion-MNIST images, in a few minutes on two cores.

jssl quickstart
"""

from jssl.cli.config import shipped


def get_config(epochs=10):
    return shipped("simclr", epochs=epochs)
