"""Checkpoints that survive: asynchronous, atomic, verified, and refused where they do not fit."""

import contextlib
import hashlib
import json
import logging
import shutil
from pathlib import Path

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN

from jssl.method import PyTree
from jssl.train import processes

MANIFEST = "sha256.json"


class MismatchError(ValueError):
    """A checkpoint of another method, shape or type than this run's."""


class WriteError(RuntimeError):
    """A checkpoint could not be written; those before it are untouched."""


class Checkpoints:
    """The checkpoints of one run folder.

    Args:
      directory: where they lie, a folder a step.
      keep: how many of the newest stay; the best by kNN accuracy stays beside them.
      identity: what a checkpoint must agree on to be continued, such as the method's name;
        text by key.

    orbax writes and commits atomically, so a killed run leaves whole checkpoints or none. It does
    not notice a byte that changed afterwards, so each finished checkpoint is sealed with the
    SHA-256 of its files, and checked before it is read.
    """

    def __init__(self, directory: str | Path, *, keep: int = 3, identity: dict[str, str]):
        """Opens the folder, made if absent."""
        if keep < 1:
            raise ValueError(f"checkpoint.keep must be at least 1, got {keep}")
        self._directory = Path(directory).absolute()
        self._identity = dict(identity)
        self._keep, self._writing = keep, None
        self._manager = self._open()

    def _open(self):
        best = BestN(
            get_metric_fn=lambda metrics: metrics["knn"],
            n=1,
            keep_checkpoints_without_metrics=False,
        )
        options = ocp.CheckpointManagerOptions(
            preservation_policy=AnyPreservationPolicy([LatestN(self._keep), best]),
            cleanup_tmp_directories=True,
        )
        return ocp.CheckpointManager(self._directory, options=options)

    def steps(self) -> list[int]:
        """The steps of which there is a checkpoint, oldest first."""
        return sorted(self._manager.all_steps())

    def save(self, step: int, train: PyTree, *, data: dict, knn: float | None = None) -> None:
        """Starts to write the train state; returns as soon as the arrays are copied off.

        Args:
          step: its step; nothing is written where that step is there already.
          train: a tree of arrays.
          data: the position in the data, as JSON.
          knn: accuracy at this step where it was measured, by which the best is chosen.

        Raises:
          WriteError: if this one, or the one before it, cannot be written.
        """
        if step in self._manager.all_steps():
            return
        self.seal()
        info = {"identity": self._identity, "arrays": _describe(train), "data": data}
        self._writing = step
        with self._naming():
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    train=ocp.args.StandardSave(train), info=ocp.args.JsonSave(info)
                ),
                metrics=None if knn is None else {"knn": float(knn)},
            )

    @contextlib.contextmanager
    def _naming(self):
        """Whatever goes wrong while a checkpoint is written, in one line that names it."""
        try:
            yield
        except jax.errors.JaxRuntimeError:
            raise
        except Exception as error:
            where = f"checkpoint {self._writing} in {self._directory}"
            reason = " ".join(str(error).split())
            if len(reason) > 300:  # which file it was comes first, the cause last
                reason = f"... {reason[-300:]}"
            kept = self.steps()[-1:] or ["none"]
            raise WriteError(
                f"{where} cannot be written (the last good one: {kept[0]}): {reason}"
            ) from error

    def seal(self) -> None:
        """Waits for the write under way and records the SHA-256 of every finished file.

        Raises:
          WriteError: if it cannot be written.
        """
        with self._naming():
            self._manager.wait_until_finished()
            self._write_digests()

    def _write_digests(self):
        if jax.process_index() != 0:
            return
        for step in self._manager.all_steps():
            manifest = self._directory / str(step) / MANIFEST
            if not manifest.exists():
                text = json.dumps(_digests(manifest.parent))
                partial = manifest.with_suffix(".partial")
                partial.write_text(text)
                partial.rename(manifest)

    def restore(self, abstract: PyTree, step: int | None = None) -> tuple[PyTree, dict] | None:
        """The newest whole checkpoint as ``(train, data)``, or None where there is none.

        Args:
          abstract: a tree of ``jax.ShapeDtypeStruct`` with shardings, of this run's state.
          step: this one instead of the newest.

        A damaged checkpoint is named in a warning, put aside, and the one before it is taken.

        Raises:
          MismatchError: if the checkpoint is of another method, shape or type.
          ValueError: if the step asked for is not there, or is damaged.
        """
        if step is not None and step not in self.steps():
            raise ValueError(f"no checkpoint of step {step}; there are {self.steps()}")
        for candidate in reversed(self.steps()) if step is None else [step]:
            reason = self._damage(candidate) if jax.process_index() == 0 else None
            reason = processes.said_by_first(reason)
            if reason is None:
                return self._read(candidate, abstract)
            if step is not None:
                raise ValueError(f"checkpoint {candidate} is damaged ({reason})")
            self._put_aside(candidate, reason)
        return None

    def _read(self, step, abstract):
        info = json.loads((self._directory / str(step) / "info" / "metadata").read_text())
        self._refuse(step, info, abstract)
        args = ocp.args.Composite(train=ocp.args.StandardRestore(abstract))
        return self._manager.restore(step, args=args).train, info["data"]

    def _damage(self, step) -> str | None:
        folder = self._directory / str(step)
        try:
            sealed = json.loads((folder / MANIFEST).read_text())
        except FileNotFoundError:
            # Killed between commit and seal: orbax's commit vouches for it.
            return None
        except ValueError:
            return f"{MANIFEST} cannot be read"
        found = _digests(folder)
        for name, digest in sealed.items():
            if name not in found:
                return f"{name} is missing"
            if found[name] != digest:
                return f"{name} has changed"
        return None

    def _put_aside(self, step, reason):
        aside = self._directory.with_name(self._directory.name + "_damaged") / str(step)
        if jax.process_index() == 0:
            logging.warning("checkpoint %d is damaged (%s): put aside as %s", step, reason, aside)
            shutil.rmtree(aside, ignore_errors=True)
            aside.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(self._directory / str(step), aside)
        processes.said_by_first(None)  # it has been moved
        self._manager.close()
        self._manager = self._open()

    def _refuse(self, step, info, abstract):
        where = f"checkpoint {step} in {self._directory}"
        for key, mine in self._identity.items():
            theirs = info["identity"].get(key)
            if theirs != mine:
                raise MismatchError(f"{where} is of {key} {theirs}, this run is of {key} {mine}")
        theirs, mine = info["arrays"], _describe(abstract)
        for name in mine.keys() | theirs.keys():
            if theirs.get(name) != mine.get(name):
                raise MismatchError(
                    f"{where} has {name} as {theirs.get(name, 'absent')}, "
                    f"this run needs {mine.get(name, 'absent')}"
                )

    def close(self) -> None:
        """Finishes and seals what is being written."""
        self.seal()
        self._manager.close()


def _describe(tree) -> dict[str, str]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): f"{leaf.dtype}{list(leaf.shape)}"
        for path, leaf in leaves
    }


def _digests(folder: Path) -> dict[str, str]:
    digests = {}
    for file in sorted(folder.rglob("*")):
        if file.is_file() and not file.name.startswith(MANIFEST.split(".")[0]):
            with file.open("rb") as stream:
                digests[str(file.relative_to(folder))] = hashlib.file_digest(
                    stream, "sha256"
                ).hexdigest()
    return digests
