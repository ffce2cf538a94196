"""Every way to read embeddings of labelled examples, by name.

A protocol of one accuracy gives that number, one over draws of labels a `FewLabels`, any other an
object of metrics; None where there are too few labels or no targets for it. Nothing is chosen by
test data.
"""

import dataclasses
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jssl.evals import anomaly, clid, clustering, collapse, retrieval, spectrum
from jssl.evals.calibration import expected_calibration_error
from jssl.evals.few_labels import FewLabels, few_labels
from jssl.evals.knn import sweep
from jssl.evals.linear import LinearProbe, linear_probe, probabilities
from jssl.evals.regression import regression_probe
from jssl.losses import spread

SWEEP = (1, 5, 10, 20, 50, 100, 200)  # as many of them as there are training examples
UNIFORM = 2_000  # examples, in the pairs of which uniformity is measured
NEAR = 4_000  # examples, among which CLID looks for neighbours


@dataclasses.dataclass(frozen=True, eq=False)
class Labelled:
    """Embeddings and their labels in [0, num_classes); what protocols share is computed once.

    ``views``: of some examples, from any data, ``q`` augmented views each; ``targets``: real
    numbers of the training and test examples. For what asks of them.
    """

    train_x: Float[Array | np.ndarray, "n d"]
    train_y: Int[Array | np.ndarray, " n"]
    test_x: Float[Array | np.ndarray, "m d"]
    test_y: Int[Array | np.ndarray, " m"]
    num_classes: int
    k: int = 20
    temperature: float = 0.07
    draws: int = 5
    seed: int = 0
    views: Float[Array | np.ndarray, "v q d"] | None = None
    targets: tuple[Float[np.ndarray, "n t"], Float[np.ndarray, "m t"]] | None = None

    @property
    def data(self) -> tuple:
        """Training embeddings and labels, then those of the test part."""
        return self.train_x, self.train_y, self.test_x, self.test_y

    @cached_property
    def neighbours(self) -> dict[int, float]:
        """Accuracies of kNN for ``k`` and those of the sweep."""
        ks = {self.k, *(k for k in SWEEP if k <= len(self.train_y))}
        options = {"temperature": self.temperature, "num_classes": self.num_classes}
        return sweep(*self.data, ks=sorted(ks), **options)

    @cached_property
    def probe(self) -> LinearProbe:
        """On all training examples."""
        return linear_probe(*self.data, num_classes=self.num_classes, seed=self.seed)


def _sweep(given: Labelled) -> dict[str, float]:
    return {f"k_{k}": given.neighbours[k] for k in SWEEP if k in given.neighbours}


def _few(given: Labelled, per_class: int | None = None, share: float = 0.0) -> FewLabels | None:
    """``per_class`` labels, or a share of all, the same number of each class."""
    _, sizes = np.unique(np.asarray(given.train_y), return_counts=True)
    if per_class is None:
        per_class = round(share * sizes.mean())
    if not 1 <= per_class <= sizes.min():
        return None
    options = {"num_classes": given.num_classes, "draws": given.draws, "seed": given.seed}
    return few_labels(*given.data, per_class=per_class, **options)


def _clustering(given: Labelled) -> dict[str, float]:
    options = {"num_classes": given.num_classes, "seed": given.seed}
    return clustering.cluster(given.test_x, np.asarray(given.test_y), **options)


def _calibration(given: Labelled) -> dict[str, float]:
    said = probabilities(given.probe, np.asarray(given.test_x))
    return {"ece": expected_calibration_error(said, given.test_y)}


def _regression(given: Labelled) -> dict[str, float] | None:
    if given.targets is None:
        return None
    (train_t, test_t), x = given.targets, map(np.asarray, (given.train_x, given.test_x))
    return regression_probe(next(x), train_t, next(x), test_t, seed=given.seed)


def _unlabelled(given: Labelled) -> dict[str, float | None]:
    x = jnp.asarray(given.test_x)
    order = np.random.default_rng(given.seed).permutation(len(x))
    near = x[order[:NEAR]]
    return {
        "rankme": float(collapse.effective_rank(x)),
        "alpha_req": spectrum.alpha_req(x),
        "uniformity": float(spread.uniformity(x[order[:UNIFORM]])),
        "cluster_learnability": clid.cluster_learnability(near, seed=given.seed),
        "intrinsic_dimension": clid.intrinsic_dimension(near),
    } | _of_views(given)


def _of_views(given: Labelled) -> dict[str, float]:
    if given.views is None:
        return {}
    z = jnp.asarray(given.views)
    return {
        "lidar": float(spectrum.lidar(z)),
        "alignment": float(spread.alignment(z[:, 0], z[:, 1])),
    }


PROTOCOLS: dict[str, Callable[[Labelled], float | FewLabels | dict[str, Any] | None]] = {
    "knn": lambda given: given.neighbours[given.k],
    "linear": lambda given: given.probe.accuracy,
    "linear_1_per_class": partial(_few, per_class=1),
    "linear_5_per_class": partial(_few, per_class=5),
    "linear_10_per_class": partial(_few, per_class=10),
    "linear_1_percent": partial(_few, share=0.01),
    "linear_10_percent": partial(_few, share=0.1),
    "knn_sweep": _sweep,
    "calibration": _calibration,
    "regression": _regression,
    "clustering": _clustering,
    "retrieval": lambda given: retrieval.retrieve(*given.data),
    "verification": lambda given: retrieval.verify(given.test_x, given.test_y, seed=given.seed),
    "anomaly": lambda given: anomaly.one_class(*given.data),
    "unlabelled": _unlabelled,
}
