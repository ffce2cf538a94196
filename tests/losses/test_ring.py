"""The ring against the dense form: value, gradient, memory, products."""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from references.agreement import agree_when_split

from jssl.losses import contrastive, ring

QUEUE = np.random.default_rng(2).normal(size=(11, 6))
QUEUE /= np.linalg.norm(QUEUE, axis=1, keepdims=True)


def moco(a, b, **options):
    return contrastive.infonce_accuracy(a, b, jnp.asarray(QUEUE, a.dtype), **options)


def of_batch(x, axis_name=None):
    """A scalar that every device knows, as what is learned is."""
    return jnp.mean(x) if axis_name is None else jax.lax.pmean(jnp.mean(x), axis_name)


def clip(a, b, axis_name=None, **options):
    scale = of_batch(a, axis_name) + 9
    return contrastive.clip_accuracy(a, b, scale, axis_name=axis_name, **options)


def siglip(a, b, axis_name=None, **options):
    scale, bias = of_batch(a, axis_name) + 9, of_batch(b, axis_name) - 4
    return contrastive.siglip_accuracy(a, b, scale, bias, axis_name=axis_name, **options)


# Scale and bias are made of the inputs, so that their gradients are compared too.
LOSSES = {
    "ntxent": contrastive.ntxent_accuracy,
    "dcl": contrastive.decoupled_accuracy,
    "dclw": functools.partial(contrastive.decoupled_accuracy, sigma=0.5),
    "infonce": contrastive.infonce_accuracy,
    "infonce_queue": moco,
    "clip": clip,
    "siglip": siglip,
}
every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


def mesh_of(devices):
    return jax.make_mesh(
        (max(1, devices // 2), min(2, devices)),
        ("replica", "fsdp"),
        axis_types=(AxisType.Auto,) * 2,
        devices=jax.devices()[:devices],
    )


def views(n, d=6, devices=1, dtype=np.float64):
    """Partners alike enough for some to be the nearest, on the given devices."""
    rng = np.random.default_rng(n)
    a = rng.normal(size=(n, d))
    b = a + 0.7 * rng.normal(size=(n, d))
    split = NamedSharding(mesh_of(devices), PartitionSpec(("replica", "fsdp")))
    return [jax.device_put(jnp.asarray(x, dtype), split) for x in (a, b)]


def program(loss, **options):
    """Value, accuracy and the gradient by both inputs, compiled as one."""
    f = functools.partial(loss, **options)
    return jax.jit(jax.value_and_grad(f, argnums=(0, 1), has_aux=True))


def close(got, expected, rtol=1e-12):
    for x, y in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        x, y = np.asarray(x), np.asarray(y)
        assert np.max(np.abs(x - y)) <= rtol * np.max(np.abs(y)), np.max(np.abs(x - y))


@functools.cache
def dense(loss):
    return jax.device_get(program(loss, loss_impl="dense")(*views(48)))


@pytest.fixture
def in_chunks(monkeypatch):
    """Chunks of five columns, which divide nothing here."""
    monkeypatch.setattr(ring, "chunk_of", lambda rows, columns: min(columns, 5))


@every_loss
@pytest.mark.usefixtures("x64", "in_chunks")
class TestEqual:
    @pytest.mark.parametrize("devices", [1, 2, 8])
    def test_the_dense_form(self, loss, devices):
        expected = dense(loss)
        assert 0.1 < expected[0][1] < 1
        got = program(loss, loss_impl="ring")(*views(48, devices=devices))
        close(got, expected)

    def test_without_a_mesh(self, loss):
        """As on a laptop, where nothing says where arrays are."""
        inputs = [jnp.asarray(np.asarray(x)) for x in views(14)]
        close(program(loss, loss_impl="ring")(*inputs), program(loss, loss_impl="dense")(*inputs))

    def test_within_shard_map(self, loss):
        """``axis_name`` given, as in the dense form; the accuracy is the whole batch's too."""
        a, b = map(np.asarray, views(16))
        agree_when_split(lambda a, b, **options: sum(loss(a, b, loss_impl="ring", **options)), a, b)


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "infonce_queue"])
def test_the_largest_array_is_not_the_matrix(name, monkeypatch):
    """Temporaries of the compiled gradient, a device: at 4 times the batch not 16 times as much."""
    monkeypatch.setattr(ring, "BLOCK", 1)  # the narrowest chunks

    def temporaries(n, loss_impl):
        inputs = views(n, d=8, devices=8, dtype=np.float32)
        compiled = program(LOSSES[name], loss_impl=loss_impl).lower(*inputs).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert temporaries(8192, "ring") < 5 * temporaries(2048, "ring")
    assert temporaries(8192, "ring") < temporaries(8192, "dense") / 5


@pytest.mark.parametrize("name", ["ntxent", "infonce", "clip", "siglip"])
def test_compiled_flops(name, monkeypatch):
    """At most 1.4 times the dense form's.

    A loop's body is counted once, so loops are unrolled; forward and backward are compiled apart,
    as XLA would else find the same products in both, which it does not across loops.
    """
    monkeypatch.setattr(ring, "chunk_of", lambda rows, columns: columns // 2)
    monkeypatch.setattr(jax.lax, "scan", functools.partial(jax.lax.scan, unroll=True))
    inputs = views(64, d=512, devices=8, dtype=np.float32)
    ring_loss = functools.partial(LOSSES[name], loss_impl="ring")
    forward = jax.jit(lambda *inputs: jax.vjp(ring_loss, *inputs, has_aux=True))
    backward = jax.jit(lambda pull: pull(jnp.float32(1)))

    def flops(program, *inputs):
        return program.lower(*inputs).compile().cost_analysis()["flops"]

    dense = flops(program(LOSSES[name], loss_impl="dense"), *inputs)
    both = flops(forward, *inputs) + flops(backward, forward(*inputs)[1])
    assert 0.9 < both / dense < 1.4


class TestChoice:
    def test_auto_takes_the_ring_above_one_gibibyte_a_device(self):
        def chosen(n, devices, **options):
            """Whether the gradient's program holds the loop of the ring."""
            split = NamedSharding(mesh_of(devices), PartitionSpec(("replica", "fsdp")))
            z = jax.ShapeDtypeStruct((n, 4), jnp.float32, sharding=split)
            program = jax.jit(functools.partial(contrastive.ntxent, **options)).trace(z, z)
            return "scan" in str(program.jaxpr)

        assert not chosen(8192, 1)  # 16384 views: 1 GiB
        assert chosen(8320, 1)
        assert not chosen(8320, 8)
        assert chosen(24576, 8)
        assert not chosen(24576, 8, loss_impl="dense")
        assert chosen(8, 8, loss_impl="ring")

    def test_one_line_for_what_cannot_be(self):
        z = jnp.ones((8, 4))
        with pytest.raises(ValueError, match="loss_impl must be one of auto, dense, ring, got 'x'"):
            contrastive.ntxent(z, z, loss_impl="x")
        with (
            jax.set_mesh(mesh_of(8)),
            pytest.raises(
                ValueError, match="rows of a ring loss must be a multiple of the 8 devices, got 12"
            ),
        ):
            jax.jit(functools.partial(contrastive.clip, scale=1.0, loss_impl="ring"))(
                jnp.ones((12, 4)), jnp.ones((12, 4))
            )

    def test_equal_views_find_nobody(self):
        """A collapse: of equal logits the first counts, in whatever order the blocks come."""
        for loss in (contrastive.ntxent_accuracy, contrastive.infonce_accuracy, clip, siglip):
            a, b = (jnp.ones_like(x) for x in views(16, devices=8, dtype=np.float32))
            expected = program(loss, loss_impl="dense")(a, b)[0]
            np.testing.assert_allclose(
                program(loss, loss_impl="ring")(a, b)[0], expected, rtol=1e-6
            )


@pytest.mark.long
def test_a_million_examples_fit_a_pod(tmp_path):
    """A process of its own, since libtpu is one's alone and warns."""
    pytest.importorskip("libtpu", reason="compiling for a pod needs libtpu")
    root = Path(__file__).parents[2]
    out = tmp_path / "ring.json"
    command = [sys.executable, root / "benchmarks" / "ring.py", "--out", out]
    subprocess.run(command, check=True, cwd=root, env=os.environ | {"XLA_FLAGS": ""})
    rows = json.loads(out.read_text())["a_chip"]
    assert rows.keys() == {"ntxent", "infonce", "clip", "siglip"}
    for row in rows.values():
        assert row["temporaries"] < 2 * 2**30 < row["dense_logits"]
        assert 0.9 < row["flops_over_dense"] <= 1.4
