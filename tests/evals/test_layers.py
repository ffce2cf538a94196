import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.evals import layers
from jssl.nn.resnet import ResidualBlock, ResNet
from jssl.nn.vit import Block, ViT

RNG = np.random.default_rng(0)


def gram_cka(x, y):
    """By kernels: equations 3 and 4 of arXiv 1905.00414, with the centring matrix."""
    n = len(x)
    h = np.eye(n) - 1 / n
    k, m = h @ x @ x.T @ h, h @ y @ y.T @ h
    return np.trace(k @ m) / np.sqrt(np.trace(k @ k) * np.trace(m @ m))


def test_cka_is_that_of_kernels_and_knows_no_turn_scale_or_shift(x64):
    x, y = RNG.normal(size=(30, 5)) + 2, RNG.normal(size=(30, 8))
    y[:, 0] += x[:, 1]
    assert float(layers.linear_cka(x, y)) == pytest.approx(gram_cka(x, y), rel=1e-9)
    turn = np.linalg.qr(RNG.normal(size=(5, 5)))[0]
    turned = 7 * x @ turn - 3
    assert float(layers.linear_cka(x, turned)) == pytest.approx(1, rel=1e-9)
    assert float(layers.linear_cka(turned, y)) == pytest.approx(gram_cka(x, y), rel=1e-9)
    assert float(layers.linear_cka(np.ones((30, 2)), y)) == 0
    table = layers.likeness({"a": x, "b": y}, {"c": y})
    np.testing.assert_allclose(table, [[gram_cka(x, y)], [1]], rtol=1e-9)


@pytest.mark.parametrize(
    ("net", "kind", "names"),
    [
        (ViT(8, 2, 2, patch=4), Block, ["blocks_0", "blocks_1"]),
        (
            ResNet((1, 1), width=4, stem="2x2"),
            ResidualBlock,
            ["stage1_block1", "stage2_block1"],
        ),
    ],
)
def test_outputs_are_the_means_of_what_blocks_return(net, kind, names):
    x = RNG.normal(size=(5, 8, 8, 3)).astype(np.float32)
    variables = jax.jit(lambda: net.init(jax.random.key(0), jnp.asarray(x)))()
    found = layers.outputs(lambda b: net.apply(variables, b["image"]), {"image": x}, batch_size=2)
    assert list(found) == [*names, "embedding"]
    features, kept = net.apply(
        variables,
        jnp.asarray(x),
        capture_intermediates=lambda m, _: isinstance(m, kind),
        mutable="intermediates",
    )
    inside = kept["intermediates"].get("transformer", kept["intermediates"])
    for name in names:
        (out,) = inside[name]["__call__"]
        expected = np.asarray(out).reshape(5, -1, out.shape[-1]).mean(axis=1)
        np.testing.assert_allclose(found[name], expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found["embedding"], features.pooled, rtol=1e-4, atol=1e-6)


@pytest.mark.long
def test_probes_tell_the_layer_that_holds_the_classes():
    y = np.arange(60) % 3
    noise = RNG.normal(size=(60, 4)).astype(np.float32)
    held = (np.eye(3, 4)[y] * 9 + noise).astype(np.float32)
    parts = {"noise": noise, "held": held}
    found = layers.probes(parts, y, parts, y, num_classes=3, k=100)
    assert found["held"]["linear"] == 1
    assert found["noise"]["linear"] < 0.8
    assert list(found["noise"]) == ["knn", "linear"]
    assert jnp.isfinite(found["noise"]["knn"])
