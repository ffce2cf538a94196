"""``--input``: what a verb is given beside a run's own data."""

from jssl import data
from jssl.cli import runs


def open_input(trained, arguments):
    """What ``--input`` names, made to be like the data of the run."""
    kinds = {"image": "folder", "tokens": "text", "signal": "audio"}
    kinds |= {"series": "series", "row": "table"}
    kind = next(kinds[name] for name in trained.facts["example"] if name in kinds)
    given, _, _ = arguments.input.partition(":")
    spec = arguments.input if given in data.KINDS else f"{kind}:{arguments.input}"
    of = spec.partition(":")[0]
    if (of if of in kinds.values() else "folder") != kind:
        are = {"text": "texts", "folder": "images", "audio": "recordings", "table": "tables"}
        are = are.get(kind, kind)
        raise ValueError(f"{arguments.workdir} is a run on {are}: --input can only be of {are}")
    with trained.config.unlocked(), trained.config.ignore_type():
        section = trained.config.data
        if kind == "audio" and spec != section.source:  # other names, of which nothing is known
            section.pattern = section.held = None
        section.source, section.eval_source = spec, None
        if kind == "folder":
            shape, _ = trained.facts["example"]["image"]
            section.size, section.channels = section.size or min(shape[:2]), shape[2]
        if kind in ("series", "table"):
            section.training = 1.0  # all of it
    source = runs.open_data(trained.config, arguments.split, pack=False)
    if kind == "table":
        source.reader.read_like(trained.facts["table"])
    columns = trained.facts.get("series", {}).get("columns")
    if kind == "series" and list(source.reader.columns) != columns:
        raise ValueError(
            f"--input has channels {', '.join(source.reader.columns)}, the run is on "
            f"{', '.join(columns)}"
        )
    return source


def names(source, examples) -> list[str]:
    """The file names of examples, or their numbers."""
    known = source.names or [str(i) for i in range(len(source))]
    return [known[i] for i in examples["index"]]
