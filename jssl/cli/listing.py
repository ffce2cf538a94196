"""``jssl list``: what there is, read from the sources without importing them."""

import ast
import json

from jssl.cli.config import PACKAGE, shipped_configs

SOURCES = {
    "bundled": "12,000 + 2,000 Fashion-MNIST images that come with jssl",
    "folder:PATH": "image files in class folders, or flat without labels",
    "arrays:FILE.npz": "arrays image and label, or JPEG bytes",
    "pairs:PATH[@CAPTION[@LABEL]]": "images with captions: a folder or zip with captions.json(l)",
    "series:FILE": "time series in windows: .csv, .npz or UCR's .ts",
    "table:FILE": "a .csv of numeric and categorical columns, perhaps a column label",
    "text:PATH": "texts: .txt, .jsonl, .csv or .tsv, or a folder with a class a file or folder",
    "tfds:NAME[/SPLIT]": "a prepared TensorFlow Datasets set",
}


def listing(arguments) -> int:
    """Prints methods, encoders, configs, recipes and so on; ``--json`` as one object."""
    files, titles = shipped_configs(), _titles()
    found = {
        "methods": {name: titles[name] for name in _keys("methods/__init__.py", "METHODS")},
        "encoders": _keys("nn/encoders.py", "ENCODERS"),
        "optimizers": _keys("train/optimizers.py", "OPTIMIZERS"),
        "configs": {name: _title(ast.parse(file.read_text())) for name, file in files.items()},
        "recipes": {name: r for name, file in files.items() if len(r := _recipes(file)) > 1},
        "sources": SOURCES,
    }
    if arguments.json:
        print(json.dumps(found))
        return 0
    for kind, entries in found.items():
        print(f"{kind}:")
        if isinstance(entries, dict):
            width = max(map(len, entries), default=0)
            for name, text in entries.items():
                text = text if isinstance(text, str) else ", ".join(text)
                print(f"  {name:<{width}}  {text}")
        else:
            print("  " + ", ".join(entries))
    print("\nA recipe is chosen behind the config's name: mae:recipe=imagenet.")
    print("A key of a config is set by --config.KEY=VALUE; `jssl pretrain --help` shows how.")
    return 0


def _keys(file: str, table: str) -> list[str]:
    for node in ast.parse((PACKAGE / file).read_text()).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(target, ast.Name) and target.id == table:
            return [key.value for key in node.value.keys]
    raise RuntimeError(f"{file} has no table {table}")


def _recipes(file) -> list[str]:
    """The values of a config's argument ``recipe``: its default, and what it is compared with."""
    tree, recipes = ast.parse(file.read_text()), []
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == "get_config":
            named = node.args.args[len(node.args.args) - len(node.args.defaults) :]
            given = zip(named, node.args.defaults, strict=True)
            recipes[:0] = [value.value for name, value in given if name.arg == "recipe"]
        elif isinstance(node, ast.Compare) and getattr(node.left, "id", None) == "recipe":
            recipes += [value.value for value in node.comparators]
    return list(dict.fromkeys(recipes))


def _titles() -> dict[str, str]:
    """The first line of each method's file; of the function, where a file holds several."""
    titles = {}
    for node in ast.parse((PACKAGE / "methods/__init__.py").read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.module.startswith("jssl.methods."):
            tree = ast.parse((PACKAGE.parent / f"{node.module.replace('.', '/')}.py").read_text())
            functions = {f.name: f for f in tree.body if isinstance(f, ast.FunctionDef)}
            for name in (alias.name for alias in node.names):
                titles[name] = _title(tree if len(node.names) == 1 else functions[name])
    return titles


def _title(node) -> str:
    return (ast.get_docstring(node) or "").split("\n")[0]
