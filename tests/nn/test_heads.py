import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.nn import MLP, JointEmbedding, ResNet, ViT


def count(tree):
    return sum(int(np.prod(x.shape)) for x in jax.tree.leaves(tree))


# Counts by hand for 2048 features: weights, biases and 2 per normalised unit.
@pytest.mark.parametrize(
    ("head", "parameters"),
    [
        # SimCLR v1: 2048-128, a norm with scale alone at the end.
        (
            MLP((2048, 128), final_norm="batch", final_offset=False),
            2048 * 2048 + 2 * 2048 + 2048 * 128 + 128,
        ),
        # BYOL: 4096 with bias, norm, ReLU, 256 without.
        (MLP((4096, 256), bias=True), 2048 * 4096 + 4096 + 2 * 4096 + 4096 * 256),
        # Barlow Twins: three layers of 8192.
        (MLP((8192,) * 3), 2048 * 8192 + 2 * 8192**2 + 4 * 8192),
        # MoCo v3: a last norm without scale and offset.
        (
            MLP((4096, 256), final_norm="batch", final_scale=False, final_offset=False),
            2048 * 4096 + 2 * 4096 + 4096 * 256,
        ),
        # DINO's before its last layer: GELU, biases, no norm.
        (
            MLP((2048, 2048, 256), norm=None, activation="gelu"),
            2 * 2048 * 2049 + 2049 * 256,
        ),
    ],
)
def test_published_heads(head, parameters):
    x = jax.ShapeDtypeStruct((2, 2048), jnp.float32)
    assert count(jax.eval_shape(head.init, jax.random.key(0), x)["params"]) == parameters


@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("norm", ["batch", "layer", None])
def test_mlp_against_numpy(x64, norm, activation):
    from scipy.special import erf

    m = MLP((7, 5), norm=norm, final_norm=norm, activation=activation, param_dtype=jnp.float64)
    x = jax.random.normal(jax.random.key(0), (6, 3))
    v = jax.jit(m.init)(jax.random.key(1), x)
    v = jax.tree.map(lambda p: p + 0.3 * jnp.cos(jnp.arange(p.size)).reshape(p.shape), v)
    y, _ = m.apply(v, x, True, mutable=["batch_stats"])
    p = jax.tree.map(np.asarray, v["params"])

    def layer(x, i):
        x = x @ p[f"dense{i}"]["kernel"] + p[f"dense{i}"].get("bias", 0.0)
        if norm is None:
            return x
        axis, eps = (0, 1e-5) if norm == "batch" else (-1, 1e-6)
        x = (x - x.mean(axis, keepdims=True)) / np.sqrt(x.var(axis, keepdims=True) + eps)
        return x * p[f"norm{i}"]["scale"] + p[f"norm{i}"]["bias"]

    h = layer(np.asarray(x), 1)
    h = np.maximum(h, 0) if activation == "relu" else h * 0.5 * (1 + erf(h / np.sqrt(2)))
    np.testing.assert_allclose(y, layer(h, 2), rtol=1e-9, atol=1e-12)
    assert ("bias" in p["dense1"]) == (norm is None)


def test_mlp_in_bfloat16_returns_float32():
    m = MLP((8, 4), dtype=jnp.bfloat16)
    x = jax.random.normal(jax.random.key(0), (6, 3))
    v = jax.jit(m.init)(jax.random.key(1), x)
    y, new = m.apply(v, x, True, mutable=["batch_stats"])
    assert y.dtype == jnp.float32
    assert {a.dtype for a in jax.tree.leaves((v, new))} == {jnp.dtype(jnp.float32)}
    _, seen = m.apply(v, x, capture_intermediates=True)
    assert seen["intermediates"]["dense1"]["__call__"][0].dtype == jnp.bfloat16


def test_joint_embedding():
    encoder = ResNet((1, 1), width=4, stem="cifar")
    x = jax.random.normal(jax.random.key(0), (4, 8, 8, 3))
    joint = JointEmbedding(encoder, MLP((16, 6)), MLP((12, 6)))
    v = jax.jit(joint.init)(jax.random.key(1), x)
    assert set(v["params"]) == {"encoder", "projector", "predictor"}
    out, new = joint.apply(v, x, True, mutable=["batch_stats"])
    assert out.z.shape == out.p.shape == (4, 6)
    assert jax.tree.structure(new["batch_stats"]) == jax.tree.structure(v["batch_stats"])
    # Each part is what it is alone.
    alone = encoder.apply({k: t["encoder"] for k, t in v.items()}, x)
    encoded = joint.apply(v, x, method="encode")
    jax.tree.map(np.testing.assert_array_equal, encoded, alone)
    out = joint.apply(v, x)
    z = joint.projector.apply({k: t["projector"] for k, t in v.items()}, alone.pooled)
    p = joint.predictor.apply({k: t["predictor"] for k, t in v.items()}, z)
    np.testing.assert_array_equal(out.features.pooled, alone.pooled)
    np.testing.assert_array_equal(out.z, z)
    np.testing.assert_array_equal(out.p, p)


def test_joint_embedding_without_predictor():
    joint = JointEmbedding(ViT(16, 1, 2, 4), MLP((16, 6), norm="layer"))
    x = jnp.ones((2, 8, 8, 1))
    v = jax.jit(joint.init)(jax.random.key(0), x)
    assert set(v["params"]) == {"encoder", "projector"}
    assert joint.apply(v, x).p is None


def test_errors():
    with pytest.raises(ValueError, match="widths must name at least one layer"):
        MLP(())
    with pytest.raises(ValueError, match="norm must be 'batch', 'layer' or None, got 'group'"):
        MLP((4,), norm="group")
    with pytest.raises(ValueError, match=r"final_norm must be .* got 'l2'"):
        MLP((4,), final_norm="l2")
    with pytest.raises(ValueError, match="activation must be one of relu, gelu, got 'tanh'"):
        MLP((4,), activation="tanh")
