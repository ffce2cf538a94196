"""Few labels: which are kept, what is hidden, what batches hold."""

import jax
import numpy as np
import pytest

from jssl.data import DataError, open_source, open_stream, read_all
from jssl.data.order import Draw, epoch_order, step_rows

BATCH, BESIDE = 8, 3


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """60 images whose first pixel is their number; classes of 30, 20 and 10."""
    x = np.zeros((60, 2, 2, 1), np.uint8)
    x[:, 0, 0, 0] = np.arange(60)
    y = np.repeat([0, 1, 2], [30, 20, 10])
    target = np.ones((60, 2), np.float32)
    path = tmp_path_factory.mktemp("labels") / "few.npz"
    np.savez(path, image=x, label=y, target=target)
    return f"arrays:{path}"


def test_the_same_number_of_each_class_by_a_hash_of_the_seed(file):
    few, more, other = (
        open_source(file, labels=labels, seed=seed) for labels, seed in ((6, 0), (12, 0), (6, 1))
    )
    whole = read_all(open_source(file))["label"]
    assert np.bincount(whole[few.labeled]).tolist() == [2, 2, 2]
    assert np.bincount(whole[more.labeled]).tolist() == [4, 4, 4]
    assert set(few.labeled) < set(more.labeled)
    assert set(few.labeled) != set(other.labeled)
    np.testing.assert_array_equal(few.labeled, open_source(file, labels=6).labeled)
    share = open_source(file, labels=0.1)
    assert np.bincount(whole[share.labeled]).tolist() == [3, 2, 1]


def test_all_other_labels_are_hidden(file):
    source = open_source(file, labels=6)
    read, whole = read_all(source), read_all(open_source(file))
    known = np.isin(np.arange(60), source.labeled)
    np.testing.assert_array_equal(read["label"], np.where(known, whole["label"], -1))
    np.testing.assert_array_equal(np.isnan(read["target"]).all(axis=1), ~known)
    np.testing.assert_array_equal(read["image"], whole["image"])


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("labels", [6, 12])
def test_batches_of_labelled_examples_with_others_beside_them(file, resident, labels):
    source = open_source(file, labels=labels)
    whole = read_all(open_source(file))["label"]
    with open_stream(source, BATCH, seed=4, unlabeled=BESIDE, resident=resident) as stream:
        assert stream.steps_per_epoch == 60 // (BATCH * BESIDE) == 2
        seen = []
        for step in (0, 1, 2, 3, 7, 2):
            batch = jax.device_get(stream.batch(step))
            seen.append(batch["index"])
            assert batch.keys() == {"image", "label", "target", "index", "unlabeled"}
            np.testing.assert_array_equal(batch["label"], whole[batch["index"]])
            assert np.isin(batch["index"], source.labeled).all()
            np.testing.assert_array_equal(batch["image"][:, 0, 0, 0], batch["index"])
            beside = batch["unlabeled"]
            assert beside.keys() == {"image", "index"}  # nothing that is to be told
            rows = step_rows(4, step, 60, BATCH * BESIDE).reshape(BATCH, BESIDE)
            np.testing.assert_array_equal(beside["index"], rows)
            np.testing.assert_array_equal(beside["image"][:, :, 0, 0, 0], rows)
        # Each as often as any other, whether or not they are fewer than a batch.
        counts = np.unique(np.concatenate(seen[:3]), return_counts=True)[1]
        assert len(counts) == labels
        assert counts.max() - counts.min() <= 1
        np.testing.assert_array_equal(seen[2], seen[-1])


def test_labelled_examples_come_in_an_order_of_their_own():
    labeled = np.array([3, 5, 8, 13, 21])
    draw = Draw(0, 60, 4, labeled, 1)
    rows = np.concatenate([draw.rows(step)[0] for step in range(5)]).reshape(4, 5)
    np.testing.assert_array_equal(np.sort(rows, axis=1), np.tile(labeled, (4, 1)))
    assert not (rows[0] == labeled[epoch_order(0, 0, 5)]).all()
    assert Draw(0, 60, 4, labeled).steps_per_epoch == 1
    assert Draw(0, 60, 8, labeled).steps_per_epoch == 1
    assert Draw(0, 60, 8, labeled).rows(0)[1] is None


def test_a_state_of_other_labels_is_refused(file):
    streams = [
        open_stream(open_source(file, labels=labels), BATCH, seed=0, unlabeled=beside)
        for labels, beside in ((6, 1), (12, 1), (6, 2))
    ]
    state = streams[0].state()
    assert streams[0].restore(state) == 0
    with pytest.raises(DataError, match="data's labels was 6 and is now 12"):
        streams[1].restore(state)
    with pytest.raises(DataError, match="data's unlabeled was 1 and is now 2"):
        streams[2].restore(state)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (7, "labels must be a share below 1 or a multiple of the 3 classes, got 7"),
        (0, "labels must be a share below 1 or a multiple of the 3 classes, got 0"),
        (36, "labels=36 asks for 12 of each class, class 2 of .* has 10"),
    ],
)
def test_labels_that_cannot_be_kept(file, labels, message):
    with pytest.raises(DataError, match=message):
        open_source(file, labels=labels)


def test_unlabelled_examples_need_few_labels(file, tmp_path):
    with pytest.raises(DataError, match="unlabeled=2 needs a source that keeps few labels"):
        open_stream(open_source(file), BATCH, seed=0, unlabeled=2)
    few = open_source(file, labels=6)
    with pytest.raises(DataError, match=r"between 1 and the 20 examples of .*, 3 beside each, got"):
        open_stream(few, 24, seed=0, unlabeled=3)
    np.savez(tmp_path / "none.npz", image=np.zeros((4, 2, 2, 1), np.uint8))
    with pytest.raises(DataError, match="labels=2 needs labels of two classes or more"):
        open_source(f"arrays:{tmp_path}/none.npz", labels=2)
