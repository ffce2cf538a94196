import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def picture_folder(tmp_path, rng):
    """30 PNG of 6x5 RGB in three classes, with the pixels by relative path."""
    pixels = {}
    for k, name in enumerate(("ant", "bee", "cat")):
        (tmp_path / name).mkdir()
        for i in range(10):
            image = rng.integers(0, 256, (6, 5, 3), dtype=np.uint8)
            image[0, 0] = k
            Image.fromarray(image).save(tmp_path / name / f"{i}.png")
            pixels[f"{name}/{i}.png"] = image
    return tmp_path, pixels
