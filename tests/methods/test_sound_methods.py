"""Methods of signals: losses against numpy, and what they may and may not see."""

import cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp
from test_text_methods import agrees

from jssl import methods


def begun(name, encoder, batch, **options):
    method = cases.make(name, encoder, dtype=jnp.float64, options=options)
    params, state = jax.jit(method.init)(jax.random.key(0), batch)
    return method, params, state, jax.jit(method.views)(jax.random.key(1), batch)


@pytest.mark.parametrize("among", ["utterance", "batch"])
def test_cpc_is_the_cross_entropy_of_what_came(among, x64):
    """Equations 3 and 4 with a loop a prediction; as many drawn as there are frames that count."""
    batch = cases.batch(n=3)
    every = int((batch["samples"] // 4).sum())
    method, params, _, views = begun(
        "cpc", cases.cpc_net, batch, steps=3, among=among, negatives=every
    )
    net = cases.cpc_net(dtype=jnp.float64, param_dtype=jnp.float64)
    apply = jax.jit(lambda p: net.apply({"params": p}, views, latents=True))
    frames = np.asarray(batch["samples"]) // 4

    def reference(params):
        features, z, _ = jax.device_get(apply(jax.tree.map(jnp.asarray, params["encoder"])))
        means = []
        for k in (1, 2, 3):
            losses = []
            for i in range(3):
                for t in range(frames[i] - k):
                    score = params["predictor"]["kernel"][k - 1].T @ features.tokens[i, t]
                    others = range(3) if among == "batch" else [i]
                    scores = [
                        z[j, s] @ score
                        for j in others
                        for s in range(frames[j])
                        if (j, s) != (i, t + k)
                    ]
                    own = z[i, t + k] @ score
                    losses.append(logsumexp([own, *scores]) - own)
            means.append(np.mean(losses))
        return np.mean(means)

    agrees(method, params, views, reference, ["encoder", "predictor"])


def test_cpc_asks_nothing_of_padding():
    batch = cases.batch(n=3)
    method = cases.make(
        "cpc", cases.cpc_net, options={"steps": 3, "among": "batch", "negatives": 20}
    )
    params, state = jax.jit(method.init)(jax.random.key(0), batch)
    loss = jax.jit(lambda b: method.loss(params, state, b, jax.random.key(0), jnp.int32(0)))
    behind = jnp.arange(cases.SAMPLES)[None] >= batch["samples"][:, None] // 4 * 4
    changed = batch | {"signal": jnp.where(behind, 9.0, batch["signal"])}
    assert loss(changed)[0] == loss(batch)[0]
    np.testing.assert_allclose(loss(batch)[1].metrics["chance"], 1 / 20.5, rtol=0.03)
    short = batch | {"samples": jnp.full(3, 2, jnp.int32)}
    assert loss(short)[0] == 0


def test_bad_options():
    net, batch = cases.cpc_net(), cases.batch(n=2)
    with pytest.raises(ValueError, match="cpc needs a CPCEncoder encoder, got a ResNet"):
        methods.cpc(cases.resnet(), lambda batch: batch)
    with pytest.raises(ValueError, match="among must be one of utterance, batch, got 'all'"):
        methods.cpc(net, lambda batch: batch, among="all")
    with pytest.raises(ValueError, match="steps must be less than the 16 frames, got 16"):
        methods.cpc(net, lambda batch: batch, steps=16).init(jax.random.key(0), batch)
