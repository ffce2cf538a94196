"""TensorFlow Datasets, prepared as array_record, read at random without TensorFlow."""

from typing import Any

import numpy as np
from jaxtyping import Shaped

from jssl.data.bad import DataError
from jssl.data.decode import canonical, decode, to_channels


def open_prepared(spec: str, split: str) -> "Prepared":
    """Opens ``NAME[/CONFIG][:VERSION][/SPLIT][@DIR]``.

    A SPLIT in the spec, slices such as ``train[:10%]`` included, goes before ``split``. DIR is the
    TFDS data folder, else the environment's TFDS_DATA_DIR, else ~/tensorflow_datasets. Nothing is
    downloaded.

    Raises:
        DataError: if TFDS is not installed, the set is unknown, not prepared or not prepared as
            array_record, or has no such split or no images.
    """
    spec, _, data_dir = spec.partition("@")
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise DataError(f"tfds:{spec}: needs pip install 'jssl[tfds]' ({error})") from error
    name = spec
    try:
        builder = _builder(tfds, name, data_dir)
    except DataError:
        # The last part is a split, unless all of it names a set with its config.
        name, slash, named_split = spec.rpartition("/")
        if not slash:
            raise
        builder, split = _builder(tfds, name, data_dir), named_split
    return Prepared(builder, name, split, data_dir)


def _builder(tfds: Any, name: str, data_dir: str) -> Any:
    try:
        return tfds.builder(name, data_dir=data_dir or None)
    except ImportError as error:
        raise DataError(f"tfds:{name}: needs a package to load: {error}") from error
    except Exception as error:  # TFDS lists every set it knows; the first line says which it is.
        first = str(error).strip().splitlines()[0]
        raise DataError(f"tfds:{name}: {first}") from error


class Prepared:
    """One split of a prepared set; images decoded with Pillow, as in the other sources."""

    names = None
    labels = None

    def __init__(self, builder: Any, name: str, split: str, data_dir: str):
        """Opens the split; raises `DataError` where it cannot."""
        import tensorflow_datasets as tfds

        self.name = f"tfds:{name}"
        self._opened = (f"{name}/{split}" + (f"@{data_dir}" if data_dir else ""), split)
        if not builder.is_prepared():
            raise DataError(f"tfds:{name}: not prepared in {builder.data_path}; {_how(name)}")
        if split.partition("[")[0] not in builder.info.splits:
            have = ", ".join(sorted(builder.info.splits))
            raise DataError(f"tfds:{name}: no split {split!r}; it has {have}")
        features = dict(builder.info.features.items())
        if "image" not in features:
            raise DataError(f"tfds:{name}: has no 'image', only {', '.join(sorted(features))}")
        image, label = features["image"], features.get("label")
        # TFDS packs float images into four bytes; those it must unpack itself.
        self._encoded = isinstance(image, tfds.features.Image) and image.np_dtype != np.float32
        self._channels = image.shape[-1] if self._encoded else None
        scalar = label is not None and label.shape == ()
        self._labelled = scalar and np.dtype(label.np_dtype).kind in "iu"
        named = isinstance(label, tfds.features.ClassLabel)
        self.class_names = tuple(label.names) if named and label.names else None
        self.num_classes = int(label.num_classes or 0) if named else 0
        decoders = {"image": tfds.decode.SkipDecoding()} if self._encoded else None
        try:
            self._records = builder.as_data_source(split=split, decoders=decoders)
        except (NotImplementedError, ValueError) as error:
            raise DataError(
                f"tfds:{name}: prepared in a format without random access; delete "
                f"{builder.data_path} and {_how(name)}"
            ) from error

    def __reduce__(self):
        """Pickles the spec: a worker process opens the files itself."""
        return open_prepared, self._opened

    def __len__(self) -> int:
        """The number of records."""
        return len(self._records)

    def place(self, i: int) -> str:
        """The set, split and number of a record."""
        return f"{self.name}/{self._opened[1]} record {i}"

    def identity(self, i: int) -> str:
        """The number of a record, which a prepared set keeps."""
        return str(i)

    def read(self, i: int, size: int | None = None) -> tuple[Shaped[np.ndarray, "h w c"], int]:
        """Decodes record ``i``; ``size`` as in `jssl.data.decode.decode`."""
        record = self._records[i]
        label = int(record["label"]) if self._labelled else -1
        if not self._encoded:
            return canonical(np.asarray(record["image"])), label
        image = decode(bytes(record["image"]), self.place(i), size)
        if self._channels is not None:
            image = to_channels(image, self._channels, self.place(i))
        return image, label


def _how(name: str) -> str:
    return (
        'prepare it with: python -c "import tensorflow_datasets as tfds; '
        f"tfds.builder('{name}', file_format='array_record').download_and_prepare()\""
    )
