"""``--input``: the images, texts or recordings that a verb is given."""

from jssl import data
from jssl.cli import runs


def open_input(trained, arguments):
    """The images, texts or recordings of ``--input``, made to be like those of the run."""
    kinds = {"image": "folder", "tokens": "text", "signal": "audio"}
    kind = next(kinds[name] for name in trained.facts["example"] if name in kinds)
    given, _, _ = arguments.input.partition(":")
    spec = arguments.input if given in data.KINDS else f"{kind}:{arguments.input}"
    of = spec.partition(":")[0]
    if (of if of in kinds.values() else "folder") != kind:
        are = {"text": "texts", "folder": "images", "audio": "recordings"}[kind]
        raise ValueError(f"{arguments.workdir} is a run on {are}: --input can only be of {are}")
    with trained.config.unlocked(), trained.config.ignore_type():
        section = trained.config.data
        if kind == "audio" and spec != section.source:  # other names, of which nothing is known
            section.pattern = section.held = None
        section.source, section.eval_source = spec, None
        if kind == "folder":
            shape, _ = trained.facts["example"]["image"]
            section.size, section.channels = section.size or min(shape[:2]), shape[2]
    return runs.open_data(trained.config, arguments.split, pack=False)


def names(source, examples) -> list[str]:
    """The file names of examples, or their numbers."""
    known = source.names or [str(i) for i in range(len(source))]
    return [known[i] for i in examples["index"]]
