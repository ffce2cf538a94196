"""The networks over signals see the past alone, and no padding in what is pooled."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.nn.audio import CausalConvs, CPCEncoder

KEY = jax.random.key(0)
NET = CPCEncoder(dim=8, context=6, kernels=(4, 3), strides=(2, 2))


@pytest.fixture(scope="module")
def made():
    signal = jax.random.normal(jax.random.key(1), (2, 40))
    x = {"signal": signal, "samples": jnp.array([40, 13], jnp.int32)}
    variables = jax.jit(NET.init)(KEY, x)
    return x, variables, jax.jit(lambda v, x: NET.apply(v, x, latents=True))


def test_a_frame_sees_no_later_sample(made):
    x, variables, apply = made
    features, z, real = apply(variables, x)
    assert z.shape == (2, 10, 8)
    assert features.tokens.shape == (2, 10, 6)
    assert real.sum(1).tolist() == [10, 3]
    for frame in (0, 4, 9):
        changed = x | {"signal": x["signal"].at[:, 4 * (frame + 1) :].add(1.0)}
        others, other_z, _ = apply(variables, changed)
        np.testing.assert_array_equal(
            others.tokens[:, : frame + 1], features.tokens[:, : frame + 1]
        )
        np.testing.assert_array_equal(other_z[:, : frame + 1], z[:, : frame + 1])
        if frame < 9:
            assert np.any(others.tokens[:, frame + 1] != features.tokens[:, frame + 1])
    last = x | {"signal": x["signal"].at[:, 4 * 5 - 1].add(1.0)}
    assert np.any(apply(variables, last)[0].tokens[:, 4] != features.tokens[:, 4])


def test_padding_is_not_pooled(made):
    x, variables, apply = made
    features, _, _ = apply(variables, x)
    changed = x | {"signal": x["signal"].at[1, 12:].set(3.0)}
    np.testing.assert_array_equal(apply(variables, changed)[0].pooled[1], features.pooled[1])
    np.testing.assert_allclose(features.pooled[1], features.tokens[1, :3].mean(0), rtol=1e-5)
    empty = x | {"samples": jnp.zeros(2, jnp.int32)}
    assert np.all(np.isfinite(apply(variables, empty)[0].pooled))


def test_convolutions_are_those_of_numpy():
    net = CausalConvs(dim=2, kernels=(3,), strides=(2,))
    x = jax.random.normal(KEY, (1, 8))
    variables = net.init(KEY, x)
    kernel = np.asarray(variables["params"]["conv0"]["kernel"])[:, 0]
    padded = np.pad(np.asarray(x[0]), (1, 0))
    by_hand = np.stack([padded[2 * i : 2 * i + 3] @ kernel for i in range(4)])
    np.testing.assert_allclose(net.apply(variables, x)[0], np.maximum(by_hand, 0), atol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_features_are_float32_at_least(made, dtype):
    x, variables, _ = made
    out = jax.eval_shape(NET.clone(dtype=dtype).apply, variables, x)
    assert out.pooled.dtype == out.tokens.dtype == jnp.float32


def test_bad_options():
    with pytest.raises(ValueError, match="kernels must be one for each stride and no shorter"):
        CausalConvs(kernels=(2, 2), strides=(3, 2))
