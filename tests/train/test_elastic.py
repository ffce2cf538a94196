"""A run saved on eight devices goes on on two and on one: the same numbers, the same examples."""

import json
import shutil

import jax
import numpy as np
import optax
import pytest

from jssl import data
from jssl.method import Features, Method, Out, Vars
from jssl.train import checkpoint, loop, shard

STEPS, BATCH, LIMIT = 8, 8, 50
TX = optax.sgd(0.05, momentum=0.9)


def method():
    """Two layers that are to give a noisy image back; large enough to be split over devices."""

    def init(key, batch):
        size = batch["image"][0].size
        k1, k2 = jax.random.split(key)
        params = {
            "in": jax.random.normal(k1, (size, 128)) / size**0.5,
            "out": jax.random.normal(k2, (128, size)) / 128**0.5,
        }
        return Vars(params, {"mean": jax.numpy.zeros(128)})

    def views(key, batch):
        x = batch["image"].reshape(len(batch["image"]), -1).astype("float32") / 255
        return x, x + 0.1 * jax.random.normal(key, x.shape)

    def loss(params, state, views, key, step):
        h = jax.nn.relu(views[1] @ params["in"])
        value = jax.numpy.mean((h @ params["out"] - views[0]) ** 2)
        state = {"mean": 0.9 * state["mean"] + 0.1 * h.mean(0)}
        return value, Out(state, {"loss": value})

    def embed(params, state, batch):
        return Features(views(jax.random.key(0), batch)[0] @ params["in"], None)

    return Method(init, views, loss, lambda params, state, step: state, embed)


class Recorded:
    """A stream that keeps the numbers of the examples taken, and can be cut off after a step."""

    def __init__(self, sharding, until):
        self.stream = data.open_stream(
            data.open_source("bundled", limit=LIMIT), BATCH, seed=1, sharding=sharding
        )
        self.taken, self.until = {}, until

    def __getattr__(self, name):
        return getattr(self.stream, name)

    def batch(self, step):
        if step >= self.until:
            raise OSError("pulled plug")
        batch = self.stream.batch(step)
        self.taken[step] = np.asarray(batch["index"]).tolist()
        return batch


def train(folder, devices, fsdp, until=STEPS):
    mesh = shard.make_mesh(fsdp, jax.devices()[:devices])
    store = checkpoint.Checkpoints(folder / "checkpoints", identity={"method": "two layers"})
    stream = Recorded(shard.batch_sharding(mesh), until)
    try:
        state = loop.fit(
            method(), TX, stream, steps=STEPS, mesh=mesh, workdir=folder, checkpoints=store,
            checkpoint_every=4, log_every=1, quiet=True,
        )  # fmt: skip
    except OSError:
        state = None
    finally:
        store.close()
        stream.close()
    return jax.device_get(state), stream.taken


def losses(folder):
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [line["loss"] for line in lines]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run on eight devices, the examples it took, and one cut off after its fifth step."""
    folder = tmp_path_factory.mktemp("elastic")
    state, examples = train(folder / "whole", 8, 4)
    cut, _ = train(folder / "cut", 8, 4, until=5)
    assert cut is None
    return folder, state, examples


@pytest.mark.xdist_group("elastic")
@pytest.mark.parametrize("fewer", [2, 1])
def test_saved_on_eight_devices_and_continued_on_fewer(whole, tmp_path, fewer):
    folder, expected, examples = whole
    shutil.copytree(folder / "cut", tmp_path / "cut")
    state, taken = train(tmp_path / "cut", fewer, fewer)
    assert len(losses(tmp_path / "cut")) == STEPS
    np.testing.assert_allclose(losses(tmp_path / "cut"), losses(folder / "whole"), rtol=1e-6)
    trees = ((t.step, t.params, t.state, t.opt_state) for t in (state, expected))
    for x, y in zip(*map(jax.tree.leaves, trees), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-6, atol=1e-6)
    # It goes on behind the checkpoint of step 4, with the examples that the epoch has left.
    assert taken == {step: examples[step] for step in range(4, STEPS)}
    epoch = [examples[step] for step in range(LIMIT // BATCH)]
    assert len(set().union(*epoch)) == len(epoch) * BATCH
