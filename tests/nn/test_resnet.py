import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.nn import ResNet, build
from jssl.nn.resnet import ResidualBlock


def shapes(module, size, channels=3):
    x = jax.ShapeDtypeStruct((2, *size, channels), jnp.float32)
    return jax.eval_shape(functools.partial(module.init, train=True), jax.random.key(0), x)


def run(m, v, x, *args, **kwargs):
    """`m.apply` as one program; op by op it takes seconds."""
    return jax.jit(lambda v, x: m.apply(v, x, *args, **kwargs))(v, x)


def count(tree):
    return sum(int(np.prod(x.shape)) for x in jax.tree.leaves(tree))


# torchvision's counts less the 1000-class layer: 11,689,512 - 513,000; 21,797,672 - 513,000;
# 25,557,032 - 2,049,000; 44,549,160 - 2,049,000.
@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("resnet18", 11_176_512),
        ("resnet34", 21_284_672),
        ("resnet50", 23_508_032),
        ("resnet101", 42_500_160),
    ],
)
def test_published_parameter_counts(name, parameters):
    v = shapes(build(name), (224, 224))
    assert count(v["params"]) == parameters
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(v))


@pytest.mark.parametrize(
    ("stem", "size", "grid"),
    [
        ("imagenet", (64, 96), (2, 3)),
        ("cifar", (32, 32), (4, 4)),
        ("2x2", (32, 32), (2, 2)),
        ("2x2", (28, 28), (2, 2)),
        ("2x2", (27, 30), (2, 2)),
    ],
)
@pytest.mark.parametrize("channels", [1, 3, 7])
def test_stems_and_channels(stem, size, grid, channels):
    m = ResNet((1, 1, 1, 1), width=4, stem=stem)
    v = shapes(m, size, channels)
    x = jax.ShapeDtypeStruct((2, *size, channels), jnp.float32)
    features = jax.eval_shape(m.apply, v, x)
    assert features.tokens.shape == (2, *grid, 32)
    assert features.pooled.shape == (2, 32)
    kernel = {"imagenet": 7, "cifar": 3, "2x2": 2}[stem]
    assert v["params"]["stem"]["kernel"].shape == (kernel, kernel, channels, 4)


def test_stride_of_a_bottleneck_is_in_its_3x3():
    params = shapes(build("resnet50", width=4, stem="cifar"), (16, 16))["params"]
    block = params["stage2_block1"]
    assert block["conv2"]["kernel"].shape == (3, 3, 8, 8)
    m = ResidualBlock(8, stride=2, bottleneck=True)
    x = jnp.zeros((1, 8, 8, 16))
    v = jax.jit(m.init)(jax.random.key(0), x)
    _, seen = run(m, v, x, capture_intermediates=True)
    first, second = (seen["intermediates"][f"conv{i}"]["__call__"][0] for i in (1, 2))
    assert (first.shape[1], second.shape[1]) == (8, 4)


@pytest.mark.parametrize("bottleneck", [False, True])
@pytest.mark.parametrize("train", [False, True])
def test_a_block_starts_as_its_shortcut(bottleneck, train):
    m = ResidualBlock(4, bottleneck=bottleneck)
    x = jax.random.normal(jax.random.key(0), (2, 6, 6, 16 if bottleneck else 4))
    v = jax.jit(m.init)(jax.random.key(1), x)
    y, _ = run(m, v, x, train, mutable=["batch_stats"])
    np.testing.assert_array_equal(y, jnp.maximum(x, 0.0))

    # and does not stay there: the scale that starts at zero has a gradient.
    def loss(params):
        y, _ = m.apply(v | {"params": params}, x, True, mutable=["batch_stats"])
        return jnp.square(y).sum()

    last = "norm3" if bottleneck else "norm2"
    assert jnp.abs(jax.jit(jax.grad(loss))(v["params"])[last]["scale"]).min() > 0


@pytest.mark.parametrize("conv", ["xla", "matmul", "auto"])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_dtypes(conv, dtype):
    m = ResNet((1, 1), width=4, stem="2x2", conv=conv, dtype=dtype)
    x = jax.random.normal(jax.random.key(0), (4, 8, 8, 3), dtype)
    v = jax.jit(m.init)(jax.random.key(1), x)
    features, new = run(m, v, x, True, mutable=["batch_stats"])
    assert features.pooled.dtype == features.tokens.dtype == jnp.float32
    assert {x.dtype for x in jax.tree.leaves((v, new))} == {jnp.dtype(jnp.float32)}
    # Inside it computes in `dtype`.
    _, seen = run(m, v, x, capture_intermediates=True)
    block = seen["intermediates"]["stage2_block1"]
    assert block["__call__"][0].dtype == block["conv1"]["__call__"][0].dtype == dtype


def test_pooled_is_the_mean_of_the_map():
    m = ResNet((1, 1), width=4, stem="cifar")
    x = jax.random.normal(jax.random.key(0), (2, 8, 8, 1))
    features = run(m, jax.jit(m.init)(jax.random.key(1), x), x)
    want = np.asarray(features.tokens).mean((1, 2))
    np.testing.assert_allclose(features.pooled, want, rtol=1e-6)
    assert np.std(features.pooled) > 0


@pytest.mark.parametrize("bottleneck", [False, True])
def test_conv_modes_agree_in_value_gradient_and_statistics(x64, bottleneck):
    x = jax.random.normal(jax.random.key(0), (8, 12, 12, 3))  # maps of 6, 3 and 2
    results, trees = [], []
    for conv in ("xla", "matmul"):
        m = ResNet((1, 2, 1), bottleneck, 4, "2x2", conv, param_dtype=jnp.float64)
        v = jax.jit(m.init)(jax.random.key(1), x)
        trees.append(v)
        # Zero scales would hide half of the network.
        v = jax.tree.map(lambda p: p + 0.1 * jnp.cos(jnp.arange(p.size)).reshape(p.shape), v)

        def loss(params, v=v, m=m):
            features, new = m.apply(v | {"params": params}, x, True, mutable=["batch_stats"])
            return jnp.sin(features.tokens).sum(), (features, new)

        results.append(jax.jit(jax.value_and_grad(loss, has_aux=True))(v["params"]))
    jax.tree.map(np.testing.assert_array_equal, *trees)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12 * np.abs(a).max()),
        *results,
    )
    assert results[0][1]["stem"]["kernel"].dtype == jnp.float64


def test_training_uses_the_batch_and_evaluation_does_not():
    m = ResNet((1,), width=4, stem="cifar")
    x = jax.random.normal(jax.random.key(0), (4, 8, 8, 3))
    v = jax.jit(m.init)(jax.random.key(1), x)
    alone = run(m, v, x[:1]).pooled
    np.testing.assert_allclose(run(m, v, x).pooled[:1], alone, rtol=1e-5)
    batch, _ = run(m, v, x, True, mutable=["batch_stats"])
    assert np.abs(batch.pooled[:1] - alone).max() > 1e-2


def test_errors():
    with pytest.raises(ValueError, match="stem must be one of imagenet, cifar, 2x2, got '3x3'"):
        ResNet((1,), stem="3x3")
    with pytest.raises(ValueError, match="width must be at least 1, got 0"):
        ResNet((1,), width=0)
