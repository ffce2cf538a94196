"""Does a classifier know how often it is right?"""

import numpy as np
from jaxtyping import Float, Int

from jssl import require


def expected_calibration_error(
    probabilities: Float[np.ndarray, "n k"], labels: Int[np.ndarray, " n"], bins: int = 15
) -> float:
    """Mean distance of confidence and accuracy over equal bins of confidence, in [0, 1].

    Equation 3 of arXiv 1706.04599; bins are open below and closed above.
    """
    require.at_least(1, bins=bins)
    probabilities = np.asarray(probabilities, np.float64)
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == np.asarray(labels)
    bin_of = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(bin_of, weights=right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidence))
