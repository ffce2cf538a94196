"""What another run learned, put where a method begins."""

import re

import cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.method import Vars
from jssl.nn import encoders, forward, layers, transfer

OFTEN = ("byol", "data2vec", "deepcluster", "simmim")


def zeros(method, batch):
    """Its first variables, without the values."""
    shapes = jax.eval_shape(method.init, jax.random.key(0), batch)
    return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)


def like(method, encoder, begun, batch):
    alone = encoder(param_dtype=jnp.float32)
    return jax.eval_shape(lambda: forward.variables_within(method.embed, alone, *begun, batch))


def changed(begun):
    """The names of what is all ones."""
    names = jax.tree.map(lambda name, x: name if np.all(x == 1) else "", layers.paths(begun), begun)
    return set(jax.tree.leaves(names)) - {""}


@pytest.mark.parametrize(
    ("name", "encoder"),
    # The others have their encoders in the same places as one of these.
    [
        pytest.param(*cell, id=label, marks=() if cell[0] in OFTEN else pytest.mark.long)
        for cell, label in zip(cases.CELLS, cases.IDS, strict=True)
    ],
)
def test_every_method_can_begin_with_an_encoder_and_its_teacher_with_it(name, encoder):
    method, batch = cases.make(name, encoder), cases.batch(n=2)
    begun = zeros(method, batch)
    own = like(method, encoder, begun, batch)
    learned = jax.tree.map(lambda x: np.ones(x.shape, x.dtype), own)
    found = transfer.with_encoder(begun, learned, own)
    shape = jax.tree.map(lambda x: (x.shape, x.dtype), begun)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), found) == shape
    # Some keep the statistics of the encoder alone.
    part = re.compile(r"/encoder/|/batch_stats/st(em_norm|age)")
    names = jax.tree.leaves(layers.paths(begun))
    expected = {x for x in names if part.search(x) and not x.startswith("state/tokenizer/")}
    assert changed(found) == expected


def test_a_mask_token_stays_where_it_was_and_is_not_taken_along():
    masked, plain = cases.make("simmim", cases.vit), cases.make("mae", cases.vit)
    batch = cases.batch(n=2)
    hides, shows = zeros(masked, batch), zeros(plain, batch)
    ones = lambda tree: jax.tree.map(lambda x: np.ones(x.shape, x.dtype), tree)  # noqa: E731
    with_token, without = (
        like(m, cases.vit, v, batch) for m, v in ((masked, hides), (plain, shows))
    )
    assert with_token["params"].keys() - without["params"].keys() == {"mask_token"}
    found = transfer.with_encoder(hides, ones(without), with_token).params["encoder"]
    assert not found["mask_token"].any()
    assert found["cls"].all()
    found = transfer.with_encoder(shows, ones(with_token), without).params["encoder"]
    assert found.keys() == shows.params["encoder"].keys()
    assert found["cls"].all()


def test_learned_positions_of_another_grid_are_interpolated():
    def encoder(**options):
        return encoders.build("vit", dim=24, depth=1, heads=2, patch=4, positions="learned")

    batches = cases.batch(n=2), cases.batch(n=2, size=32)
    small, large = (cases.make("supervised", encoder, size=size) for size in (16, 32))
    begun = zeros(large, batches[1])
    learned = jax.tree.map(
        np.zeros_like, jax.device_get(zeros(small, batches[0]).params["encoder"])
    )
    # A ramp over the rows of the grid.
    learned["positions"] += np.linspace(0, 1, 4, dtype=np.float32)[:, None, None]
    own = like(large, encoder, begun, batches[1])
    table = transfer.with_encoder(begun, {"params": learned}, own).params["encoder"]["positions"]
    assert table.shape == (8, 8, 24)
    assert np.all(np.diff(table[:, 0, 0]) > 0)
    np.testing.assert_allclose(table[3:5, 0, 0].mean(), 0.5, atol=1e-6)


def test_all_of_another_run_is_refused_where_it_does_not_fit():
    batch = cases.batch(n=2)
    begun = zeros(cases.make("simclr", cases.vit), batch)
    same = transfer.with_all(begun, jax.tree.map(lambda x: x + 1, begun))
    assert isinstance(same, Vars)
    assert all(np.all(x == 1) for x in jax.tree.leaves(same))
    other = zeros(cases.make("byol", cases.vit), batch)
    with pytest.raises(ValueError, match=r"has \[32\] as params/predictor/dense1/bias, .* nothing"):
        transfer.with_all(begun, other)
