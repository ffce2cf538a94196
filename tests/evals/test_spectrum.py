import jax.numpy as jnp
import numpy as np
import pytest

from jssl.evals import spectrum


def test_alpha_is_the_exponent_of_a_power_law():
    q = np.linalg.qr(np.random.default_rng(0).normal(size=(300, 121)) - 0.5)[0]
    q = np.linalg.qr(q - q.mean(axis=0))[0][:, :120]
    for alpha in (0.5, 1.0, 2.0):
        z = q * np.arange(1, 121) ** (-alpha / 2)
        assert spectrum.alpha_req(z) == pytest.approx(alpha, rel=1e-6)
    z = q * np.random.default_rng(1).random(120)
    values = np.sort(np.linalg.eigvalsh(np.cov(z.T)))[::-1][3:100]
    x = np.stack([-np.log(np.arange(4, 101)), np.ones(97)], axis=1)
    w = 1 / np.arange(4, 101)[:, None]
    expected = np.linalg.solve(x.T @ (w * x), x.T @ (w[:, 0] * np.log(values)))[0]
    assert spectrum.alpha_req(z) == pytest.approx(expected, rel=1e-6)
    assert spectrum.alpha_req(np.ones((5, 200))) is None


@pytest.mark.parametrize("shape", [(40, 3, 6), (5, 4, 9)])
def test_lidar_is_that_of_its_paper(x64, shape):
    n, q, d = shape
    rng = np.random.default_rng(0)
    z = rng.normal(size=(n, 1, d)) * 0.8 ** np.arange(d) + 0.3 * rng.normal(size=shape)
    mean = z.mean(axis=1)
    between = (mean - mean.mean(axis=0)).T @ (mean - mean.mean(axis=0)) / (n - 1)
    gap = (z - mean[:, None]).reshape(-1, d)
    within = gap.T @ gap / (n * (q - 1)) + 1e-4 * np.eye(d)
    values, axes = np.linalg.eigh(within)
    root = axes @ np.diag(values**-0.5) @ axes.T
    values = np.maximum(np.linalg.eigvalsh(root @ between @ root), 0)
    share = values / values.sum() + 1e-7
    expected = np.exp(-np.sum(share * np.log(share)))
    assert float(spectrum.lidar(jnp.asarray(z))) == pytest.approx(expected, rel=1e-6)


def test_lidar_wants_views():
    with pytest.raises(ValueError, match="2 examples of 2 views, got 3 of 1"):
        spectrum.lidar(jnp.ones((3, 1, 2)))
