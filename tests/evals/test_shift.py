"""How far one set of embeddings is from another."""

import numpy as np
import pytest
import scipy.linalg

from jssl.evals.shift import frechet, shift

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("n", "d"), [(200, 5), (6, 9)])
def test_frechet_is_that_of_the_formula(n, d):
    x = RNG.normal(size=(n, d)) @ RNG.normal(size=(d, d))
    y = RNG.normal(size=(n + 3, d)) @ RNG.normal(size=(d, d)) + 1
    a, b = (np.cov(s.T, ddof=0) for s in (x, y))
    root = scipy.linalg.sqrtm(a @ b + 0j)
    means = ((x.mean(0) - y.mean(0)) ** 2).sum()
    wanted = means + np.trace(a + b) - 2 * np.trace(root).real
    assert frechet(x, y) == pytest.approx(wanted, rel=1e-4 if n > d else 1e-2)
    assert frechet(x, x) == pytest.approx(0, abs=1e-8)


def test_a_shift_is_seen_beside_chance_and_in_units_of_the_spread():
    x = RNG.normal(size=(1000, 4))
    same, moved = shift(x, RNG.normal(size=(400, 4))), shift(x, RNG.normal(size=(400, 4)) + 1)
    assert same.samples == 400
    assert same.distance < 0.02
    assert same.chance < 0.02
    assert moved.distance == pytest.approx(1, abs=0.15)  # 4 moved by 1, of a variance of 4
    again = shift(7 * x, 7 * x[:500] + 7)
    assert again.distance == pytest.approx(shift(x, x[:500] + 1).distance)


def test_as_many_of_both_sides_are_compared():
    assert shift(RNG.normal(size=(30, 2)), RNG.normal(size=(400, 2))).samples == 15
    assert shift(RNG.normal(size=(500, 2)), RNG.normal(size=(90, 2)), most=50).samples == 50


def test_too_few_and_a_collapsed_encoder_are_refused():
    with pytest.raises(ValueError, match="4 references and 2 others, got 3 and 9"):
        shift(np.zeros((3, 2)), np.zeros((9, 2)))
    with pytest.raises(ValueError, match="collapsed"):
        shift(np.ones((9, 2)), np.zeros((9, 2)))
