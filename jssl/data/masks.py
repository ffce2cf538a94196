"""Pictures that say of each pixel of an image what it shows."""

from pathlib import Path

import numpy as np
from jaxtyping import Int

from jssl.data.bad import DataError

FOLDERS = ("masks", "trimaps")  # the first that is there is read
VOID = -1


def read_masks(
    root: Path, names: list[str], size: int, values: list[int] | None = None
) -> tuple[Int[np.ndarray, "n s s"], list[int]]:
    """The masks of images: of each pixel the number of its class, the central square.

    Args:
      root: the folder in which ``masks`` or ``trimaps`` lies; of an image ``a/b.jpg`` it has
        ``a/b.png``, gray or with a palette, in which each value is a class and 255 is none.
      names: the images.
      size: the side of the result, each pixel of which is that of the mask nearest to its middle.
      values: of the classes, in order; by default all that are found. Any other is none (-1).

    Returns:
      [n size size] int32 and the values of the classes.

    Raises:
      DataError: if a mask is missing, or has more than one channel.
    """
    found = [name for name in FOLDERS if (root / name).is_dir()]
    if not found:
        raise DataError(f"{root} must have one of the folders {', '.join(FOLDERS)}")
    raw = np.stack([_square((root / found[0] / n).with_suffix(".png"), size) for n in names])
    if values is None:
        values = [int(v) for v in np.unique(raw) if v != 255]
    numbers = np.full(256, VOID, np.int32)
    numbers[values] = np.arange(len(values))
    return numbers[raw], values


def _square(path: Path, size: int) -> np.ndarray:
    from PIL import Image

    if not path.exists():
        raise DataError(f"{path}: no such mask")
    with Image.open(path) as image:
        mask = np.asarray(image if image.mode in ("L", "P") else image.convert("L"))
    side = min(mask.shape)
    rows, columns = (
        ((length - side) / 2 + (np.arange(size) + 0.5) * side / size).astype(int)
        for length in mask.shape
    )
    return mask[rows[:, None], columns[None, :]]
