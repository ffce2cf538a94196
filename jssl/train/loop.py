"""The train loop: steps, metrics, checkpoints and interruptions, for any method."""

import dataclasses
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from jax.experimental import multihost_utils

from jssl import require
from jssl.method import Method, PyTree
from jssl.train import processes, shard
from jssl.train import step as train_step
from jssl.train.checkpoint import Checkpoints
from jssl.train.log import Log


class NonFiniteError(RuntimeError):
    """The loss or its gradient is no longer a number."""


@dataclasses.dataclass(frozen=True)
class Hooks:
    """What a run does beside training, each optional.

    evaluate: ``(params, state) -> dict`` of floats, after every ``every`` steps: kNN accuracy as
      ``knn`` decides which checkpoint is the best.
    every: steps between evaluations.
    monitor: ``(params, state, batch) -> dict`` of scalars, jitted here and run at every log line:
      the collapse monitor.
    verdict: ``metrics -> str | None``, a sentence for the progress line where something is wrong.
    learning_rate: the schedule, for the log.
    """

    evaluate: Callable[[PyTree, PyTree], dict[str, float]] | None = None
    every: int = 0
    monitor: Callable[[PyTree, PyTree, Any], dict[str, jax.Array]] | None = None
    verdict: Callable[[dict[str, float]], str | None] | None = None
    learning_rate: Callable[[int], Any] | None = None


def fit(
    method: Method,
    tx: optax.GradientTransformation,
    stream,
    *,
    steps: int,
    seed: int = 0,
    accumulate: int = 1,
    mesh: jax.sharding.Mesh | None = None,
    workdir: str | Path | None = None,
    checkpoints: Checkpoints | None = None,
    checkpoint_every: int = 0,
    log_every: int = 50,
    trace: tuple[int, int] | None = None,
    hooks: Hooks = Hooks(),
    quiet: bool = False,
) -> train_step.TrainState:
    """Trains, from the newest checkpoint where there is one.

    Args:
      method: the pretext task.
      tx: the optimizer.
      stream: ``batch(step)``, ``steps_per_epoch``, ``batch_size`` and ``state()``.
      steps: of the whole run, those of an earlier process included.
      seed: of initialisation and of every random draw.
      accumulate: parts in which a batch passes, see `jssl.train.step.make_step`.
      mesh: of devices; all of them by default.
      workdir: for metrics, traces and the batch of a non-finite loss; None writes nothing.
      checkpoints: where to save and to go on from; None does neither.
      checkpoint_every: steps between checkpoints; 0 is once an epoch. The last step always is.
      log_every: steps between log lines, at which metrics come to the host.
      trace: write a profile of steps A to B, B excluded, into ``workdir/trace``.
      hooks: evaluation, collapse monitor.
      quiet: no progress line.

    Returns:
      The last train state. Its step is less than ``steps`` where SIGINT or SIGTERM came in
      between: the state is then saved and returned.

    Raises:
      NonFiniteError: if loss or gradient are not finite; names step, checkpoint and saved batch.
    """
    mesh = mesh or shard.make_mesh()
    run = _Run(method, stream, workdir, checkpoints, hooks, steps, mesh)
    train = run.start(tx, seed)
    begin = int(train.step)
    run.open_log(begin, quiet)
    step_fn = jax.jit(
        train_step.make_step(method, tx, accumulate),
        donate_argnums=0,
        out_shardings=(run.shardings, shard.replicated(mesh)),
    )
    trace_step(step_fn, train, run.batch)
    per_epoch = stream.steps_per_epoch
    checkpoint_every = checkpoint_every or per_epoch
    with _Interrupt() as interrupt:
        try:
            for done in range(begin + 1, steps + 1):
                if trace and done - 1 == trace[0] and workdir is not None:
                    jax.profiler.start_trace(str(Path(workdir) / "trace"))
                batch = stream.batch(done - 1)
                train, metrics = step_fn(train, batch)
                run.collect(done, metrics)
                if trace and done == trace[1] and workdir is not None:
                    jax.block_until_ready(train)
                    jax.profiler.stop_trace()
                asked = interrupt.asked(done)
                stop = done == steps or asked
                evaluate = hooks.every > 0 and (done % hooks.every == 0 or done == steps)
                if done % log_every == 0 or done % per_epoch == 0 or stop:
                    run.log(done, train, batch)
                if evaluate and not asked:
                    run.evaluate(done, train)
                if done % per_epoch == 0 or done == steps:
                    run.say_epoch(done)
                if done % checkpoint_every == 0 or evaluate or stop:
                    run.save(done, train)
                if stop:
                    break
        except BaseException:
            run.close(seal=jax.process_count() == 1)
            raise
        run.close()
    return train


def trace_init(method, tx, seed, batch) -> tuple[Callable[[PyTree], PyTree], PyTree]:
    """The function of a batch that gives the first state, and what it will be like."""

    def first(batch):
        return train_step.init(method, tx, seed, batch)

    with require.options_that_fit("the first state"):
        return first, jax.eval_shape(first, batch)


def trace_step(step_fn, train, batch) -> None:
    """Traces the jitted step, as its first call would, so that options are refused by then."""
    with require.options_that_fit("the train step"):
        step_fn.eval_shape(train, batch)


class _Run:
    """What the loop carries on the host: pending metrics, the clock, files."""

    def __init__(self, method, stream, workdir, checkpoints, hooks, steps, mesh):
        self.method, self.stream, self.hooks = method, stream, hooks
        self.workdir = None if workdir is None else Path(workdir)
        self.checkpoints, self.steps, self.mesh = checkpoints, steps, mesh
        self.monitor = None
        if hooks.monitor:
            self.monitor = jax.jit(hooks.monitor, out_shardings=shard.replicated(mesh))
        self.pending, self.unlogged, self.last, self.saved = [], [], {}, None

    def start(self, tx, seed):
        """The newest checkpoint's state, or the first."""

        # Only its shapes count; the batch that comes next is the cheapest to ask for.
        newest = (self.checkpoints.steps() if self.checkpoints else [])[-1:]
        batch = self.batch = self.stream.batch(min(newest[0] if newest else 0, self.steps - 1))
        first, abstract = trace_init(self.method, tx, seed, batch)
        self.shardings = shard.state_sharding(self.mesh, abstract)
        abstract = jax.tree.map(
            lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
            abstract,
            self.shardings,
        )
        found = self.checkpoints.restore(abstract) if self.checkpoints else None
        if found is None:
            return jax.jit(first, out_shardings=self.shardings)(batch)
        train, data = found
        self.stream.restore(data)
        self.saved = int(train.step)
        return train

    def open_log(self, begin, quiet):
        self.logger = Log(
            self.workdir if jax.process_index() == 0 else None,
            steps=self.steps,
            steps_per_epoch=self.stream.steps_per_epoch,
            start=begin,
            quiet=quiet or jax.process_index() != 0,
        )
        if begin >= self.steps:
            self.logger.say(f"Finished already, at step {begin}: there is nothing left to train")
        elif begin:
            self.logger.say(f"Going on from the checkpoint of step {begin} of {self.steps}")
        self.clock, self.clock_step, self.begin = time.perf_counter(), begin, begin

    def collect(self, done, metrics):
        self.pending.append(metrics)
        if done == self.begin + 1:
            # The first step compiles; the clock counts from the second.
            jax.block_until_ready(metrics)
            self.clock, self.clock_step = time.perf_counter(), done

    def fetch(self, done):
        """Brings the metrics of the steps up to this one to the host and checks them."""
        fetched, self.pending = jax.device_get(self.pending), []
        for step, metrics in enumerate(fetched, done - len(fetched)):
            if not np.isfinite(metrics["loss"]) or not np.isfinite(metrics["grad_norm"]):
                self._non_finite(step, metrics)
        self.unlogged += fetched

    def log(self, done, train, batch):
        """Writes the mean of the metrics since the last line."""
        self.fetch(done)
        means, self.unlogged = self.unlogged, []
        values = {name: float(np.mean([m[name] for m in means])) for name in means[0]}
        now = time.perf_counter()
        if done > self.clock_step:
            rate = (done - self.clock_step) / max(now - self.clock, 1e-9)
            values["examples_per_second"] = rate * self.stream.batch_size
            values["seconds_left"] = (self.steps - done) / rate if rate else 0.0
        if self.hooks.learning_rate is not None:
            values["learning_rate"] = float(self.hooks.learning_rate(done - 1))
        if self.monitor is not None:
            monitored = jax.device_get(self.monitor(train.params, train.state, batch))
            values |= {name: float(value) for name, value in monitored.items()}
        self.logger.metrics(done, values)
        self.last |= values
        self.clock, self.clock_step = time.perf_counter(), done

    def evaluate(self, done, train):
        values = self.hooks.evaluate(train.params, train.state)
        self.logger.metrics(done, values)
        self.last |= values
        self.clock = time.perf_counter()

    def say_epoch(self, done):
        shown = {k: v for k, v in self.last.items() if k != "seconds_left" or done < self.steps}
        self.logger.epoch(done, shown)
        verdict = self.hooks.verdict(self.last) if self.hooks.verdict else None
        if verdict:
            self.logger.say(f"  {verdict}")

    def save(self, done, train):
        knn = self.last.pop("knn", None)
        if self.checkpoints is None:
            return
        self.fetch(done)  # nothing is saved before its loss is known to be a number
        self.checkpoints.save(done, train, data=self.stream.state(), knn=knn)
        self.saved = done

    def _non_finite(self, step, metrics):
        values = ", ".join(f"{k} {float(v)}" for k, v in metrics.items())
        message = f"step {step} is not finite ({values})"
        saved = "none" if self.saved is None else f"step {self.saved}"
        message += f"; last good checkpoint: {saved}"
        if self.workdir is not None:
            path = self.workdir / f"non_finite_step_{step}.npz"
            batch = processes.whole(self.stream.batch(step), self.mesh)
            batch = jax.tree_util.tree_flatten_with_path(batch)[0]
            if jax.process_index() == 0:
                np.savez(path, **{jax.tree_util.keystr(p, simple=True): x for p, x in batch})
            message += f"; its batch is saved in {path}"
        raise NonFiniteError(message)

    def close(self, seal=True):
        # After an error of one of several processes the others may be gone: none waits for them.
        if self.checkpoints is not None and seal:
            self.checkpoints.seal()
        self.logger.close()


class _Interrupt:
    """Remembers SIGINT and SIGTERM, so that a step is finished and saved before the run ends.

    Of several processes any may be told. JAX's own service, to which SIGTERM is left, then names
    the same step to all of them.
    """

    def __enter__(self):
        self.signal = None
        self._together = jax.process_count() > 1
        self._old = {}
        for number in (signal.SIGINT,) if self._together else (signal.SIGINT, signal.SIGTERM):
            try:
                self._old[number] = signal.signal(number, self._note)
            except ValueError:  # not the main thread, as in some notebooks
                break
        return self

    def _note(self, number, frame):
        if self.signal is not None:
            raise KeyboardInterrupt  # asked twice: stop now
        self.signal = number
        if self._together:
            os.kill(os.getpid(), signal.SIGTERM)

    def asked(self, done):
        """Whether to stop after this step; to be called at each."""
        if self._together:
            return multihost_utils.reached_preemption_sync_point(done)
        return self.signal is not None

    def __exit__(self, *exception):
        for number, handler in self._old.items():
            signal.signal(number, handler)
