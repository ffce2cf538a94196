"""A run that begins from another's checkpoint, on other data or for another task."""

from pathlib import Path

import jax

from jssl import require
from jssl.cli import build, runs
from jssl.cli.config import read_json
from jssl.method import Method, Vars
from jssl.nn import forward, transfer

WHAT = ("encoder", "all")


def begin(workdir: Path, config, facts: dict, method: Method) -> tuple[dict | None, Method]:
    """What a run began from, as is recorded of it, and its method, whose ``init`` gives that.

    A run that goes on has it all in its own checkpoint: the folder it began from is not needed.

    Args:
      workdir: of this run.
      config: with the folder of the other as ``init_from`` (None: the method is left alone), and
        with ``init_what``: its ``encoder``, as the other's ``embed`` applies it, or ``all`` of its
        parameters and state. The optimizer begins anew either way.
      facts: those of this run's data.
      method: of this run.

    Raises:
      ValueError: if the folder holds no checkpoint, or one that does not fit.
    """
    if config.init_from is None:
        return None, method
    require.one_of(WHAT, init_what=config.init_what)
    file = workdir / "data.json"
    if file.exists() and runs.checkpoints(workdir, config).steps():
        return read_json(file).get("init_from"), method
    other = runs.load(Path(config.init_from))
    _refuse(config.init_from, other.facts["example"], facts["example"])
    # By way of the host: the mesh of that run is not this one's.
    learned = jax.device_get(Vars(other.train.params, other.train.state))
    record = {
        "run": str(config.init_from),
        "what": config.init_what,
        "method": other.config.method.name,
        "step": int(other.train.step),
        "sha256": runs.sha256(learned._asdict()),
    }
    if config.init_what == "encoder":
        learned = jax.device_get(_encoder(other.method, other.config, other.facts, learned))

    def init(key, batch):
        begun = method.init(key, batch)
        if config.init_what == "all":
            return transfer.with_all(begun, learned)
        like = jax.eval_shape(lambda: _encoder(method, config, facts, begun))
        return transfer.with_encoder(begun, learned, like)

    try:
        jax.eval_shape(init, jax.random.key(0), runs.example(facts))
    except ValueError as error:
        hint = (
            ""
            if config.init_what == "encoder"
            else "; init_what=encoder asks for the encoder alone"
        )
        raise ValueError(f"init_from={config.init_from} {error}{hint}") from error
    return record, method._replace(init=init)


def _refuse(folder, theirs, ours):
    names = {"image": "images", "signal": "recordings", "series": "series", "row": "tables"}
    kinds = [
        next((name for key, name in names.items() if key in example), "texts")
        for example in (theirs, ours)
    ]
    if kinds[0] != kinds[1]:
        raise ValueError(f"init_from={folder} was trained on {kinds[0]}, these are {kinds[1]}")
    if kinds[0] == "images":
        channels = [example["image"][0][2] for example in (theirs, ours)]
        if channels[0] != channels[1]:
            raise ValueError(
                f"init_from={folder} was trained on images of {channels[0]} "
                f"channel{'s' * (channels[0] > 1)}, these have {channels[1]}: "
                f"give data.channels={channels[0]}"
            )


def _encoder(method, config, facts, variables):
    """The variables of a method's encoder."""
    kind = build.encoder(config, facts)
    return forward.variables_within(method.embed, kind, *variables, runs.example(facts))
