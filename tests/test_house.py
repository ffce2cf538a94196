"""The house stays in order: import rules, no rooms without a name, small files."""

import ast
import json
from pathlib import Path

import jax
import pytest

from jssl.cli import build, config, runs
from jssl.train import step as train_step

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "jssl").rglob("*.py"))
PURE = ("losses", "augment", "nn")
OWNERS = {
    "orbax": ("jssl/train/checkpoint.py",),
    "ml_collections": ("jssl/cli/",),
    "tensorflow_datasets": ("jssl/data/",),
    "grain": ("jssl/data/",),
}


def imports(file):
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: import by full name"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_import_rules(file):
    name = str(file.relative_to(ROOT))
    room = file.relative_to(ROOT / "jssl").parts[0]
    for module in imports(file):
        for library, owners in OWNERS.items():
            if module.split(".")[0] == library:
                assert name.startswith(owners), f"{name} imports {module}"
        if module.startswith("jssl.methods") or module == "jssl.methods":
            assert room in ("methods", "cli"), f"{name} knows a concrete method"
        if module.startswith("jssl.cli"):
            assert room in ("cli", "__main__.py"), f"{name} imports the command line"
        if room in PURE and module.startswith("jssl."):
            assert module.split(".")[1] in (room, "method", "require"), f"{name} imports {module}"
        if room == "method.py":
            assert module.split(".")[0] in ("jax", "typing", "collections"), f"imports {module}"


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_rooms_have_names_and_files_are_short(file):
    assert file.stem not in ("utils", "common", "base", "helpers", "misc")
    assert file.read_text().count("\n") <= 400


def test_methods_are_about_a_page():
    for file in (ROOT / "jssl" / "methods").glob("[!_]*.py"):
        assert file.read_text().count("\n") <= 170, file


RECIPES = [
    pytest.param(f"{name}:recipe={recipe}", marks=pytest.mark.long)
    for name, file in config.shipped_configs().items()
    for recipe in ("imagenet", "librispeech")
    if f'recipe == "{recipe}"' in file.read_text()
]


@pytest.mark.parametrize("spec", [*config.shipped_configs(), *RECIPES])
def test_the_whole_step_of_every_config_has_shapes(spec):
    """Rung 1: ``eval_shape`` of init and step as the command line builds them."""
    cfg = config.load(spec)
    side, channels = cfg.data.size or 28, cfg.data.channels or 1
    with cfg.unlocked(), cfg.ignore_type():
        cfg.augment.size, cfg.augment.mean, cfg.augment.std = side, (0.3,), (0.3,)
    build.check(cfg)
    facts = {
        "example": {
            "image": [[side, side, channels], "uint8"],
            "label": [[], "int32"],
            "index": [[], "int32"],
        },
        "steps": 100,
        "steps_per_epoch": 10,
        "examples": 10 * cfg.train.batch_size,
        "num_classes": 10,
    }
    if cfg.data.source.startswith("text:"):
        del facts["example"]["image"]
    if cfg.data.source.startswith(("text:", "pairs:")):
        tokens = [[cfg.data.length], "int32"]
        facts["example"] |= {"tokens": tokens, "segments": tokens}
        marks = {f"{name}_token": i for i, name in enumerate(("pad", "cls", "sep", "mask"))}
        facts["tokens"] = {"vocabulary": 50, **marks, "word_starts": "01" * 25}
    if cfg.data.source.startswith("audio:"):
        samples = round(cfg.data.rate * cfg.data.seconds)
        facts["example"] |= {"signal": [[samples], "float32"], "samples": [[], "int32"]}
    if cfg.data.source.startswith("series:"):
        windows = [cfg.data.length, 2]
        facts["example"] |= {"series": [windows, "float32"], "observed": [windows, "bool"]}
        facts["series"] = {"columns": ["a", "b"], "mean": [0.0, 1.0], "std": [1.0, 2.0]}
    if cfg.data.source.startswith("table:"):
        facts["example"] |= {"row": [[2], "float32"]}
        kinds = [{"name": "a", "mean": 0.0, "std": 1.0}, {"name": "b", "categories": ["x", "y"]}]
        facts["table"] = {"columns": kinds}
    if "tokenizer" in cfg.method:
        other = config.load(spec.replace(cfg.method.name, "vqvae"))
        with other.unlocked(), other.ignore_type():
            other.augment.size = other.data.size or side
            other.augment.mean, other.augment.std = (0.3,), (0.3,)
        run = {"config": json.loads(other.to_json()), "facts": dict(facts)}
        facts["frozen"] = {"tokenizer": run}
    batch = runs.abstract_batch(cfg, facts)
    method = build.method(cfg, facts)
    tx, _ = build.optimizer(cfg, 10, 100)
    with jax.numpy_dtype_promotion("standard"):  # optax's schedules mix float and int
        train = jax.eval_shape(lambda b: train_step.init(method, tx, 0, b), batch)
        after, metrics = jax.eval_shape(train_step.make_step(method, tx), train, batch)
    assert jax.tree.structure(after) == jax.tree.structure(train)
    assert metrics["loss"].shape == ()


def test_the_notebooks_import_only_jssl_and_its_dependencies():
    allowed = {"jssl", "jax", "optax", "flax", "numpy", "matplotlib", "os", "importlib"}
    for path in (ROOT / "colab").glob("*.ipynb"):
        for cell in json.loads(path.read_text())["cells"]:
            if cell["cell_type"] == "code":
                source = "".join(cell["source"]).replace("%pip", "pass #")
                for node in ast.walk(ast.parse(source)):
                    if isinstance(node, ast.Import):
                        assert {a.name.split(".")[0] for a in node.names} <= allowed
                    elif isinstance(node, ast.ImportFrom):
                        assert node.module.split(".")[0] in allowed
