import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jssl.evals.features import extract, extract_with
from jssl.method import Features

IMAGES = np.random.default_rng(0).integers(0, 256, (37, 4, 4, 3), dtype=np.uint8)
BATCH = {"image": IMAGES, "label": np.arange(37, dtype=np.int32)}
EXPECTED = IMAGES.astype(np.float32).mean((1, 2)) * 2


class Counted:
    """An encoder that counts how often it is traced, and for which batch sizes."""

    def __init__(self):
        self.sizes = []

    def __call__(self, scale, batch):
        self.sizes.append(len(batch["image"]))
        x = batch["image"].astype(jnp.float32)
        return Features(jnp.mean(x, axis=(1, 2)) * scale, None)


def pieces(sizes):
    start = 0
    for size in sizes:
        yield {key: value[start : start + size] for key, value in BATCH.items()}
        start += size


@pytest.mark.parametrize("batch_size", [1, 8, 37, 512])
def test_every_example_comes_back_once_in_order(batch_size):
    embed = Counted()
    got = extract(lambda batch: embed(2.0, batch), BATCH, batch_size)
    np.testing.assert_allclose(got, EXPECTED, rtol=1e-6)
    assert got.dtype == np.float32
    assert embed.sizes == [batch_size]


@pytest.mark.parametrize("sizes", [(16, 16, 5), (37,), (5, 16, 16), (20, 1, 16)])
def test_batches_of_any_sizes_are_traced_once(sizes):
    embed = Counted()
    got, kept = extract_with(lambda b: embed(2.0, b), pieces(sizes), ("label",), batch_size=16)
    np.testing.assert_allclose(got, EXPECTED, rtol=1e-6)
    np.testing.assert_array_equal(kept["label"], np.arange(37))
    assert embed.sizes == [min(16, sizes[0])]


def test_new_parameters_do_not_retrace_a_partial():
    embed = Counted()
    for scale in (2.0, 3.0):
        partial = jax.tree_util.Partial(embed, jnp.float32(scale))
        got = extract(partial, BATCH, 8)
        np.testing.assert_allclose(got, EXPECTED * (scale / 2), rtol=1e-6)
    assert embed.sizes == [8]


def test_low_precision_features_come_back_in_float32():
    def embed(batch):
        return Features(jnp.ones((len(batch["image"]), 2), jnp.bfloat16), None)

    assert extract(embed, BATCH, 8).dtype == np.float32


def test_sharded_over_all_devices_gives_the_same():
    devices = jax.device_count()
    mesh = jax.make_mesh((devices,), ("data",), axis_types=(AxisType.Auto,))
    seen = []

    def embed(batch):
        jax.debug.inspect_array_sharding(batch["image"], callback=seen.append)
        return Counted()(2.0, batch)

    sharding = NamedSharding(mesh, PartitionSpec("data"))
    got = extract(embed, BATCH, 8 * devices, sharding=sharding)
    np.testing.assert_allclose(got, EXPECTED, rtol=1e-6)
    assert seen[0].num_devices == devices


def test_ragged_or_empty_sources_are_refused():
    embed = Counted()
    with pytest.raises(ValueError, match=r"equally long, got \[3, 37\]"):
        extract(lambda b: embed(1.0, b), {**BATCH, "label": np.zeros(3)}, 8)
    with pytest.raises(ValueError, match="at least one example"):
        extract(lambda b: embed(1.0, b), [], 8)
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        extract(lambda b: embed(1.0, b), BATCH, 0)
