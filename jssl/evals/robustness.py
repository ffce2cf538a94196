"""How a classifier on an embedding does where images are corrupted."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int, Shaped

from jssl.augment import corruptions, image
from jssl.evals.calibration import expected_calibration_error
from jssl.evals.features import fixed_size
from jssl.evals.linear import LinearProbe, probabilities

BATCH = 512


def under_corruptions(
    encode: Callable[[np.ndarray], np.ndarray],
    probe: LinearProbe,
    images: Shaped[np.ndarray, "n h w c"],
    labels: Int[np.ndarray, " n"],
    *,
    seed: int = 0,
) -> dict[str, float]:
    """Accuracy of a probe of clean images on corrupted ones, of each corruption over 5 strengths.

    Args:
      encode: images [n h w c] of uint8 to embeddings [n d].
      probe: fitted to embeddings of clean images.
      images: that the probe has not seen, as stored.
      labels: theirs.
      seed: of the noise.

    Returns:
      ``clean`` and each of `jssl.augment.corruptions.CORRUPTIONS`, accuracies in [0, 1]; ``mean``
      over the latter; ``ece``, the calibration error (15 bins) over all that is corrupted.

    Source: Hendrycks and Dietterich 2019, arXiv 1903.12261, section 4.1, of which this is one less
    the error, not divided by that of another network.
    """
    found, said = {"clean": _accuracy(probabilities(probe, encode(_bytes(images))), labels)}, []
    for name in corruptions.CORRUPTIONS:
        each = []
        for strength in corruptions.STRENGTHS:
            shown = _corrupted(images, seed, name, strength)
            each.append(probabilities(probe, encode(shown)))
        found[name] = float(np.mean([_accuracy(p, labels) for p in each]))
        said += each
    found["mean"] = float(np.mean([found[name] for name in corruptions.CORRUPTIONS]))
    again = np.tile(labels, len(said))
    found["ece"] = expected_calibration_error(np.concatenate(said), again)
    return found


def _accuracy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    return float((probabilities.argmax(axis=1) == labels).mean())


def _corrupted(images: np.ndarray, seed: int, name: str, strength: int) -> np.ndarray:
    parts = []
    for i, (batch, count) in enumerate(fixed_size({"image": images}, BATCH)):
        key = jax.random.fold_in(jax.random.key(seed), i)
        x = image.as_float(batch["image"])
        parts.append(_rounded(corruptions.corrupt(key, x, name=name, strength=strength))[:count])
    return np.concatenate(parts)


def _bytes(images: np.ndarray) -> np.ndarray:
    return np.asarray(_rounded(image.as_float(images)))


@jax.jit
def _rounded(x):
    """As files hold them."""
    return jnp.round(255 * x).astype(jnp.uint8)
