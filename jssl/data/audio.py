"""Recordings as signals of one rate and length: the reader behind `audio:PATH`.

Files are read by the library soundfile (``pip install 'jssl[audio]'``).
"""

import io
import math
import re
import zipfile
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from jssl.data.bad import DataError, Undecodable
from jssl.data.folder import natural

EXTENSIONS = (".wav", ".flac", ".ogg")


class Recordings:
    """The audio files below a folder or in a zip, in natural order of their relative paths.

    A record is the middle ``seconds`` of a file, or all of it with silence behind, at ``rate``; the
    channels of a file are averaged.

    pattern: of the file names without extension, as ``{label}_{group}_{index}``; fields are not
      empty and as short as they can be. Without one, each subfolder of the first level is a class
      and there are no groups. A folder that all files of a zip lie in does not count.
    held: names of groups, with commas between, that are the ``test`` split; the others are
      ``train``. Without it all files are ``train``.
    """

    content = "signal"

    def __init__(
        self,
        path: str,
        split: str,
        rate: int,
        seconds: float,
        pattern: str | None = None,
        held: str | None = None,
    ):
        """Lists the files; raises `DataError` where there are none or options do not fit them."""
        _library()
        self._given = path, split, rate, seconds, pattern, held
        self.path, self.name, self.rate = path, f"audio:{path}", rate
        if rate < 1 or round(seconds * rate) < 1:
            raise DataError(f"{self.name}: rate and seconds must leave a sample")
        self.length = round(seconds * rate)
        if split not in ("train", "test") or (split == "test" and held is None):
            raise DataError(f"{self.name}: has no {split} split; data.held names groups for test")
        self._zip = _open_zip(self.name, Path(path))
        names = self._listed()
        if not names:
            raise DataError(f"{self.name}: no recordings ({' '.join(EXTENSIONS)}) in it")
        labels, groups = self._classes(names, pattern)
        self.class_names = tuple(sorted(set(labels) - {None}, key=natural)) or None
        self.num_classes = len(self.class_names or ())
        number = {name: k for k, name in enumerate(self.class_names or ())}
        keep = _in_split(self.name, groups, held, split)
        self.names: tuple[str, ...] = tuple(n for n, kept in zip(names, keep, strict=True) if kept)
        self.labels = np.array([number.get(n, -1) for n in labels], np.int32)[np.array(keep, bool)]

    def __reduce__(self):  # noqa: D105
        # An open zip does not travel: a worker process opens its own.
        return Recordings, self._given

    def __len__(self) -> int:
        """The number of files."""
        return len(self.names)

    def place(self, i: int) -> str:
        """The path of file ``i``, behind that of the zip it is in."""
        return str(Path(self.path) / self.names[i])

    def identity(self, i: int) -> str:
        """The path of file ``i`` within the folder or zip."""
        return self.names[i]

    def read(self, i: int, size: int | None = None) -> tuple[Float32[np.ndarray, "t"], int, int]:
        """The signal of file ``i``, how many of its samples are not padding, and its label.

        Raises:
            Undecodable: if it is damaged, of another encoding, or holds no sound.
        """
        place = self.place(i)
        try:
            data = self._zip.read(self.names[i]) if self._zip else Path(place).read_bytes()
        except (OSError, zipfile.BadZipFile) as error:
            raise Undecodable(place, f"{type(error).__name__}: {error}") from error
        x = decode(data, place, self.rate)
        start = max(0, (len(x) - self.length) // 2)
        x = x[start : start + self.length]
        return np.pad(x, (0, self.length - len(x))), len(x), int(self.labels[i])

    def _listed(self) -> list[str]:
        if self._zip:
            found = [info.filename for info in self._zip.infolist() if not info.is_dir()]
        else:
            root = Path(self.path)
            found = [p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()]
        found = [
            name
            for name in found
            if name.lower().endswith(EXTENSIONS)
            and not any(part.startswith((".", "__MACOSX")) for part in name.split("/"))
        ]
        return sorted(found, key=natural)

    def _classes(self, names: list[str], pattern: str | None):
        if pattern is not None:
            parsed = [parse_name(pattern, name, self.name) for name in names]
            return tuple([p.get(field) for p in parsed] for field in ("label", "group"))
        folders = [name.split("/")[:-1] for name in names]
        if self._zip and len({tuple(f[:1]) for f in folders}) == 1:
            folders = [f[1:] for f in folders]
        return [f[0] if f else None for f in folders], [None] * len(names)


def parse_name(pattern: str, name: str, where: str) -> dict[str, str]:
    """The fields of a pattern such as ``{label}_{group}_{index}`` in a file name.

    Raises:
        DataError: for a pattern without ``{label}`` or ``{group}``, with a field twice or broken
            braces, or a name of another form.
    """
    parts = re.split(r"\{([a-z]+)\}", pattern)
    fields = parts[1::2]
    if not {"label", "group"} & set(fields) or len(set(fields)) < len(fields):
        raise DataError(f"{where}: pattern must hold {{label}} or {{group}} once, got {pattern!r}")
    if any(brace in text for text in parts[::2] for brace in "{}"):
        raise DataError(f"{where}: pattern has a brace that is no field's, got {pattern!r}")
    regex = "".join(f"(?P<{p}>.+?)" if i % 2 else re.escape(p) for i, p in enumerate(parts))
    found = re.fullmatch(regex, Path(name).stem)
    if found is None:
        raise DataError(f"{where}: {name} is not of the pattern {pattern!r}")
    return found.groupdict()


def decode(data: bytes, place: str, rate: int) -> Float32[np.ndarray, "t"]:
    """Decodes one file: the mean of its channels, resampled to ``rate`` (polyphase, antialiased).

    Integer samples are divided by their full scale: values are in [-1, 1].

    Raises:
        Undecodable: if it is damaged, of another encoding, or holds no or no finite samples.
    """
    soundfile = _library()
    if not data:
        raise Undecodable(place, "empty file")
    try:
        x, found = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, RuntimeError, ValueError, TypeError) as error:
        raise Undecodable(place, " ".join(str(error).split("<_io.")[-1].split())) from error
    x = np.mean(x, axis=1)
    if not len(x):
        raise Undecodable(place, "holds no samples")
    if not np.isfinite(x).all():
        raise Undecodable(place, "holds samples that are not finite")
    if found != rate:
        from scipy.signal import resample_poly

        common = math.gcd(found, rate)
        x = resample_poly(x, rate // common, found // common)
    return x.astype(np.float32)


def _open_zip(name: str, path: Path) -> zipfile.ZipFile | None:
    if path.is_dir():
        return None
    if not path.is_file():
        raise DataError(f"{name}: no such folder or zip")
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise DataError(f"{name}: neither a folder nor a zip") from error


def _in_split(name: str, groups: list[str | None], held: str | None, split: str) -> list[bool]:
    if held is None:
        return [True] * len(groups)
    chosen, there = {group.strip() for group in held.split(",")}, set(groups) - {None}
    if not chosen <= there:
        known = ", ".join(sorted(there, key=natural)) or "none, for which a pattern has {group}"
        raise DataError(f"{name}: held names groups that are not there, got {held!r}; {known} are")
    return [(group in chosen) == (split == "test") for group in groups]


def _library():
    try:
        import soundfile
    except ImportError as error:
        raise DataError("audio needs soundfile: pip install 'jssl[audio]'") from error
    return soundfile
