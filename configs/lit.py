"""LiT (arXiv 2111.07991), captions fitted to the image encoder of a finished run, on pairs.

jssl pretrain --config lit:data=pairs:FOLDER,image=runs/simclr,out=128 --workdir runs/lit

Without ``image`` the encoder is a random one. ``out`` is the width of its features.

Not measured yet.
"""

from jssl.cli.config import shipped


def get_config(data="pairs:FOLDER", image="", out=128, epochs=30, batch_size=128):
    config = shipped("clip", data=data, epochs=epochs, batch_size=batch_size)
    if image:
        config.init_from = image
    config.freeze = "all"
    config.method = {"name": "clip", "out": out, "locked": True}
    return config
