"""What may be drawn of the next token."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.nn import sampling


def test_restrict_keeps_what_it_says():
    chances = jnp.asarray([[0.1, 0.5, 0.15, 0.25], [0.97, 0.01, 0.01, 0.01]])
    logits = jnp.log(chances)

    def kept(**options):
        return np.isfinite(sampling.restrict(logits, **options)).tolist()

    assert kept(top_k=2)[0] == [False, True, False, True]
    assert kept(top_p=0.7) == [[False, True, False, True], [True, False, False, False]]
    assert kept(top_p=0.8)[0] == [False, True, True, True]
    assert kept(top_k=9, top_p=1.0) == kept() == [[True] * 4] * 2
    # Of the two that top_k leaves the first alone has two thirds.
    assert kept(top_k=2, top_p=0.6)[0] == [False, True, False, False]
    halved = jax.nn.softmax(sampling.restrict(logits, temperature=0.5))
    expected = np.asarray(chances) ** 2
    np.testing.assert_allclose(halved, expected / expected.sum(1, keepdims=True), rtol=1e-5)
    for options in ({"temperature": 0.0}, {"top_k": 0}, {"top_p": 0.0}, {"top_p": 1.1}):
        (name,) = options
        with pytest.raises(ValueError, match=f"{name} must be"):
            sampling.restrict(logits, **options)
