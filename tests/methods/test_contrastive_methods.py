"""What the methods of the contrastive family do beside the ladder: state, options, refusals."""

import cases
import jax
import pytest

from jssl.losses import contrastive


def start(name, encoder=cases.resnet, n=16, **options):
    """A small method, its variables, the views of a batch and its jitted loss."""
    method = cases.make(name, encoder, options=cases.CASES[name][1] | options)
    batch = cases.batch(n)
    variables = jax.jit(method.init)(jax.random.key(0), batch)
    views = jax.jit(method.views)(jax.random.key(1), batch)
    return method, variables, views, jax.jit(method.loss)


def test_dcl_weighted_is_dclw(monkeypatch):
    seen = {}

    def loss(z1, z2, temperature, sigma):
        seen.update(temperature=temperature, sigma=sigma)
        return unpatched(z1, z2, temperature, sigma)

    unpatched = contrastive.decoupled_accuracy
    monkeypatch.setattr(contrastive, "decoupled_accuracy", loss)
    for options, sigma in (({}, None), ({"weighted": True}, 0.5)):
        method = cases.make("dcl", cases.vit, options=options)
        variables = jax.eval_shape(method.init, jax.random.key(0), cases.batch())
        views = jax.eval_shape(method.views, jax.random.key(1), cases.batch())
        jax.eval_shape(method.loss, *variables, views, jax.random.key(2), 0)
        assert seen == {"temperature": 0.1, "sigma": sigma}


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("dcl", {"temperature": 0.0}, "temperature must be > 0, got 0.0"),
        ("dcl", {"sigma": -1.0}, "sigma must be > 0, got -1.0"),
    ],
)
def test_bad_options(name, options, message):
    with pytest.raises(ValueError, match=message):
        cases.make(name, cases.resnet, options=options)
