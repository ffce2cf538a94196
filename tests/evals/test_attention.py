import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.evals import attention
from jssl.nn.resnet import ResNet
from jssl.nn.vit import ViT

HEADS, DEPTH = 2, 2


@pytest.fixture
def seen(x64):
    """A small ViT in float64: its variables, images, and what goes into each attention."""
    net = ViT(8, DEPTH, HEADS, patch=4, dtype=jnp.float64, param_dtype=jnp.float64)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 8, 12, 3)))
    variables = jax.jit(lambda: net.init(jax.random.key(0), x))()
    # Larger weights than those drawn, or attention would be nearly even.
    variables = jax.tree.map(lambda w: 3 * w if w.ndim == 2 else w, variables)
    _, kept = net.apply(
        variables, x, capture_intermediates=lambda m, _: m.name == "norm1", mutable="intermediates"
    )
    return net, variables, x, kept["intermediates"]["transformer"]


def test_attention_is_the_softmax_of_queries_and_keys(seen):
    net, variables, x, inputs = seen
    found = attention.attention(lambda b: net.apply(variables, b["image"]), {"image": x})
    assert found.shape == (DEPTH, 2, HEADS, 7, 7)
    for layer in range(DEPTH):
        name = f"blocks_{layer}"
        qkv = variables["params"]["transformer"][name]["qkv"]
        y = np.asarray(inputs[name]["norm1"]["__call__"][0]) @ np.asarray(qkv["kernel"])
        q, k, _ = np.split(y + np.asarray(qkv["bias"]), 3, axis=-1)
        for head in range(HEADS):
            part = slice(4 * head, 4 * head + 4)
            scores = q[..., part] @ k[..., part].swapaxes(1, 2) / np.sqrt(4)
            powers = np.exp(scores)
            expected = powers / powers.sum(axis=-1, keepdims=True)
            np.testing.assert_allclose(found[layer, :, head], expected, rtol=1e-9)
    assert found.max() > 0.5


def test_rollout_multiplies_layers_with_their_residuals(x64):
    raw = np.random.default_rng(0).random((3, 2, 2, 5, 5))
    weights = raw / raw.sum(axis=-1, keepdims=True)
    expected = np.eye(5)[None]
    for layer in weights:
        expected = (0.5 * layer.mean(axis=1) + 0.5 * np.eye(5)) @ expected
    found = attention.rollout(jnp.asarray(weights))
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    np.testing.assert_allclose(found.sum(axis=-1), 1, rtol=1e-9)


def test_the_embedding_takes_from_patches_alone():
    flow = jnp.arange(49.0).reshape(1, 7, 7)
    of_class = attention.onto_patches(flow, (2, 3), "cls")
    np.testing.assert_array_equal(of_class[0], [[1, 2, 3], [4, 5, 6]])
    mean = attention.onto_patches(flow, (2, 3), "mean")
    np.testing.assert_array_equal(mean[0], np.asarray(flow)[0, 1:, 1:].mean(axis=0).reshape(2, 3))
    bare = attention.onto_patches(flow[:, 1:, 1:], (2, 3), "mean")
    np.testing.assert_array_equal(bare, mean)
    with pytest.raises(ValueError, match="7 tokens do not fit a grid of 2 x 2"):
        attention.onto_patches(flow, (2, 2), "mean")


def test_a_residual_network_has_none():
    net = ResNet((1,), width=4, stem="2x2")
    x = jnp.ones((1, 4, 4, 1))
    variables = net.init(jax.random.key(0), x)
    assert attention.attention(lambda b: net.apply(variables, b["image"]), {"image": x}) is None
