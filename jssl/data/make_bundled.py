"""Makes the bundled data: `python -m jssl.data.make_bundled IDX_FOLDER OUT.npz`."""

import gzip
import sys
from pathlib import Path

import numpy as np

CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
TRAIN_PER_CLASS, TEST_PER_CLASS = 1200, 200


def read_idx(path: Path) -> np.ndarray:
    """Reads a gzipped idx file of bytes: two zeros, a type, the rank, big-endian sizes, data."""
    data = gzip.decompress(path.read_bytes())
    rank = data[3]
    shape = np.frombuffer(data, ">u4", rank, offset=4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape)


def first_of_each(labels: np.ndarray, count: int) -> np.ndarray:
    """The rows of the first ``count`` examples of each class, in file order."""
    rows = [np.flatnonzero(labels == k)[:count] for k in range(len(CLASSES))]
    return np.sort(np.concatenate(rows))


def main(folder: str, out: str) -> None:
    """Writes the subset of the Fashion-MNIST files in ``folder`` to ``out``."""
    images, labels = [], []
    for part, count in (("train", TRAIN_PER_CLASS), ("t10k", TEST_PER_CLASS)):
        part_labels = read_idx(Path(folder) / f"{part}-labels-idx1-ubyte.gz")
        rows = first_of_each(part_labels, count)
        images.append(read_idx(Path(folder) / f"{part}-images-idx3-ubyte.gz")[rows])
        labels.append(part_labels[rows])
    is_test = np.repeat([False, True], [len(part) for part in labels])
    np.savez_compressed(
        out,
        image=np.concatenate(images),
        label=np.concatenate(labels),
        is_test=is_test,
        classes=np.array(CLASSES),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
