import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import accuracy_score, jaccard_score

from jssl.augment import image
from jssl.data import DataError
from jssl.data.masks import read_masks
from jssl.evals import segmentation

RNG = np.random.default_rng(0)


def test_overlap_is_scikit_learns():
    truth, said = RNG.integers(0, 4, 500), RNG.integers(0, 3, 500)
    said = np.where(RNG.random(500) < 0.6, np.minimum(truth, 2), said)
    counts = np.zeros((5, 5), int)
    np.add.at(counts, (truth, said), 1)
    found = segmentation.overlap(counts)
    each = jaccard_score(truth, said, average=None, zero_division=0)
    assert [found[f"iou_{i}"] for i in range(4)] == pytest.approx(each.tolist())
    assert found["iou_4"] is None  # in no mask
    assert found["miou"] == pytest.approx(each.mean())
    assert found["pixel_accuracy"] == pytest.approx(accuracy_score(truth, said))


@pytest.mark.parametrize("shape", [(3, 2, 4), (3, 4, 2)])
def test_features_of_pixels_are_those_of_the_enlarged_map(x64, shape):
    z = jnp.asarray(RNG.normal(size=(*shape, 5)))
    at = jnp.asarray(np.stack([RNG.permutation(81)[:20] for _ in range(3)]))
    found = segmentation._at(z, at, size=9)
    whole = image.resize(z, 9, antialias=False).reshape(3, 81, 5)
    np.testing.assert_allclose(found, jnp.take_along_axis(whole, at[:, :, None], 1), atol=1e-12)


def scenes(count):
    """A bright square in each, its place in the mask; a rim that does not count."""
    masks = np.zeros((count, 12, 12), np.int32)
    for mask in masks:
        top, left = RNG.integers(1, 6, 2)
        mask[top : top + 6, left : left + 6] = 1
        mask[top, left : left + 6] = -1
    images = 200 * (masks == 1) + RNG.integers(0, 40, masks.shape)
    return images[..., None].astype(np.uint8), masks


def test_a_linear_head_finds_what_is_there_and_nothing_in_noise():
    train, test = scenes(70), scenes(9)  # more than a batch, and no whole one
    pixels = segmentation.segment(image.as_float, *train, *test, num_classes=2)
    assert pixels["miou"] == 1  # the rim is dark, but does not count

    def tokens(x):
        x = image.as_float(x).reshape(len(x), 6, 2, 6, 2).transpose(0, 1, 3, 2, 4)
        return x.reshape(len(x), 36, 4)

    coarse = segmentation.segment(tokens, *train, *test, num_classes=2)
    assert 0.7 < coarse["miou"] < 1

    def noise(x):
        return jax.random.normal(jax.random.key(0), (len(x), 3, 3, 4))

    assert segmentation.segment(noise, *train, *test, num_classes=2)["miou"] < 0.5


def test_tokens_of_no_square_and_empty_masks_are_refused():
    images, masks = scenes(4)
    with pytest.raises(ValueError, match="square grid, got 35"):
        segmentation.segment(
            lambda x: jnp.ones((len(x), 35, 2)), images, masks, images, masks, num_classes=2
        )
    with pytest.raises(ValueError, match="no pixel that counts"):
        segmentation.segment(image.as_float, images, masks * 0 - 1, images, masks, num_classes=2)


def test_masks_are_cut_and_numbered(tmp_path):
    (tmp_path / "masks").mkdir()
    mask = np.full((8, 12), 3, np.uint8)
    mask[:4, 2:6], mask[:, 11], mask[7, 4] = 9, 40, 255
    Image.fromarray(mask).save(tmp_path / "masks" / "a.png")
    found, values = read_masks(tmp_path, ["a.jpg"], 8)
    assert values == [3, 9]  # 40 lies outside of the square
    expected = np.array([0, 1])[(mask[:, 2:10] == 9).astype(int)]
    expected[7, 2] = -1
    np.testing.assert_array_equal(found[0], expected)
    half, _ = read_masks(tmp_path, ["a.jpg"], 4, values=[9])
    np.testing.assert_array_equal(half[0], np.where(mask[1::2, 3:10:2] == 9, 0, -1))
    with pytest.raises(DataError, match=r"b\.png: no such mask"):
        read_masks(tmp_path, ["b.jpg"], 8)
    with pytest.raises(DataError, match="one of the folders masks, trimaps"):
        read_masks(tmp_path / "masks", ["a.jpg"], 8)
