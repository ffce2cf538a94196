"""Semantic segmentation by a linear head on tokens or feature maps."""

import math
from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from jssl.augment import image
from jssl.evals import logistic
from jssl.evals.features import fixed_size
from jssl.evals.linear import L2_CANDIDATES, check_candidates

# Pictures [n h w c], as stored, to features on a grid [n a b d] or tokens [n t d] of a square one.
Dense = Callable[[Array], Float[Array, "n ..."]]
BATCH = 64
PIXELS = 60_000  # of the training images, that the head is fitted to


def segment(
    dense: Dense,
    train_images: Shaped[np.ndarray, "n h w c"],
    train_masks: Int[np.ndarray, "n s s"],
    test_images: Shaped[np.ndarray, "m _ _ _"],
    test_masks: Int[np.ndarray, "m s s"],
    *,
    num_classes: int,
    l2_candidates: Sequence[float] = L2_CANDIDATES,
    holdout: float = 0.2,
    seed: int = 0,
) -> dict[str, float | None]:
    """Intersection over union of a linear classifier of pixels on frozen features.

    The features are enlarged to the masks bilinearly, which is the same as enlarging the logits of
    a linear head. The head is multinomial logistic regression (`logistic.fit`) on pixels drawn
    evenly from the training images; its L2 is the one that classifies pixels of a share ``holdout``
    of these images best, which are left out until then.

    Args:
      dense: images to features on a grid.
      train_images, test_images: as stored.
      train_masks, test_masks: classes in [0, num_classes), or -1 for pixels that do not count.
      num_classes: how many there are.
      l2_candidates: numbers > 0.
      holdout: share of the training images.
      seed: of the pixels and of the share.

    Returns:
      ``miou``, the mean over the classes that there are of ``iou_0`` and so on; and
      ``pixel_accuracy``. Of a class in no mask and nowhere found the union is empty: None.

    Raises:
      ValueError: if there are fewer than two training images, or tokens of no square grid.
    """
    candidates = check_candidates(l2_candidates)
    if len(train_images) < 2:
        raise ValueError(f"segmentation needs 2 training images, got {len(train_images)}")
    order = np.random.default_rng(seed).permutation(len(train_images))
    held = order[: max(1, round(holdout * len(order)))]
    x, y, owner = _pixels(dense, train_images, train_masks, seed)
    out = np.isin(owner, held)
    options = {"num_classes": num_classes, "tolerance": 1e-3, "max_iterations": 200}
    trial = logistic.fit(x[~out], y[~out], jnp.asarray(candidates, x.dtype), **options)
    right = np.asarray(logistic.predict(trial, x[out]) == y[out][None, :]).mean(axis=1)
    l2 = float(max(candidates[right == right.max()]))
    fit = logistic.fit(x, y, jnp.asarray([l2], x.dtype), **options)
    counts = np.zeros((num_classes, num_classes), np.int64)
    for z, mask in _grids(dense, test_images, test_masks):
        said = np.asarray(_classes(fit, z, size=mask.shape[1]))[: len(mask)]
        np.add.at(counts, (mask[mask >= 0], said[mask >= 0]), 1)
    return overlap(counts)


def overlap(counts: Int[np.ndarray, "k k"]) -> dict[str, float | None]:
    """``miou``, ``pixel_accuracy`` and the ``iou_0`` ... of a table of pixels, true by predicted.

    Of each class the pixels that it is and is said to be, over those that it is or is said to be.
    """
    both = np.diag(counts)
    either = counts.sum(axis=0) + counts.sum(axis=1) - both
    each = [float(b / e) if e else None for b, e in zip(both, either, strict=True)]
    present = [value for value in each if value is not None]
    return {
        "miou": float(np.mean(present)) if present else None,
        "pixel_accuracy": float(both.sum() / counts.sum()) if counts.sum() else None,
    } | {f"iou_{i}": value for i, value in enumerate(each)}


def _pixels(dense, images, masks, seed):
    """Features [p d] of some pixels of each image, their classes [p] and images [p]."""
    rng = np.random.default_rng(seed)
    size = masks.shape[1]
    each = max(1, min(PIXELS // len(images), size**2))
    x, y, owner, done = [], [], [], 0
    for z, mask in _grids(dense, images, masks):
        flat = mask.reshape(len(mask), -1)
        at = np.argsort(rng.random((len(z), size**2)), axis=1)[:, :each]
        found = np.asarray(_at(z, jnp.asarray(at), size=size))[: len(mask)]
        at = at[: len(mask)]
        labels = np.take_along_axis(flat, at, axis=1)
        x.append(found[labels >= 0])
        y.append(labels[labels >= 0])
        owner.append(np.broadcast_to(done + np.arange(len(mask))[:, None], at.shape)[labels >= 0])
        done += len(mask)
    y = np.concatenate(y)
    if not len(y):
        raise ValueError("the training masks have no pixel that counts")
    return jnp.asarray(np.concatenate(x)), jnp.asarray(y), np.concatenate(owner)


def _grids(dense, images, masks):
    """Features [n a b d] of batch after batch, padded to one size, and its masks, not padded."""
    call = jax.tree_util.Partial(dense)
    given = {"image": images, "mask": masks}
    for batch, count in fixed_size(given, min(BATCH, len(images))):
        yield _grid(call, batch["image"]), batch["mask"][:count]


@jax.jit
def _grid(dense, images):
    z = dense(images)
    z = z.astype(np.promote_types(z.dtype, np.float32))
    if z.ndim == 4:
        return z
    side = math.isqrt(z.shape[1])
    if side**2 != z.shape[1]:
        raise ValueError(f"tokens must be of a square grid, got {z.shape[1]}")
    return z.reshape(len(z), side, side, -1)


@partial(jax.jit, static_argnames="size")
def _at(z, at, size):
    """Features [n p d] at some pixels [n p] of the enlarged grid, which is never made."""

    def weights(count, place):
        eye = jnp.eye(count, dtype=z.dtype)[None, :, :, None]
        return image.resize(eye, (size, count), antialias=False)[0, :, :, 0][place]

    rows, columns = weights(z.shape[1], at // size), weights(z.shape[2], at % size)
    return jnp.einsum("npa,npb,nabd->npd", rows, columns, z, precision="highest")


@partial(jax.jit, static_argnames="size")
def _classes(fit, z, size):
    """The likeliest class [n s s] of each pixel: enlarging comes after the head."""
    z = (z - fit.mean[None, None, None]) / fit.scale[None, None, None]
    logits = jnp.einsum("nabd,dk->nabk", z, fit.weights[0], precision="highest")
    logits = image.resize(logits, size, antialias=False) + fit.bias[0][None, None, None]
    return jnp.argmax(logits, axis=-1)
