import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jssl.nn.conv import Conv, conv_matmul, conv_xla

# (height, width, channels, features, kernel, stride): each way through conv_matmul, and odd sizes.
CASES = [
    (14, 14, 3, 5, 3, 1),
    (14, 14, 3, 5, 3, 2),
    (7, 7, 3, 5, 3, 2),
    (7, 5, 2, 3, 3, 2),
    (4, 4, 3, 5, 3, 1),
    (4, 3, 3, 5, 3, 1),
    (3, 3, 3, 5, 3, 2),
    (2, 2, 3, 5, 3, 1),
    (2, 1, 3, 5, 3, 1),
    (1, 1, 3, 5, 3, 1),
    (2, 2, 3, 5, 3, 2),
    (8, 8, 3, 5, 1, 1),
    (7, 7, 3, 5, 1, 2),
    (8, 8, 1, 5, 2, 2),
    (7, 7, 1, 5, 2, 2),
    (3, 3, 2, 4, 5, 1),
    (16, 16, 3, 4, 7, 2),
]


def direct(x, kernel, stride):
    """The definition, one output position at a time, zeros outside, centre tap on the position."""
    n, h, w, _ = x.shape
    k = kernel.shape[0]
    before = (k - 1) // 2
    out = np.zeros((n, -(-h // stride), -(-w // stride), kernel.shape[-1]))
    for p in range(out.shape[1]):
        for q in range(out.shape[2]):
            for i in range(k):
                for j in range(k):
                    a, b = p * stride + i - before, q * stride + j - before
                    if 0 <= a < h and 0 <= b < w:
                        out[:, p, q] += x[:, a, b] @ kernel[i, j]
    return out


def draw(case, n=2):
    h, w, c, o, k, stride = case
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, h, w, c)), rng.normal(size=(k, k, c, o)), stride


@pytest.mark.parametrize("conv", [conv_xla, conv_matmul])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_value_is_the_definition(x64, conv, case):
    x, kernel, stride = draw(case)
    got = conv(jnp.asarray(x), jnp.asarray(kernel), stride)
    np.testing.assert_allclose(got, direct(x, kernel, stride), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("case", CASES[1::2], ids=str)
def test_gradients_agree(x64, case):
    x, kernel, stride = draw(case)
    y, pull = jax.vjp(lambda x, k: conv_xla(x, k, stride), jnp.asarray(x), jnp.asarray(kernel))
    seed = jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape)
    _, pull_matmul = jax.vjp(
        lambda x, k: conv_matmul(x, k, stride), jnp.asarray(x), jnp.asarray(kernel)
    )
    for want, got in zip(pull(seed), pull_matmul(seed), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("case", [(5, 5, 2, 3, 3, 2), (4, 4, 2, 2, 3, 1), (2, 2, 2, 2, 3, 1)])
def test_gradient_is_the_slope(x64, case):
    x, kernel, stride = draw(case)

    def f(x, kernel):
        return conv_matmul(jnp.asarray(x), jnp.asarray(kernel), stride)

    check_grads(f, (x, kernel), order=1, atol=1e-6, rtol=1e-6)


def test_modes_share_parameters_and_results(x64):
    x = jax.random.normal(jax.random.key(0), (2, 4, 4, 3))
    modules = [Conv(5, stride=2, conv=c, param_dtype=jnp.float64) for c in ("xla", "matmul")]
    trees = [m.init(jax.random.key(1), x) for m in modules]
    assert jax.tree.map(jnp.shape, trees[0]) == {"params": {"kernel": (3, 3, 3, 5)}}
    jax.tree.map(np.testing.assert_array_equal, *trees)
    auto = Conv(5, stride=2, param_dtype=jnp.float64).apply(trees[0], x)
    for m in modules:
        np.testing.assert_allclose(m.apply(trees[0], x), auto, rtol=1e-12)


@pytest.mark.parametrize(("platform", "convolutions"), [("cpu", 0), ("tpu", 3)])
def test_auto_follows_the_platform_the_program_is_for(platform, convolutions):
    x = jax.ShapeDtypeStruct((2, 4, 4, 3), jnp.float32)
    kernel = {"params": {"kernel": jax.ShapeDtypeStruct((3, 3, 3, 5), jnp.float32)}}

    def value_and_gradients(params, x):
        def value(params, x):
            y = Conv(5).apply(params, x)
            return jnp.square(y).sum()

        return jax.value_and_grad(value, (0, 1))(params, x)

    traced = jax.jit(value_and_gradients).trace(kernel, x)
    text = traced.lower(lowering_platforms=(platform,)).as_text()
    assert text.count("stablehlo.convolution") == convolutions
    assert ("stablehlo.dot_general" in text) == (platform == "cpu")


@pytest.mark.parametrize("conv", ["auto", "xla", "matmul"])
def test_bfloat16_computes_in_bfloat16(conv):
    x = jnp.ones((2, 4, 4, 3), jnp.bfloat16)
    m = Conv(5, conv=conv, dtype=jnp.bfloat16)
    v = m.init(jax.random.key(0), x)
    assert v["params"]["kernel"].dtype == jnp.float32
    assert m.apply(v, x).dtype == jnp.bfloat16
    assert Conv(5, conv=conv).apply(v, x).dtype == jnp.float32


def test_weights_are_he_normal_by_fan_out():
    kernel = Conv(256).init(jax.random.key(0), jnp.ones((1, 4, 4, 64)))["params"]["kernel"]
    assert np.std(kernel) == pytest.approx((2 / (9 * 256)) ** 0.5, rel=0.01)


def test_unknown_mode():
    with pytest.raises(ValueError, match="conv must be one of auto, xla, matmul, got 'fft'"):
        Conv(5, conv="fft").init(jax.random.key(0), jnp.ones((1, 4, 4, 3)))
