"""The decoder's sizes and stages, what upsampling takes where from, and an encoder joined to it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.method import Features
from jssl.nn import ConvDecoder, EncoderDecoder, ResNet, ViT
from jssl.nn.decoder import feature_map, upsample


@pytest.mark.parametrize(
    ("grid", "size", "widths"),
    [
        ((2, 2), (28, 28), [64, 32, 16, 8]),
        ((4, 4), (28, 28), [32, 16, 8]),
        ((2, 2), (32, 32), [64, 32, 16, 8]),
        ((2, 2), (16, 16), [32, 16, 8]),
        ((1, 1), (16, 16), [64, 32, 16, 8]),
        ((7, 7), (28, 28), [16, 8]),
        ((2, 4), (27, 50), [64, 32, 16, 8]),
        ((16, 16), (224, 224), [64, 32, 16, 8]),
        ((8, 8), (8, 8), [8]),
        ((8, 8), (5, 5), [8]),
    ],
)
@pytest.mark.parametrize("channels", [1, 5])
def test_sizes_and_stages(grid, size, widths, channels):
    decoder = ConvDecoder(channels, width=8, widest=64)
    x = jax.ShapeDtypeStruct((2, *grid, 6), jnp.bfloat16)
    out, variables = jax.eval_shape(
        lambda key, x: decoder.init_with_output(key, x, size, True), jax.random.key(0), x
    )
    assert out.shape == (2, *size, channels)
    assert out.dtype == jnp.float32
    stages = [variables["params"][f"norm{i + 1}"]["scale"].size for i in range(len(widths))]
    assert stages == widths
    assert len(variables["params"]) == 2 * len(widths) + 1


@pytest.mark.parametrize("new", [(8, 10), (7, 9), (4, 5), (7, 8), (3, 2), (12, 15)])
def test_upsampling_takes_the_nearest_pixel(new):
    x = np.random.default_rng(0).random((2, 4, 5, 3), np.float32)

    def nearest(old, new):
        # What a doubling cuts off lies behind, as what a strided convolution pads.
        grown = 2 * old if new == 2 * old - 1 else new
        return ((np.arange(new) + 0.5) * old / grown).astype(int)

    rows, columns = map(nearest, x.shape[1:3], new)
    np.testing.assert_array_equal(upsample(jnp.asarray(x), new), x[:, rows][:, :, columns])


def test_tokens_of_a_vit_lie_row_by_row():
    tokens = jnp.arange(6.0).reshape(1, 6, 1)
    grid = feature_map(Features(tokens[:, 0], tokens), (8, 12))
    np.testing.assert_array_equal(grid[0, :, :, 0], np.arange(6).reshape(2, 3))
    np.testing.assert_array_equal(feature_map(Features(None, grid), (8, 12)), grid)


@pytest.mark.parametrize("encoder", [ResNet((1, 1), width=4), ViT(8, 1, 2, patch=4, pool="mean")])
def test_joined_to_an_encoder(encoder):
    net, x = EncoderDecoder(encoder, ConvDecoder(2, width=4)), jnp.ones((2, 12, 16, 3))

    @jax.jit
    def run(x):
        variables = net.init(jax.random.key(0), x)
        encoded = net.apply(variables, x, method="encode")
        alone = encoder.apply({k: v["encoder"] for k, v in variables.items() if "encoder" in v}, x)
        half, _ = net.init_with_output(jax.random.key(0), x, size=(6, 8))
        return net.apply(variables, x), half, encoded, alone

    whole, half, encoded, alone = run(x)
    assert whole.shape == (2, 12, 16, 2)
    assert half.shape == (2, 6, 8, 2)
    np.testing.assert_allclose(encoded.pooled, alone.pooled, atol=1e-6)
