"""Malformed input of every kind at the command line: it is done, or one clear line and exit 2.

Never a traceback, another code, a hang, or code that runs.
"""

import ast
import io
import os
import pickle
import struct
import types
import wave
import zipfile
from pathlib import Path

import jax
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from jssl.cli import config, main, verbs
from jssl.train import loop
from jssl.train import step as train_step

ROOT = Path(__file__).parents[2]
OPENED = 130


def examples(count):
    return settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


# A few of each now, many with the long tests.
few_or_many = pytest.mark.parametrize(
    "count", [pytest.param(1, id="few"), pytest.param(25, id="many", marks=pytest.mark.long)]
)


def run(arguments, capsys):
    """Gives the command; it must end well or be refused as is promised. Returns the code."""
    stopped = None
    try:
        with jax.numpy_dtype_promotion("standard"):  # optax's schedules mix float and int
            code = main([str(word) for word in arguments])
    except SystemExit as stop:  # of argparse, which says how the verb is used, too
        stopped = stop.code
    error = capsys.readouterr().err
    if stopped is not None:
        assert stopped in (0, 2)
        assert "Traceback" not in error
        return stopped
    assert "Traceback" not in error
    assert "--debug shows" not in error, error
    if code != OPENED:
        assert code in (0, 2), error
    if code == 2:
        assert error.startswith("jssl: ")
        assert len(error.splitlines()) == 1, error
    return code


class _Opened(KeyboardInterrupt):
    """Stops a run whose data has been opened and read."""


@pytest.fixture
def until_data(monkeypatch):
    def frozen(*arguments):
        raise _Opened

    monkeypatch.setattr(verbs.runs, "frozen", frozen)


@pytest.fixture
def until_traced(monkeypatch):
    """Stops a run before anything is compiled."""

    def fit(method, tx, stream, *, steps, seed, accumulate, **options):
        batch = stream.batch(0)
        _, train = loop.trace_init(method, tx, seed, batch)
        step = jax.jit(train_step.make_step(method, tx, accumulate))
        loop.trace_step(step, train, batch)
        return types.SimpleNamespace(step=steps)

    monkeypatch.setattr(verbs.loop, "fit", fit)


def pretrain(folder, *more, spec="simclr"):
    return ["pretrain", "--config", spec, "--workdir", folder / "run", *more]


@st.composite
def damaged(draw, whole):
    """Bytes of which some are changed, lost or new."""
    content = bytearray(draw(st.sampled_from(whole)))
    for _ in range(draw(st.integers(1, 6))):
        if not content:
            break
        at = draw(st.integers(0, len(content) - 1) | st.integers(0, min(len(content) - 1, 199)))
        how = draw(st.sampled_from(["set", "flip", "cut", "put"]))
        if how == "set":
            content[at] = draw(st.integers(0, 255))
        elif how == "flip":
            content[at] ^= 1 << draw(st.integers(0, 7))
        elif how == "cut":
            del content[at : at + draw(st.sampled_from([1, 4, 100, 10**6]))]
        else:
            content[at:at] = draw(st.binary(min_size=1, max_size=20))
    return bytes(content)


def npz(save=np.savez, **arrays):
    file = io.BytesIO()
    save(file, **arrays)
    return file.getvalue()


def encoded(kind, mode="RGB"):
    file, pixels = io.BytesIO(), np.random.default_rng(0).integers(0, 256, (20, 24, 3))
    Image.fromarray(pixels.astype(np.uint8)).convert(mode).save(file, kind)
    return file.getvalue()


def deep_tiff():
    file = io.BytesIO()
    tifffile.imwrite(file, np.zeros((3, 20, 20), np.float32), photometric="minisblack")
    return file.getvalue()


def recording():
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(16000)
        sound.writeframes(bytes(2000))
    return file.getvalue()


IMAGE, CLASS = np.zeros((12, 8, 8, 1), np.uint8), np.arange(12) % 3
JPEG = encoded("JPEG")
FILES = {
    "a.npz": [
        npz(image=IMAGE),
        npz(np.savez_compressed, image=IMAGE, label=CLASS, is_test=CLASS == 0),
        npz(x_train=IMAGE, y_train=CLASS),
        npz(jpeg=np.frombuffer(JPEG * 12, np.uint8), offsets=np.arange(13) * len(JPEG)),
    ],
    "a.png": [encoded("PNG"), encoded("PNG", "P")],
    "a.jpg": [JPEG],
    "a.webp": [encoded("WEBP")],
    "a.tif": [encoded("TIFF"), deep_tiff()],
    "a.wav": [recording()],
    "a.txt": [b"one two\n\nthree four five\n\n" * 40],
    "a.jsonl": [b'{"text": "a b c", "label": 1}\n' * 40],
    "a.csv": [b'text,label\n"a b",1\nc d,2\n' * 40],
}


def data_of(folder, name, content):
    """The command that reads a file, by its name; eight of them, where a file is one example."""
    end = name.rpartition(".")[2]
    folder.mkdir(exist_ok=True)
    for i in range(1 if end in ("npz", "txt", "jsonl", "csv") else 8):
        (folder / f"{i}.{end}").write_bytes(content)
    kind = {"npz": "arrays", "wav": "audio", "txt": "text", "jsonl": "text", "csv": "text"}.get(end)
    where = folder if kind in (None, "audio") else folder / f"0.{end}"
    more = [f"--config.data.source={kind or 'folder'}:{where}", "--config.train.batch_size=8"]
    if kind == "text":
        more += ["--config.data.length=8", "--config.data.vocabulary=300"]
        return pretrain(folder, *more, spec="bert")
    return pretrain(folder, *more, "--config.data.max_bad=1")


@few_or_many
@pytest.mark.parametrize("name", FILES)
def test_damaged_data(name, count, tmp_path_factory, capsys, until_data):
    @examples(6 * count)
    @given(damaged(FILES[name]))
    def trial(content):
        run(data_of(tmp_path_factory.mktemp("data"), name, content), capsys)

    trial()


@pytest.mark.parametrize("name", FILES)
def test_whole_data_is_read(name, tmp_path, capsys, until_data):
    """Or there would be nothing that damage could spoil."""
    for i, content in enumerate(FILES[name]):
        assert run(data_of(tmp_path / str(i), name, content), capsys) == OPENED


KINDS = ["uint8", "float32", "int64", "bool", "U3", "S2", "complex64", "datetime64[s]", "V4"]
some_arrays = st.builds(
    np.zeros,
    st.lists(st.sampled_from([0, 1, 2, 3, 12]), max_size=4).map(tuple),
    st.sampled_from(KINDS),
)
odd_labels = st.sampled_from([-CLASS, CLASS * 10**6, CLASS + 2**62, CLASS[:5], CLASS / 2])


@few_or_many
def test_arrays_of_the_wrong_kind(count, tmp_path_factory, capsys, until_data):
    names = ["image", "label", "target", "is_test", "classes", "jpeg", "offsets", "x_train"]

    @examples(12 * count)
    @given(st.dictionaries(st.sampled_from(names), some_arrays | odd_labels, max_size=3),
           st.booleans())  # fmt: skip
    def trial(arrays, with_images):
        arrays = ({"image": IMAGE} if with_images else {}) | arrays
        run(data_of(tmp_path_factory.mktemp("data"), "a.npz", npz(**arrays)), capsys)

    trial()


EMBEDDED = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
WHOLE = {"train_x": EMBEDDED, "train_y": CLASS, "test_x": EMBEDDED, "test_y": CLASS}
odd_vectors = st.sampled_from([EMBEDDED[:5], EMBEDDED[:, :2], EMBEDDED * np.nan, EMBEDDED * 0])


@few_or_many
def test_embeddings(count, tmp_path, capsys):
    names = [*WHOLE, "views", "train_targets", "test_targets"]
    odd = st.dictionaries(
        st.sampled_from(names), some_arrays | odd_labels | odd_vectors, min_size=1, max_size=2
    )

    @examples(12 * count)
    @given(damaged([npz(**WHOLE)]) | odd.map(lambda arrays: npz(**WHOLE | arrays)))
    def trial(content):
        (tmp_path / "e.npz").write_bytes(content)
        command = ["evaluate", "--embeddings", tmp_path / "e.npz", "--protocols", "knn"]
        run(command, capsys)

    trial()


class Evil:
    """What unpickling this would do is seen by the file that it leaves."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return os.system, (f"touch {self.file}",)


HEADERS = [
    "{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000000, 8, 8)}",
    "{'descr': '|u1', 'fortran_order': False, 'shape': (-1, 8, 8)}",
    "{'descr': '|u1', 'fortran_order': False, 'shape': (9223372036854775808, 8)}",
    "{'descr': '|O', 'fortran_order': False, 'shape': (1,)}",
    "{'descr': [('a', '<i4')], 'fortran_order': False, 'shape': (3,)}",
    "__import__('os').system('touch EVIL')",
    "(" * 300,
]


def archive(content, member):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        made.writestr(member, content)
    return file.getvalue()


def test_nothing_in_a_file_is_run(tmp_path, capsys, until_data):
    evil = Evil(tmp_path / "evil")
    pickled = pickle.dumps(evil)
    contents = [pickled, npz(image=np.array([evil], object)), npz(train_x=np.array([evil], object))]
    contents += [archive(pickled, member) for member in ("image", "train_x")]
    for member in ("image.npy", "train_x.npy"):
        contents.append(archive(pickled, member))
        for header in HEADERS:
            text = header.replace("EVIL", str(evil.file)).encode() + b"\n"
            npy = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(100)
            contents.append(archive(npy, member))
    for content in contents:
        assert run(data_of(tmp_path, "a.npz", content), capsys) == 2
        assert run(["evaluate", "--embeddings", tmp_path / "a.npz"], capsys) == 2
    assert not evil.file.exists()


def test_nothing_could_be():
    """No pickle anywhere, no evaluation of texts, and numpy is told so each time."""
    for file in (ROOT / "jssl").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {alias.name for alias in node.names} | {getattr(node, "module", None)}
                assert not names & {"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in ("eval", "exec", "compile"), file
                if called in ("np.load", "numpy.load"):
                    assert "allow_pickle=False" in ast.unparse(node), file


VALUES = ["", "0", "-1", "1e309", "nan", "None", "()", "(1,", "9" * 30, "abc", "true", "{}", "\0"]
VALUES += ["a\nb", "é", "0.5", "2", "(0.1,2.0)", "('a',)", "[1,2]", "1000000000000"]
VALUES += ["__import__('os').system('false')"]
KEYS = {name: config._flat(config.load(name)) for name in ("simclr", "dino")}
SMALL = ["data.limit=32", "train.batch_size=8", "encoder.name=resnet", "encoder.blocks=(1,)"]
SMALL += ["encoder.width=4", "eval.every_epochs=0"]


@pytest.mark.parametrize(
    "count", [pytest.param(2, id="few"), pytest.param(60, id="many", marks=pytest.mark.long)]
)
def test_overrides(count, tmp_path_factory, capsys, until_traced):
    @examples(count)
    @given(st.sampled_from([(n, key) for n, keys in KEYS.items() for key in keys]),
           st.sampled_from(VALUES))  # fmt: skip
    def trial(place, value):
        name, key = place
        small = [f"--config.{word}" for word in SMALL]
        folder = tmp_path_factory.mktemp("run")
        run(pretrain(folder, *small, f"--config.{key}={value}", spec=name), capsys)

    trial()


@few_or_many
def test_configs_and_arguments(count, tmp_path, capsys, until_data):
    parts = ["simclr", ":", ",", "=", "data", "encoder", "resnet18", ".py", "epochs", "-1", "/"]
    parts += ["\0", "é", " ", "recipe", "imagenet", "folder:", "batch_size"]
    words = ["pretrain", "evaluate", "inspect", "report", "embed", "fill", "reconstruct", "list"]
    words += ["--workdir", str(tmp_path), "--config", "simclr", "--config.a=1", "--config.", "-1"]
    words += ["--config.=", "--step", "x", "--json", "--embeddings", "--protocols", "--rows"]
    words += ["--input", "--output", "tokenizer", "--data", "text:x", "--size", "0", "--limit"]
    specs = st.lists(st.sampled_from(parts), max_size=7).map("".join)
    commands = specs.map(lambda spec: ["pretrain", "--workdir", tmp_path / "run", "--config", spec])

    @examples(30 * count)
    @given(commands | st.lists(st.sampled_from(words), min_size=1, max_size=6))
    def trial(command):
        run(command, capsys)

    trial()


STARTS = (
    "def get_config():\n from jssl.cli.recipes import defaults\n c = defaults()\n %s\n return c"
)


@pytest.mark.parametrize(
    "text",
    [
        "def get_config(:",
        "\0",
        "x = 1 / 0",
        "import sys; sys.exit(0)",
        "get_config = 3",
        "def get_config(): return 1",
        "def get_config(): raise KeyError('a')",
        "import ml_collections\ndef get_config(): return ml_collections.ConfigDict()",
        STARTS % "del c['optimizer']",
        STARTS % "c.train = 3",
        STARTS % "del c.data['limit']",
        STARTS % "c.encoder = None",
        STARTS % "c.method.name = ['x']",
        STARTS % "c.data.source = None",
        STARTS % "c.method.foo = 1",
    ],
)
def test_config_files(text, tmp_path, capsys, until_data):
    (tmp_path / "c.py").write_text(text)
    assert run(pretrain(tmp_path, spec=tmp_path / "c.py"), capsys) == 2


@pytest.mark.parametrize("verb", ["inspect", "evaluate", "report"])
@pytest.mark.parametrize("content", ["", "{", "[]", "1", "\xff", "[" * 100_000])
def test_damaged_folders_of_runs(verb, content, tmp_path, capsys):
    (tmp_path / "config.json").write_text(content, encoding="latin-1")
    code = run([verb, "--workdir", tmp_path], capsys)
    assert code == 2 or verb == "report"  # which shows what there is
