"""The loop: resuming, interrupting, logging, and stopping where numbers end."""

import json
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny

from jssl.train import checkpoint, loop

TX = optax.sgd(0.01, momentum=0.9)


def fit(workdir=None, steps=10, method=None, stream=None, keep=3, **options):
    checkpoints = None
    if workdir is not None:
        checkpoints = checkpoint.Checkpoints(
            workdir / "checkpoints", keep=keep, identity={"method": "tiny"}
        )
    options = {"checkpoint_every": 3, "log_every": 2, "quiet": True} | options
    try:
        return loop.fit(
            method or tiny.method(),
            TX,
            stream or tiny.Stream(),
            steps=steps,
            workdir=workdir,
            checkpoints=checkpoints,
            **options,
        )
    finally:
        if checkpoints is not None:
            checkpoints.close()


def same(a, b):
    for x, y in zip(jax.tree.leaves(a[2:]), jax.tree.leaves(b[2:]), strict=True):
        np.testing.assert_array_equal(x, y)


def lines(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def test_interrupted_and_resumed_is_never_stopped_bit_for_bit(tmp_path):
    whole = fit(tmp_path / "whole")
    for number in (signal.SIGINT, signal.SIGTERM):
        workdir = tmp_path / str(number)

        def send(step, number=number):
            if step == 4:
                os.kill(os.getpid(), number)

        part = fit(workdir, stream=tiny.Stream(send))
        assert int(part.step) == 5  # the step under way is finished and saved
        same(fit(workdir), whole)
        assert [line["step"] for line in lines(workdir)] == [2, 4, 5, 6, 8, 10]


def test_a_crash_between_checkpoints_goes_on_from_the_last(tmp_path):
    whole = fit(tmp_path / "whole")

    def crash(step):
        if step == 7:
            raise OSError("pulled plug")

    with pytest.raises(OSError, match="pulled plug"):
        fit(tmp_path / "part", stream=tiny.Stream(crash))
    seen = []
    same(fit(tmp_path / "part", stream=tiny.Stream(seen.append)), whole)
    assert seen == [6, 6, 7, 8, 9]  # 6 is the checkpoint, asked for once more for its shapes
    assert [line["step"] for line in lines(tmp_path / "part")] == [2, 4, 5, 6, 8, 10]


def test_a_finished_run_does_nothing(tmp_path):
    whole = fit(tmp_path)
    seen = []
    same(fit(tmp_path, stream=tiny.Stream(seen.append)), whole)
    assert seen == [9]  # for its shapes


@pytest.mark.parametrize("log_every", [1, 4, 50])
def test_non_finite_loss_stops_with_step_checkpoint_and_batch(tmp_path, log_every):
    message = r"step 7 is not finite .*loss nan.*last good checkpoint: step 6.*non_finite_step_7"
    with pytest.raises(loop.NonFiniteError, match=message):
        fit(tmp_path, method=tiny.method(poison_at=7), log_every=log_every)
    saved = np.load(tmp_path / "non_finite_step_7.npz")
    np.testing.assert_array_equal(saved["x"], tiny.Stream().batch(7)["x"])
    kept = checkpoint.Checkpoints(tmp_path / "checkpoints", keep=3, identity={"method": "tiny"})
    assert kept.steps()[-1] == 6  # nothing was saved after it


def test_hooks_are_called_when_they_are_due(tmp_path, capsys):
    evaluated = []

    def evaluate(params, state):
        evaluated.append(int(state["count"]))
        return {"knn": 0.5}

    hooks = loop.Hooks(
        evaluate=evaluate,
        every=5,
        monitor=lambda params, state, batch: {"effective_rank": params["w"].sum() * 0 + 3},
        verdict=lambda values: "collapsed: for the test" if values["knn"] == 0.5 else None,
        learning_rate=lambda step: 0.01,
    )
    fit(tmp_path, hooks=hooks, quiet=False, steps=12)
    assert evaluated == [5, 10, 12]
    printed = capsys.readouterr().out
    assert "Epoch 1/3  loss" in printed
    assert "kNN 50.0 %" in printed
    assert "collapsed: for the test" in printed
    logged = lines(tmp_path)
    assert all(line["effective_rank"] == 3 for line in logged if "loss" in line)
    assert {line["step"] for line in logged if "knn" in line} == {5, 10, 12}
    assert logged[0]["learning_rate"] == pytest.approx(0.01)


def test_the_progress_line_shows_chance_beside_proxy_accuracy(tmp_path, capsys):
    method = tiny.method()

    def loss(*arguments):
        value, out = method.loss(*arguments)
        told = {"proxy_accuracy": jnp.float32(0.5), "chance": jnp.float32(0.25)}
        return value, out._replace(metrics=out.metrics | told)

    fit(tmp_path, method=method._replace(loss=loss), quiet=False)
    assert "proxy accuracy 50 %  chance 25 %" in capsys.readouterr().out


def test_metrics_are_means_since_the_last_line(tmp_path):
    fit(tmp_path / "one", log_every=1)
    fit(tmp_path / "five", log_every=5)
    one = {line["step"]: line["loss"] for line in lines(tmp_path / "one")}
    five = {line["step"]: line["loss"] for line in lines(tmp_path / "five")}
    for last in (5, 10):
        expected = np.mean([one[s] for s in range(last - 4, last + 1)])
        np.testing.assert_allclose(five[last], expected, rtol=1e-6)


def test_trace_is_written(tmp_path):
    fit(tmp_path, trace=(2, 4))
    assert list((tmp_path / "trace").rglob("*.xplane.pb"))


def test_a_half_written_line_is_dropped(tmp_path):
    fit(tmp_path, steps=6)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "lo')
    fit(tmp_path, steps=8)
    assert [line["step"] for line in lines(tmp_path)] == [2, 4, 5, 6, 8]
