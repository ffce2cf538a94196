"""Checkpoints: kept, verified, put aside when damaged, refused when they do not fit."""

import resource
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.train import checkpoint, shard

TREE = {
    "params": {"w": jax.random.normal(jax.random.key(1), (64, 64)), "b": jnp.ones(3, jnp.bfloat16)},
    "key": jax.random.key(2),
    "step": jnp.asarray(7, jnp.int32),
}


def store(path, keep=2, **identity):
    return checkpoint.Checkpoints(
        path / "checkpoints", keep=keep, identity={"method": "simclr"} | identity
    )


def abstract(tree=TREE, fsdp=1):
    mesh = shard.make_mesh(fsdp)
    return jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
        tree,
        shard.state_sharding(mesh, tree, min_size=16),
    )


def assert_same(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


def test_round_trip_onto_another_sharding(tmp_path):
    saved = store(tmp_path)
    saved.save(5, TREE, data={"position": 3})
    saved.close()
    train, data = store(tmp_path).restore(abstract(fsdp=4))
    assert_same(train, TREE)
    assert data == {"position": 3}
    assert train["params"]["w"].addressable_shards[0].data.size == 64 * 64 // 4


def test_nothing_to_restore(tmp_path):
    assert store(tmp_path).restore(abstract()) is None


def test_keeps_the_newest_and_the_best(tmp_path):
    saved = store(tmp_path, keep=2)
    for step, knn in ((1, 0.3), (2, 0.9), (3, None), (4, 0.5), (5, None), (6, 0.4)):
        saved.save(step, TREE, data={}, knn=knn)
    saved.close()
    assert store(tmp_path).steps() == [2, 5, 6]


@pytest.mark.parametrize("harm", ["flip", "cut", "remove"])
def test_a_damaged_newest_is_named_and_the_one_before_is_used(tmp_path, caplog, harm):
    saved = store(tmp_path)
    for step in (1, 2):
        saved.save(step, TREE | {"step": jnp.asarray(step, jnp.int32)}, data={})
    saved.close()
    files = (tmp_path / "checkpoints" / "2").rglob("*")
    largest = max((f for f in files if f.is_file()), key=lambda f: f.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    if harm == "remove":
        largest.unlink()
    else:
        largest.write_bytes(content if harm == "flip" else content[: len(content) // 2])
    again = store(tmp_path)
    train, _ = again.restore(abstract())
    assert int(train["step"]) == 1
    assert "checkpoint 2 is damaged" in caplog.text
    assert largest.name in caplog.text
    assert again.steps() == [1]
    again.save(2, TREE, data={})  # its place is free again
    again.close()
    assert store(tmp_path).steps() == [1, 2]


def test_refuses_another_method(tmp_path):
    saved = store(tmp_path)
    saved.save(1, TREE, data={})
    saved.close()
    with pytest.raises(checkpoint.MismatchError, match="of method simclr, this run is of method b"):
        store(tmp_path, method="byol").restore(abstract())


def test_refuses_another_shape_and_names_the_array(tmp_path):
    saved = store(tmp_path)
    saved.save(1, TREE, data={})
    saved.close()
    other = TREE | {"params": {"w": jnp.ones((64, 32)), "b": TREE["params"]["b"]}}
    with pytest.raises(
        checkpoint.MismatchError, match=r"params/w as float32\[64, 64\].*needs float32\[64, 32\]"
    ):
        store(tmp_path).restore(abstract(other))


def test_a_step_that_is_not_there(tmp_path):
    saved = store(tmp_path)
    saved.save(1, TREE, data={})
    saved.close()
    with pytest.raises(ValueError, match=r"no checkpoint of step 9; there are \[1\]"):
        store(tmp_path).restore(abstract(), 9)


def test_no_room_is_one_line_and_leaves_the_one_before(tmp_path, monkeypatch):
    """A limit on the size of files stands for a full disk."""
    monkeypatch.setattr(sys, "unraisablehook", lambda told: None)  # of threads of tensorstore
    saved = store(tmp_path)
    saved.save(1, TREE, data={})
    saved.seal()
    room = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8_000, room[1]))
    try:
        saved.save(2, TREE, data={})
        message = r"checkpoint 2 in .* cannot be written \(the last good one: 1\): .*too large"
        with pytest.raises(checkpoint.WriteError, match=message):
            saved.seal()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, room)
    again = store(tmp_path)
    assert again.steps() == [1]
    assert_same(again.restore(abstract())[0], TREE)
    again.save(2, TREE, data={})
    again.close()
    assert store(tmp_path).steps() == [1, 2]
