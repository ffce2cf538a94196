"""Data sources by one spec string: `bundled`, `arrays:FILE.npz`, `folder:PATH`, `tfds:NAME`,
`text:PATH`, `audio:PATH`, `pairs:PATH`, `series:PATH`, `table:PATH`.

A source is a reader (one split of one set) seen through a choice of rows and a shape for images.
It is picklable, and a worker process that unpickles it opens the files itself.
"""

import dataclasses
import logging
from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from jssl.data.arrays import BUNDLED, open_arrays
from jssl.data.audio import Recordings
from jssl.data.bad import DataError, Undecodable
from jssl.data.decode import to_channels, to_square
from jssl.data.folder import Folder
from jssl.data.labels import held_out, kept
from jssl.data.pairs import Pairs
from jssl.data.prepared import open_prepared
from jssl.data.series import Series
from jssl.data.tables import Table
from jssl.data.texts import Texts

log = logging.getLogger(__name__)

# Examples decoded when a source is opened, spread evenly over it, to learn shape and dtype.
PROBED = 32


@runtime_checkable
class Reader(Protocol):
    """One split of one set, read at random; the rows of `Source` index it.

    name, num_classes (0 without labels), class_names, names (of files) and labels [n] describe it;
    the last three are None where they are not known without decoding.
    """

    name: str
    num_classes: int
    class_names: tuple[str, ...] | None
    names: tuple[str, ...] | None
    labels: np.ndarray | None

    def __len__(self) -> int:
        """The number of records."""
        ...

    def read(self, i: int, size: int | None = None) -> tuple[np.ndarray, int]:
        """The image [h w c] and label of record ``i``; raises `Undecodable`."""
        ...

    def place(self, i: int) -> str:
        """Where record ``i`` is, for people."""
        ...

    def identity(self, i: int) -> str:
        """What names record ``i`` whatever is added, left out or reordered around it."""
        ...


def _bundled(path: str, split: str) -> Reader:
    if path:
        raise DataError(f"bundled takes no path, got {path!r}")
    reader = open_arrays(str(BUNDLED), split)
    reader.name = "bundled"
    return reader


KINDS: dict[str, Callable[..., Reader]] = {
    "bundled": _bundled,
    "arrays": open_arrays,
    "folder": Folder,
    "tfds": open_prepared,
    "text": Texts,
    "audio": Recordings,
    "pairs": Pairs,
    "series": Series,
    "table": Table,
}


class Look(NamedTuple):
    """What one decoded image is like, and where it is."""

    shape: tuple[int, ...]
    dtype: np.dtype
    place: str


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """Examples by position: ``source[i]`` is a dict of arrays, for 0 <= i < ``len(source)``.

    Keys of a text: ``tokens`` and ``segments`` [t] int32 (`jssl.data.packing.pack`). Of a
    recording: ``signal`` [t] float32, ``samples`` int32, how many of them are not padding. Of a
    series: ``series`` [t c] float32, 0 where ``observed`` [t c] bool is False. Of a table: ``row``
    [f] float32. Of others: ``image`` [h w c] uint8, uint16 or float32, and, of an .npz that has
    some, ``target`` [k] float32; of pairs also ``tokens`` and ``segments``. Of all: ``label`` int32
    (-1: unlabelled) and ``index`` int32, the position in this source.

    reader: the split that is read.
    rows: [n] the reader's records that are in this source, in order.
    size, channels: what images are made to be (see `open_source`); None leaves them.
    look: what the images looked at on opening are like, or None where they differ.
    misfit: where they differ, one line that names two of them.
    labeled: the examples that keep their labels; those of all others are hidden. None: all do.
    """

    reader: Reader
    rows: np.ndarray
    size: int | None = None
    channels: int | None = None
    look: Look | None = None
    misfit: str | None = None
    labeled: np.ndarray | None = None

    @property
    def example_shape(self) -> tuple[int, ...] | None:
        """[h w c] of every image, or None where those looked at on opening differ."""
        return None if self.look is None else self.look.shape

    @property
    def content(self) -> str:
        """What the examples are: ``image``, ``tokens``, ``signal``, ``series`` or ``row``."""
        return getattr(self.reader, "content", "image")

    @property
    def target_shape(self) -> tuple[int, ...] | None:
        """[k] of the numbers to be told of each image, or None where there are none."""
        targets = getattr(self.reader, "targets", None)
        return None if targets is None else targets.shape[1:]

    @property
    def captioned(self) -> bool:
        """Whether an image has a caption beside it."""
        return hasattr(self.reader, "beside")

    @property
    def name(self) -> str:
        """The set's spec without its options."""
        return self.reader.name

    @property
    def num_classes(self) -> int:
        """The number of classes of the whole set; 0 without labels."""
        return self.reader.num_classes

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """A name for each label, where the set has them."""
        return self.reader.class_names

    @property
    def names(self) -> tuple[str, ...] | None:
        """The file name of each example, where they are files."""
        if self.reader.names is None:
            return None
        return tuple(self.reader.names[row] for row in self.rows)

    def __len__(self) -> int:
        """The number of examples."""
        return len(self.rows)

    def __getitem__(self, i: int) -> dict[str, np.ndarray | np.generic]:
        """Decodes example ``i``.

        Raises:
            Undecodable: if it cannot be decoded.
        """
        if not 0 <= i < len(self.rows):
            raise IndexError(f"{self.name} has examples 0 to {len(self.rows) - 1}, not {i}")
        example = self._read(i)
        if self.labeled is not None and not np.isin(i, self.labeled):
            example["label"] = np.int32(-1)
            if "target" in example:
                example["target"] = np.full_like(example["target"], np.nan)
        return example

    def _read(self, i: int) -> dict[str, np.ndarray | np.generic]:
        row = int(self.rows[i])
        if self.content == "tokens":
            tokens, segments, label = self.reader.read(row)
            number = {"label": np.int32(label), "index": np.int32(i)}
            return {"tokens": tokens, "segments": segments, **number}
        if self.content == "signal":
            signal, samples, label = self.reader.read(row)
            number = {"label": np.int32(label), "index": np.int32(i)}
            return {"signal": signal, "samples": np.int32(samples), **number}
        if self.content == "series":
            series, observed, label = self.reader.read(row)
            number = {"label": np.int32(label), "index": np.int32(i)}
            return {"series": series, "observed": observed, **number}
        if self.content == "row":
            values, label = self.reader.read(row)
            return {"row": values, "label": np.int32(label), "index": np.int32(i)}
        image, label = self.reader.read(row, self.size)
        if self.channels is not None:
            image = to_channels(image, self.channels, self.reader.place(row))
        if self.size is not None:
            image = to_square(image, self.size)
        example = {"image": image, "label": np.int32(label), "index": np.int32(i)}
        if self.target_shape is not None:
            example["target"] = self.reader.targets[row]
        return example | (self.reader.beside(row) if self.captioned else {})

    def place(self, i: int) -> str:
        """Where example ``i`` is, for people: a path, or file and row."""
        return self.reader.place(int(self.rows[i]))


def open_source(
    spec: str,
    split: str = "train",
    *,
    limit: int | None = None,
    holdout: float = 0.0,
    part: str = "all",
    size: int | None = None,
    channels: int | None = None,
    tokenizer: str | None = None,
    length: int = 128,
    pack: bool = True,
    rate: int = 16000,
    seconds: float = 1.0,
    pattern: str | None = None,
    held: str | None = None,
    labels: float | None = None,
    stride: int | None = None,
    training: float = 0.8,
    missing: bool = False,
    seed: int = 0,
) -> Source:
    """Opens a data source.

    Args:
        spec: ``bundled`` (12,000 + 2,000 Fashion-MNIST images), ``arrays:FILE.npz`` (layouts: see
            `jssl.data.arrays`), ``folder:PATH`` (see `jssl.data.folder.Folder`), ``text:PATH``
            (rows of its tokens, see `jssl.data.documents.read_documents`), ``audio:PATH`` (signals,
            see `jssl.data.audio.Recordings`), ``pairs:PATH`` (images with captions, see
            `jssl.data.pairs.read_captions`), ``series:PATH`` (windows, see
            `jssl.data.series.Series`), ``table:PATH`` (rows, see `jssl.data.tables.Table`) or
            ``tfds:NAME[/CONFIG][:VERSION][/SPLIT][@DIR]`` (see `jssl.data.prepared`).
        split: ``train`` or ``test``; what else a set has.
        limit: only the first this many examples of the split, in the set's own order: an npz's
            row order, a folder's natural order of paths (so class by class), TFDS's record order.
        holdout: share in [0, 1) that is held out. A hash of (seed, the example's path within the
            split or its row in the file) decides, so an example stays on its side whatever the
            limit and whatever is added to a folder; the share is met on average only.
        part: ``all``, ``fit`` (not held out) or ``holdout``, taken after ``limit``.
        size: takes each image's central square and resizes it to [size size c], antialiased.
        channels: converts between grey, grey + alpha, RGB and RGB + alpha (1 to 4).
        tokenizer: of texts and captions, the path of a ``tokenizer.json``.
        length: of texts and captions, tokens in a row, of series, steps in a window.
        pack: of texts, whether rows are filled with document after document, which have no labels
            then, or hold one each. Limit and holdout choose documents either way.
        rate, seconds: of recordings, samples a second and how long an example is.
        pattern, held: of recordings, what file names say, and the groups of the test split.
        labels: how many labels are kept, the same number of each class: a whole number, a multiple
            of the classes, or a share below 1, of each class. See `jssl.data.labels.kept`.
        stride, training, missing: of series, steps from window to window, what of a long one is
            the train split, and whether values may be missing; of tables the last two.
        seed: of the held-out part, and of which labels are kept.

    Raises:
        DataError: one line, for anything wrong with the spec, the options or the set.
    """
    kind, _, path = spec.partition(":")
    if kind not in KINDS:
        raise DataError(
            "data source must be bundled, arrays:FILE.npz, folder:PATH, tfds:NAME, text:PATH, "
            f"audio:PATH, pairs:PATH, series:PATH or table:PATH, got {spec!r}"
        )
    _check_options(limit, holdout, part, size, channels)
    own = {
        "text": (tokenizer, length),
        "pairs": (tokenizer, length),
        "audio": (rate, seconds, pattern, held),
        "series": (length, stride, training, missing),
        "table": (training, missing),
    }
    reader = KINDS[kind](path, split, *own.get(kind, ()))
    rows = np.arange(len(reader))[:limit]
    if reader.labels is not None and limit is not None:
        _warn_of_lost_classes(reader, rows)
    if part != "all":
        out = held_out([reader.identity(int(row)) for row in rows], holdout, seed)
        rows = rows[out == (part == "holdout")]
    if len(rows) == 0:
        raise DataError(
            f"{reader.name}: no examples left with limit={limit}, holdout={holdout}, part={part!r}"
        )
    if kind == "text" and pack:
        reader = reader.packed(rows)
        rows = np.arange(len(reader))
    known = None if labels is None else kept(reader, rows, labels, seed)
    return _probe(Source(reader, rows, size, channels, labeled=known))


def _check_options(
    limit: int | None, holdout: float, part: str, size: int | None, channels: int | None
) -> None:
    for name, value in (("limit", limit), ("size", size), ("channels", channels)):
        if value is not None and value < 1:
            raise DataError(f"{name} must be >= 1 or None, got {value}")
    if not 0.0 <= holdout < 1.0:
        raise DataError(f"holdout must be a share in [0, 1), got {holdout}")
    if part not in ("all", "fit", "holdout"):
        raise DataError(f"part must be 'all', 'fit' or 'holdout', got {part!r}")


def _warn_of_lost_classes(reader: Reader, rows: np.ndarray) -> None:
    whole, left = (set(labels[labels >= 0]) for labels in (reader.labels, reader.labels[rows]))
    if len(left) < len(whole):
        log.warning(
            "%s: limit=%d leaves %d of %d classes: it takes the first in the set's order",
            reader.name,
            len(rows),
            len(left),
            len(whole),
        )


def _probe(source: Source) -> Source:
    """Learns shape and dtype from a few examples; says so where they differ."""
    count = min(PROBED, len(source))
    first: Look | None = None
    failure: Undecodable | None = None
    for i in np.linspace(0, len(source) - 1, count).astype(int):
        try:
            image = source[int(i)][source.content]
        except Undecodable as error:
            failure = failure or error
            continue
        look = Look(image.shape, image.dtype, source.place(int(i)))
        first = first or look
        if look[:2] != first[:2]:
            return dataclasses.replace(source, misfit=describe_misfit(first, look))
    if first is None:
        raise DataError(f"{source.name}: none of {count} examples tried can be decoded; {failure}")
    return dataclasses.replace(source, look=first)


def describe_misfit(one: Look, other: Look) -> str:
    """One line that names two images which do not fit in one batch, and the mend."""
    if one.shape[-1] != other.shape[-1]:
        mend = "set channels to convert them"
    elif one.shape != other.shape:
        mend = "set size to resize them"
    else:
        mend = "convert one of them"
    return (
        f"images differ: {one.place} is {list(one.shape)} {one.dtype}, "
        f"{other.place} is {list(other.shape)} {other.dtype}; {mend}"
    )
