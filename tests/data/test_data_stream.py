"""Streams: the same batches by every path, resumable, with bad files reported and bounded."""

import json
import logging
import multiprocessing
import os
import signal

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from PIL import Image

from jssl.data import DataError, open_source, open_stream
from jssl.data.batches import BatchReader
from jssl.data.order import Draw, epoch_order, step_rows

DEVICES = jax.device_count()
BATCH = 8


@pytest.fixture
def folder(picture_folder):
    return open_source(f"folder:{picture_folder[0]}")


@pytest.fixture
def damaged(picture_folder):
    """Two of 30 files damaged, one of them the last of the set, and a third renamed text."""
    root, _ = picture_folder
    (root / "ant" / "3.png").write_bytes((root / "ant" / "3.png").read_bytes()[:40])
    (root / "bee" / "5.png").write_text("not a picture")
    (root / "cat" / "9.png").write_bytes(b"")
    return open_source(f"folder:{root}")


BAD = {3: 4, 15: 16, 29: 0}  # position: who takes its place


def same(one, other):
    assert one.keys() == other.keys() == {"image", "label", "index"}
    for key in one:
        assert one[key].dtype == other[key].dtype
        np.testing.assert_array_equal(np.asarray(one[key]), np.asarray(other[key]))


def run(stream, steps):
    for step in steps:
        stream.batch(step)


# order


def test_an_epoch_is_a_permutation_of_its_own():
    orders = [epoch_order(seed, epoch, 1000) for seed, epoch in ((0, 0), (0, 1), (1, 0))]
    for order in orders:
        np.testing.assert_array_equal(np.sort(order), np.arange(1000))
    for i in range(3):
        # Two random permutations share one position on average.
        assert (orders[i] == orders[i - 1]).sum() < 10
    np.testing.assert_array_equal(orders[0], epoch_order(0, 0, 1000))


def test_order_golden():
    # Pinned: another order would change every run that is resumed.
    assert epoch_order(7, 3, 12).tolist() == [2, 5, 9, 7, 3, 0, 6, 8, 4, 1, 11, 10]


def test_the_rest_of_an_epoch_is_dropped():
    rows = np.concatenate([step_rows(5, step, 30, 8) for step in range(3)])
    np.testing.assert_array_equal(rows, epoch_order(5, 0, 30)[:24])
    np.testing.assert_array_equal(step_rows(5, 4, 30, 8), epoch_order(5, 1, 30)[8:16])


# batches


@pytest.mark.parametrize("resident", [True, False])
def test_batches_are_the_examples_of_the_order(folder, picture_folder, resident):
    _, pixels = picture_folder
    with open_stream(folder, BATCH, seed=4, resident=resident) as stream:
        assert stream.resident is resident
        assert stream.steps_per_epoch == 3
        for step in (0, 1, 2, 3, 7, 2):  # over an epoch's end, onwards and back
            batch = stream.batch(step)
            rows = step_rows(4, step, 30, BATCH)
            np.testing.assert_array_equal(np.asarray(batch["index"]), rows)
            np.testing.assert_array_equal(np.asarray(batch["label"]), rows // 10)
            images = np.stack([pixels[folder.names[row]] for row in rows])
            np.testing.assert_array_equal(np.asarray(batch["image"]), images)
            assert batch["image"].dtype == np.uint8


@pytest.mark.parametrize("resident", [True, False])
def test_batches_are_split_over_all_devices(folder, resident):
    with open_stream(folder, 2 * DEVICES, seed=0, resident=resident) as stream:
        for x in stream.batch(0).values():
            assert x.sharding.spec == PartitionSpec("data")
            assert len(x.addressable_shards) == DEVICES
            assert {shard.data.shape[0] for shard in x.addressable_shards} == {2}


@pytest.mark.parametrize("resident", [True, False])
def test_a_mesh_of_two_axes(folder, resident):
    shape = (DEVICES // 2, 2) if DEVICES % 2 == 0 else (DEVICES, 1)
    mesh = jax.make_mesh(shape, ("data", "model"), axis_types=(AxisType.Auto,) * 2)
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    with open_stream(folder, BATCH, seed=4, sharding=sharding, resident=resident) as stream:
        batch = stream.batch(1)
        np.testing.assert_array_equal(np.asarray(batch["index"]), step_rows(4, 1, 30, BATCH))
        assert batch["image"].sharding.is_equivalent_to(sharding, 4)


def test_rows_of_processes_make_up_the_batch(folder):
    draw = Draw(4, 30, BATCH)
    parts = [BatchReader(folder, draw, np.arange(p, BATCH, 2))(5)[0] for p in range(2)]
    whole, _ = BatchReader(folder, draw, np.arange(BATCH))(5)
    for key, rows in whole.items():
        for p, part in enumerate(parts):
            np.testing.assert_array_equal(part[key], rows[p::2])


def test_worker_processes_give_the_same_and_resume(damaged, caplog):
    """One start of the workers from the beginning, one in the middle: both agree with the rest."""
    options = {"seed": 2, "max_bad": 0.1}
    resident = open_stream(damaged, BATCH, resident=True, **options)
    caplog.clear()
    with open_stream(damaged, BATCH, resident=False, workers=2, **options) as stream:
        for step in range(7):
            same(stream.batch(step), resident.batch(step))
        assert stream.bad == resident.bad == 3
        state = json.loads(json.dumps(stream.state()))
    told = [record.getMessage() for record in caplog.records if record.name.startswith("jssl")]
    assert len(told) == 3  # once each, in more than two epochs
    assert state["step"] == 7
    with open_stream(damaged, BATCH, resident=False, workers=2, **options) as stream:
        step = stream.restore(state)
        assert step == 7
        for later in range(step, step + 3):
            same(stream.batch(later), resident.batch(later))


def test_a_worker_that_is_killed_is_an_error_and_a_later_step_goes_on(folder):
    with open_stream(folder, BATCH, seed=0, resident=False, workers=1) as stream:
        first = stream.batch(0)
        before = set(multiprocessing.active_children())
        same(stream.batch(0), first)  # asked for again, it starts nothing anew
        assert len(before) == 1
        assert set(multiprocessing.active_children()) == before
        for worker in before:
            os.kill(worker.pid, signal.SIGINT)  # Ctrl-C reaches the group; workers outlive it
        stream.batch(1)
        for worker in before:
            os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises(RuntimeError, match="terminated unexpectedly"):
            run(stream, range(2, 20))
        same(stream.batch(0), first)
    assert not set(multiprocessing.active_children())


@pytest.mark.parametrize("resident", [True, False])
def test_no_transfer_in_a_step(folder, resident):
    with open_stream(folder, BATCH, seed=0, resident=resident) as stream:
        stream.batch(0)
        with jax.transfer_guard("disallow"):
            for step in range(1, 7):  # three steps an epoch
                stream.batch(step)
        stream.batch(6)
        with jax.transfer_guard("disallow_explicit"):
            for step in (7, 8):  # within an epoch not even an explicit one
                stream.batch(step)
        assert stream.state()["step"] == 9


# bad files


@pytest.mark.parametrize("resident", [True, False])
def test_the_next_decodable_takes_a_bad_ones_place(damaged, resident, caplog):
    with open_stream(damaged, BATCH, seed=2, resident=resident, max_bad=0.1) as stream:
        for step in range(6):
            rows = [BAD.get(row, row) for row in step_rows(2, step, 30, BATCH).tolist()]
            assert np.asarray(stream.batch(step)["index"]).tolist() == rows
        assert stream.bad == 3
    for name in ("ant/3.png", "bee/5.png", "cat/9.png"):
        told = [r for r in caplog.records if name in r.getMessage()]
        assert len(told) == 1
        assert told[0].levelno == logging.WARNING


@pytest.mark.parametrize("resident", [True, False])
def test_too_many_bad_files_stop_the_run(damaged, resident):
    def whole():
        with open_stream(damaged, BATCH, seed=2, resident=resident, max_bad=0.05) as stream:
            run(stream, range(6))

    with pytest.raises(DataError, match=r"2 of 30|3 of 30") as caught:
        whole()
    text = str(caught.value)
    assert "max_bad allows 5.00%" in text
    assert any(name in text for name in ("ant/3.png", "bee/5.png", "cat/9.png"))
    assert "\n" not in text


def test_a_misfit_met_late_stops_the_run(tmp_path):
    for i in range(100):
        Image.new("L", (5, 5)).save(tmp_path / f"{i}.png")
    Image.new("L", (5, 6)).save(tmp_path / "50.png")
    source = open_source(f"folder:{tmp_path}")
    with (
        open_stream(source, BATCH, seed=0, resident=False) as stream,
        pytest.raises(DataError, match=r"50\.png is \[6, 5, 1\].*set size"),
    ):
        run(stream, range(12))


# interface


def test_auto_keeps_small_sets_on_the_device(folder, monkeypatch):
    with open_stream(folder, BATCH, seed=0) as stream:
        assert stream.resident
    monkeypatch.setattr("jssl.data.stream.RESIDENT_BYTES", 30 * 6 * 5 * 3 - 1)
    with open_stream(folder, BATCH, seed=0) as stream:
        assert not stream.resident


def test_a_state_of_another_order_is_refused(folder):
    with open_stream(folder, BATCH, seed=0) as stream:
        state = stream.state()
        for key in ("seed", "batch_size", "examples"):
            with pytest.raises(DataError, match=f"data's {key} was 99 and is now"):
                stream.restore({**state, key: 99})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 31}, "between 1 and the 30 examples of folder:.*, got 31"),
        ({"batch_size": 0}, "batch_size must be between 1"),
        ({"workers": -1}, "workers must be at least 0, got -1"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"resident": "maybe"}, "resident must be 'auto', True or False, got 'maybe'"),
        ({"max_bad": 1.5}, r"max_bad must be a share in \[0, 1\], got 1\.5"),
    ],
)
def test_options_that_are_wrong(folder, options, message):
    with pytest.raises(ValueError, match=message):
        open_stream(**{"source": folder, "batch_size": BATCH, "seed": 0, **options})


@pytest.mark.skipif(DEVICES == 1, reason="every batch splits over one device")
def test_a_batch_that_does_not_split(folder):
    with pytest.raises(ValueError, match=f"multiple of the mesh's {DEVICES} shards"):
        open_stream(folder, DEVICES + 1, seed=0)


def test_negative_step(folder):
    with open_stream(folder, BATCH, seed=0) as stream, pytest.raises(ValueError, match="got -1"):
        stream.batch(-1)
