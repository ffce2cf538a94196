import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from jssl.evals import clid

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("dimension", [2, 5])
def test_intrinsic_dimension_is_that_of_the_subspace(dimension):
    turn = np.linalg.qr(RNG.normal(size=(20, 20)))[0][:dimension]
    x = RNG.random((1500, dimension)) @ turn
    assert clid.intrinsic_dimension(x) == pytest.approx(dimension, rel=0.12)
    doubled = np.concatenate([x, x[:100]])
    assert clid.intrinsic_dimension(5 * doubled + 3) == pytest.approx(
        clid.intrinsic_dimension(x), rel=1e-6
    )


def test_the_line_is_fitted_to_nine_tenths_of_the_ratios():
    x = RNG.normal(size=(700, 6))  # more than one part of the distances
    distances, _ = NearestNeighbors(n_neighbors=3).fit(x).kneighbors(x)
    ratios = np.sort(distances[:, 2] / distances[:, 1])[:630]
    a, b = np.log(ratios)[:, None], -np.log(1 - np.arange(1, 631) / 700)
    (expected,), *_ = np.linalg.lstsq(a, b, rcond=None)
    assert clid.intrinsic_dimension(x) == pytest.approx(expected, rel=1e-6)


def test_nothing_is_said_of_too_few():
    assert clid.intrinsic_dimension(np.ones((50, 3))) is None
    assert clid.intrinsic_dimension(RNG.normal(size=(9, 3))) is None
    assert clid.cluster_learnability(np.ones((7, 3), np.float32)) is None


def test_clusters_apart_can_be_learned_and_noise_less_so():
    centres = 20 * np.linalg.qr(RNG.normal(size=(32, 32)))[0][:10]
    apart = centres[np.arange(100) % 10] + 0.1 * RNG.normal(size=(100, 32))
    learned = clid.cluster_learnability(apart.astype(np.float32))
    noise = clid.cluster_learnability(RNG.normal(size=(100, 32)).astype(np.float32))
    assert learned > 0.9
    assert noise < 0.6
