"""SimSiam, DINO and LeJEPA: losses against the authors' code, and what the papers promise."""

import jax.numpy as jnp
import numpy as np
import pytest
from references import distillation as reference
from references.agreement import agree

from jssl.losses import regression

RNG = np.random.default_rng(0)


@pytest.mark.usefixtures("x64")
class TestReferences:
    def test_negative_cosine_both_ways_is_simsiam(self):
        p1, p2, z1, z2 = RNG.normal(size=(4, 6, 5))
        agree(
            lambda p1, p2: (
                regression.negative_cosine(p1, jnp.asarray(z2)) / 2
                + regression.negative_cosine(p2, jnp.asarray(z1)) / 2
            ),
            lambda p1, p2: reference.simsiam(p1, p2, z1, z2),
            p1,
            p2,
        )
