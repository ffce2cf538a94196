"""The codebook against numpy that keeps N, m and e of the paper's appendix A.1 apart."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.nn import codebook
from jssl.nn.codebook import Codebook

K, D, N = 5, 3, 40
RNG = np.random.default_rng(0)
follow = jax.jit(codebook.follow, static_argnames=("decay", "dead"))


def batches(count):
    """Vectors about three places, so that some codes are far from all of them."""
    places = RNG.normal(size=(3, D)) * 4
    return [places[RNG.integers(0, 3, N)] + RNG.normal(size=(N, D)) for _ in range(count)]


def test_nearest_is_the_least_distance(x64):
    vectors, z = RNG.normal(size=(K, D)), RNG.normal(size=(2, 4, 6, D))
    distance = ((z[..., None, :] - vectors) ** 2).sum(-1)
    codes = jax.jit(codebook.nearest)(jnp.asarray(vectors), jnp.asarray(z))
    assert codes.dtype == jnp.int32
    np.testing.assert_array_equal(codes, distance.argmin(-1))
    # The length of a code counts, not its direction alone.
    assert (np.asarray(codes) != (z @ vectors.T).argmax(-1)).any()


def test_the_moving_averages_of_the_paper(x64):
    gamma = 0.9
    e, sizes = RNG.normal(size=(K, D)), np.full(K, 8.0)
    m, book = sizes[:, None] * e, Codebook(jnp.asarray(e), jnp.asarray(sizes))
    for z in batches(6):
        codes = ((z[:, None] - e) ** 2).sum(-1).argmin(1)
        for i in range(K):  # equations of appendix A.1
            sizes[i] = gamma * sizes[i] + (1 - gamma) * (codes == i).sum()
            m[i] = gamma * m[i] + (1 - gamma) * z[codes == i].sum(0)
            e[i] = m[i] / sizes[i]
        z = jnp.asarray(z)
        ours = codebook.nearest(book.vectors, z)
        np.testing.assert_array_equal(ours, codes)
        book = follow(book, z, ours, jax.random.key(0), decay=gamma, dead=0)
        np.testing.assert_allclose(book.vectors, e, rtol=1e-10)
        np.testing.assert_allclose(book.sizes, sizes, rtol=1e-10)
    assert len(set(codes.tolist())) < K  # some stood for nothing, and were left alone


def test_a_dead_code_begins_anew_on_the_data_with_an_even_share(x64):
    (z,) = batches(1)
    e, sizes = RNG.normal(size=(K, D)), np.full(K, 8.0)
    e[1], sizes[1] = 100.0, 0.8  # of the 8 that are even; 0.9 of it stay
    e[2], sizes[2] = 100.0, 0.9
    z, before = jnp.asarray(z), Codebook(jnp.asarray(e), jnp.asarray(sizes))
    codes = codebook.nearest(before.vectors, z)
    book = follow(before, z, codes, jax.random.key(0), decay=0.9, dead=0.1)
    kept = follow(before, z, codes, jax.random.key(0), decay=0.9, dead=0)
    assert (np.asarray(z) == np.asarray(book.vectors[1])[None]).all(1).any()
    assert book.sizes[1] == N / K
    for i in (0, 2, 3, 4):
        np.testing.assert_array_equal(book.vectors[i], kept.vectors[i])
        np.testing.assert_array_equal(book.sizes[i], kept.sizes[i])
    assert book.sizes[2] < kept.sizes[2] + 1e-12 < N / K


def test_the_first_batch_places_every_code_on_a_vector_of_its_own():
    book = codebook.start(jax.random.key(0), K, D)
    assert {x.dtype for x in book} == {jnp.dtype("float32")}
    z = jnp.asarray(batches(1)[0], jnp.float32)
    book = follow(book, z, codebook.nearest(book.vectors, z), jax.random.key(1))
    matches = (np.asarray(book.vectors)[:, None] == np.asarray(z)[None]).all(-1)
    assert (matches.sum(1) == 1).all()
    assert (matches.sum(0) <= 1).all()
    np.testing.assert_allclose(book.sizes, N / K)
    # Fewer vectors than codes: some stand twice.
    few = follow(codebook.start(jax.random.key(0), K, D), z[:2], jnp.zeros(2, jnp.int32),
                 jax.random.key(1))  # fmt: skip
    assert (np.asarray(few.vectors)[:, None] == np.asarray(z)[None, :2]).all(-1).any(1).all()


def test_straight_through_has_the_value_of_the_code_and_the_gradient_of_the_vector(x64):
    z, q = jnp.asarray(RNG.normal(size=(2, N, D)))
    weight = jnp.asarray(RNG.normal(size=(N, D)))

    def loss(z, q):
        return jnp.sum(weight * jnp.sin(codebook.straight_through(z, q)))

    value, (by_z, by_q) = jax.value_and_grad(loss, argnums=(0, 1))(z, q)
    np.testing.assert_allclose(value, np.sum(weight * np.sin(q)), rtol=1e-12)
    np.testing.assert_allclose(by_z, weight * np.cos(q), rtol=1e-12)
    np.testing.assert_array_equal(by_q, 0)


def test_no_gradient_moves_the_codebook():
    book = codebook.start(jax.random.key(0), K, D)
    z = jnp.asarray(batches(1)[0], jnp.float32)

    def loss(z):
        new = codebook.follow(book, z, jnp.zeros(N, jnp.int32), jax.random.key(0))
        return new.vectors.sum() + new.sizes.sum()

    np.testing.assert_array_equal(jax.grad(loss)(z), 0)


def test_perplexity():
    def of(codes):
        return float(codebook.perplexity(jnp.asarray(codes, jnp.int32), K))

    assert of([[3, 3], [3, 3]]) == pytest.approx(1)
    assert of(range(K)) == pytest.approx(K)
    shares = np.array([0.5, 0.25, 0.25])
    assert of([0, 0, 1, 4]) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))


def test_a_codebook_has_codes():
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        codebook.start(jax.random.key(0), 0, D)
