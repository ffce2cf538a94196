"""TFDS sets, prepared by the test itself, read without TensorFlow and without a network."""

import io
import pickle
import sys

import numpy as np
import pytest
from PIL import Image

from jssl.data import DataError, open_source, read_all

tfds = pytest.importorskip("tensorflow_datasets")


def picture(i):
    file = io.BytesIO()
    Image.fromarray(np.full((4, 5, 3), i, np.uint8)).save(file, "PNG")
    file.seek(0)
    return file


class JsslTiny(tfds.core.GeneratorBasedBuilder):
    """Ten and four flat pictures of two classes."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        image = tfds.features.Image(shape=(None, None, 3))
        label = tfds.features.ClassLabel(names=["even", "odd"])
        features = tfds.features.FeaturesDict({"image": image, "label": label})
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(10), "test": self._generate_examples(4)}

    def _generate_examples(self, n):
        for i in range(n):
            yield i, {"image": picture(i), "label": i % 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    tfds.disable_progress_bar()
    path = tmp_path_factory.mktemp("tfds")
    JsslTiny(data_dir=path, file_format="array_record").download_and_prepare()
    return path


def test_prepared_set(folder):
    train = open_source(f"tfds:jssl_tiny@{folder}")
    assert train.class_names == ("even", "odd")
    assert train.num_classes == 2
    assert train.example_shape == (4, 5, 3)
    everything = read_all(train)
    values = everything["image"][:, 0, 0, 0]
    assert sorted(values.tolist()) == list(range(10))
    np.testing.assert_array_equal(everything["label"], values % 2)
    assert "tensorflow" not in sys.modules


def test_splits(folder):
    assert len(open_source(f"tfds:jssl_tiny@{folder}", "test")) == 4
    assert len(open_source(f"tfds:jssl_tiny/test@{folder}", "train")) == 4
    assert len(open_source(f"tfds:jssl_tiny/train[:50%]@{folder}")) == 5
    assert len(open_source(f"tfds:jssl_tiny:1.0.0/test@{folder}")) == 4
    assert len(open_source(f"tfds:jssl_tiny@{folder}", limit=3)) == 3
    with pytest.raises(DataError, match="no split 'val'; it has test, train"):
        open_source(f"tfds:jssl_tiny/val@{folder}")


def test_pickled_by_name(folder):
    source = open_source(f"tfds:jssl_tiny/test@{folder}", size=2)
    copy = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(copy[3]["image"], source[3]["image"])
    assert copy[3]["label"] == source[3]["label"]


def test_what_cannot_be_read_says_what_to_do(folder, tmp_path, monkeypatch):
    with pytest.raises(DataError, match="Dataset jssl_nosuch not found") as caught:
        open_source(f"tfds:jssl_nosuch@{tmp_path}")
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match=r"not prepared in .*file_format='array_record'") as caught:
        open_source(f"tfds:jssl_tiny@{tmp_path}")
    assert "\n" not in str(caught.value)
    JsslTiny(data_dir=tmp_path, file_format="tfrecord").info  # noqa: B018
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(DataError, match=r"needs pip install 'jssl\[tfds\]'"):
        open_source(f"tfds:jssl_tiny@{folder}")
