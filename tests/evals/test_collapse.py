import jax.numpy as jnp
import numpy as np
import pytest

from jssl.evals import collapse
from jssl.losses import spread

N, D = 400, 64
RNG = np.random.default_rng(0)
NORMAL = RNG.standard_normal((N, D))
DIRECTION = RNG.standard_normal(D)
SPECTRA = {
    "isotropic": NORMAL,
    "fewer examples than dimensions": NORMAL[:40],
    "harmonic": NORMAL / np.arange(1, D + 1),
    "steep": NORMAL / np.arange(1, D + 1) ** 2,
    "exponential": NORMAL * 0.8 ** np.arange(D),
    "one point and a little noise": DIRECTION + 1e-3 * NORMAL,
    "one line": np.outer(NORMAL[:, 0], DIRECTION),
    "one point": np.tile(DIRECTION, (N, 1)),
    "rectified": np.maximum(NORMAL + 1, 0),
}


def rankme(z):
    """Equation 1 of arXiv 2210.02885 by the singular values in float64."""
    s = np.linalg.svd(z, compute_uv=False)
    p = s / s.sum()
    return np.exp(-(p * np.log(p + 1e-16)).sum())


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e15])
def test_effective_rank_in_float32_is_that_of_the_singular_values(name, scale):
    z = (SPECTRA[name] * scale).astype(np.float32)
    expected = rankme(z.astype(float) / scale)
    assert float(collapse.effective_rank(jnp.asarray(z))) == pytest.approx(expected, rel=5e-4)


def test_effective_rank_of_zeros_and_of_a_rotation():
    assert float(collapse.effective_rank(jnp.zeros((8, 4)))) == 1
    assert float(collapse.effective_rank(jnp.eye(16))) == pytest.approx(16, rel=1e-5)
    assert float(collapse.effective_rank(jnp.eye(16, dtype=jnp.bfloat16))) == pytest.approx(16)


def test_deviation_is_ideal_on_the_sphere_and_zero_on_a_point():
    sphere = spread.deviation(jnp.asarray(RNG.standard_normal((20000, D)), jnp.float32))
    assert float(sphere) == pytest.approx(D**-0.5, rel=0.01)
    assert float(spread.deviation(jnp.asarray(SPECTRA["one point"], jnp.float32))) < 1e-6
    z = NORMAL / np.linalg.norm(NORMAL, axis=1, keepdims=True)
    got = float(spread.deviation(jnp.asarray(5 * NORMAL, jnp.float32)))
    assert got == pytest.approx(z.std(axis=0).mean(), rel=1e-5)


def test_alignment_and_uniformity_against_all_pairs():
    a, b = NORMAL[:50], NORMAL[:50] + 0.3 * NORMAL[50:100]
    x, y = (z / np.linalg.norm(z, axis=1, keepdims=True) for z in (a, b))
    lengths = np.linalg.norm(x - y, axis=1)
    a, b = jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32)
    assert float(spread.alignment(a, b)) == pytest.approx((lengths**2).mean(), rel=1e-5)
    assert float(spread.alignment(a, b, alpha=1.0)) == pytest.approx(lengths.mean(), rel=1e-5)
    assert float(spread.alignment(a, a)) < 1e-12
    pairs = [np.exp(-2 * ((x[i] - x[j]) ** 2).sum()) for i in range(50) for j in range(i)]
    assert float(spread.uniformity(a)) == pytest.approx(np.log(np.mean(pairs)), rel=1e-5)
    one_point = jnp.asarray(SPECTRA["one point"], jnp.float32)
    assert float(spread.uniformity(one_point)) == pytest.approx(0, abs=1e-5)
    with pytest.raises(ValueError, match="at least 2 examples, got 1"):
        spread.uniformity(a[:1])


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("isotropic", None),
        ("harmonic", None),
        ("rectified", None),
        ("one point", "close to one point"),
        ("one point and a little noise", "close to one point"),
        ("one line", "close to one line: effective rank 1.0 of 64"),
    ],
)
def test_verdict(name, reason):
    z = jnp.asarray(SPECTRA[name], jnp.float32)
    rank, deviation = float(collapse.effective_rank(z)), float(spread.deviation(z))
    verdict = collapse.collapsed(rank, deviation, D)
    assert verdict is None if reason is None else reason in verdict


def test_verdict_on_numbers_that_are_none():
    nan = float("nan")
    assert collapse.collapsed(nan, 0.1, D) == "The embedding is not finite."
    assert collapse.collapsed(10.0, nan, D) == "The embedding is not finite."
