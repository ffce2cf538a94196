import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.nn import Block, Transformer, ViT, build, patchify, sincos2d

SMALL = {"dim": 16, "depth": 3, "heads": 4, "patch": 4}


def count(tree):
    return sum(int(np.prod(x.shape)) for x in jax.tree.leaves(tree))


def images(n=2, size=16, c=3, dtype=None):
    return jax.random.normal(jax.random.key(0), (n, size, size, c), dtype)


def run(m, v, x, *args, **kwargs):
    """`m.apply` as one program; op by op it takes seconds."""
    return jax.jit(lambda v, x: m.apply(v, x, *args, **kwargs))(v, x)


def stacked(params, depth):
    """The parameters of a loop over blocks as those of a scan."""
    body = dict(params["transformer"])
    blocks = [body.pop(f"blocks_{i}") for i in range(depth)]
    body["blocks"] = jax.tree.map(lambda *x: jnp.stack(x), *blocks)
    return {**params, "transformer": body}


# timm 1.0's vit_*_patch*_224 with num_classes=0: 5,524,416; 21,665,664; 85,798,656; 303,301,632;
# 630,764,800 (its ViT-H/14). They have a learned position for each token and one for the class
# token; here that of the class token (dim numbers) is left out.
@pytest.mark.parametrize(
    ("name", "published", "dim"),
    [
        ("vit_ti16", 5_524_416, 192),
        ("vit_s16", 21_665_664, 384),
        ("vit_b16", 85_798_656, 768),
        ("vit_l16", 303_301_632, 1024),
        ("vit_h14", 630_764_800, 1280),
    ],
)
@pytest.mark.parametrize("scan", [False, True])
def test_published_parameter_counts(name, published, dim, scan):
    x = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    patches = (224 // int(name[-2:])) ** 2
    for positions, less in (("learned", dim), ("sincos2d", dim * (patches + 1))):
        m = build(name, positions=positions, scan=scan)
        v = jax.eval_shape(m.init, jax.random.key(0), x)
        assert count(v["params"]) == published - less
        assert set(v) == {"params"}


@pytest.mark.parametrize(
    ("pool", "positions", "c"), [("cls", "learned", 1), ("mean", "sincos2d", 5)]
)
@pytest.mark.parametrize(("dtype", "inside"), [(None, jnp.float32), (jnp.bfloat16,) * 2])
def test_shapes_and_dtypes(pool, positions, dtype, inside, c):
    m = ViT(**SMALL, pool=pool, positions=positions, dtype=dtype)
    x = images(c=c, dtype=dtype)
    v = jax.jit(m.init)(jax.random.key(1), x)
    assert {p.dtype for p in jax.tree.leaves(v)} == {jnp.dtype(jnp.float32)}
    features, seen = run(m, v, x, capture_intermediates=True)
    assert features.pooled.shape == (2, 16)
    assert features.tokens.shape == (2, 16, 16)
    assert features.pooled.dtype == features.tokens.dtype == jnp.float32
    last = seen["intermediates"]["transformer"]["__call__"][0]
    assert last.dtype == inside
    want = last[:, 0] if pool == "cls" else last[:, 1:].astype(jnp.float32).mean(1)
    np.testing.assert_allclose(features.pooled, np.asarray(want, np.float32), rtol=1e-5, atol=1e-6)


def test_float64_throughout(x64):
    m = ViT(**SMALL, positions="learned", param_dtype=jnp.float64)
    x = images()
    v = jax.jit(m.init)(jax.random.key(1), x)
    features = run(m, v, x)
    assert {p.dtype for p in jax.tree.leaves((v, features))} == {jnp.dtype(jnp.float64)}


def test_without_class_token():
    m = ViT(**SMALL, pool="mean", cls_token=False)
    v = jax.jit(m.init)(jax.random.key(1), images())
    assert "cls" not in v["params"]
    assert run(m, v, images()).tokens.shape == (2, 16, 16)


def attention(y, p, heads):
    d = y.shape[-1]
    q, k, v = np.split(y @ p["qkv"]["kernel"] + p["qkv"]["bias"], 3, axis=-1)
    out = np.zeros_like(y)
    for h in range(heads):
        s = np.s_[..., h * d // heads : (h + 1) * d // heads]
        score = np.exp(q[s] @ k[s].swapaxes(1, 2) / np.sqrt(d / heads))
        out[s] = score / score.sum(-1, keepdims=True) @ v[s]
    return out @ p["out"]["kernel"] + p["out"]["bias"]


def norm(x, p):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * p["scale"] + p["bias"]


def test_forward_against_numpy(x64):
    """The whole encoder written out in numpy from the papers' equations."""
    from scipy.special import erf

    m = ViT(**SMALL, param_dtype=jnp.float64)
    x = images()
    v = jax.jit(m.init)(jax.random.key(1), x)
    v = jax.tree.map(lambda p: p + 0.1 * jnp.cos(jnp.arange(p.size)).reshape(p.shape), v)
    p = jax.tree.map(np.asarray, v["params"])
    y = np.asarray(patchify(x, 4)) @ p["embed"]["kernel"] + p["embed"]["bias"]
    y = y + np.asarray(sincos2d(4, 4, 16))[None]
    y = np.concatenate([np.repeat(p["cls"], 2, axis=0), y], axis=1)
    for i in range(3):
        b = p["transformer"][f"blocks_{i}"]
        y = y + attention(norm(y, b["norm1"]), b, 4)
        z = norm(y, b["norm2"]) @ b["fc1"]["kernel"] + b["fc1"]["bias"]
        z = z * 0.5 * (1 + erf(z / np.sqrt(2)))
        y = y + z @ b["fc2"]["kernel"] + b["fc2"]["bias"]
    y = norm(y, p["transformer"]["norm"])
    features = run(m, v, x)
    np.testing.assert_allclose(features.pooled, y[:, 0], rtol=1e-10)
    np.testing.assert_allclose(features.tokens, y[:, 1:], rtol=1e-10)


def test_initial_weights():
    m = ViT(dim=64, depth=1, heads=4, patch=4)
    p = jax.jit(m.init)(jax.random.key(1), images())["params"]
    qkv = np.asarray(p["transformer"]["blocks_0"]["qkv"]["kernel"])
    bound = np.sqrt(6 / (64 + 192))
    assert 0.98 * bound < np.abs(qkv).max() <= bound
    assert np.std(qkv) == pytest.approx(bound / np.sqrt(3), rel=0.02)
    assert np.std(p["cls"]) == pytest.approx(0.02, rel=0.3)
    assert not np.any(p["embed"]["bias"])


@pytest.mark.parametrize("positions", ["sincos2d", "learned"])
def test_keeping_every_patch_is_the_full_path(x64, positions):
    m = ViT(**SMALL, positions=positions, param_dtype=jnp.float64)
    x = images()
    v = jax.jit(m.init)(jax.random.key(1), x)
    full = run(m, v, x)
    everything = jnp.tile(jnp.arange(16, dtype=jnp.int32), (2, 1))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12),
        run(m, v, x, keep=everything),
        full,
    )
    order = jnp.stack([jax.random.permutation(jax.random.key(i), 16) for i in range(2)])
    mixed = run(m, v, x, keep=order.astype(jnp.int32))
    np.testing.assert_allclose(mixed.pooled, full.pooled, rtol=1e-9)
    want = np.take_along_axis(np.asarray(full.tokens), np.asarray(order)[:, :, None], 1)
    np.testing.assert_allclose(mixed.tokens, want, rtol=1e-9, atol=1e-12)


def test_hidden_patches_are_not_seen():
    m = ViT(**SMALL)
    x = images()
    v = jax.jit(m.init)(jax.random.key(1), x)
    keep = jnp.array([[0, 5, 3], [15, 1, 2]], jnp.int32)
    features = run(m, v, x, keep=keep)
    assert features.tokens.shape == (2, 3, 16)
    hidden = x.at[0, :4, 4:8].add(3.0)  # patch 1 of the first image, which it does not keep
    np.testing.assert_array_equal(run(m, v, hidden, keep=keep).tokens, features.tokens)
    shown = x.at[0, 4:8, 4:8].add(3.0)  # patch 5, which it keeps
    assert np.abs(run(m, v, shown, keep=keep).tokens - features.tokens).max() > 1e-2


def test_a_mask_token_stands_for_a_masked_patch(x64):
    m = ViT(**SMALL, param_dtype=jnp.float64)
    x = images()
    mask = jnp.zeros((2, 16), bool).at[0, jnp.array([1, 5])].set(True)
    assert "mask_token" not in jax.eval_shape(m.init, jax.random.key(1), x)["params"]
    v = jax.jit(m.init)(jax.random.key(1), x, mask=mask)
    assert v["params"]["mask_token"].shape == (16,)
    features = run(m, v, x, mask=mask)
    assert features.tokens.shape == (2, 16, 16)
    hidden = x.at[0, :4, 4:8].add(3.0)  # patch 1
    np.testing.assert_array_equal(run(m, v, hidden, mask=mask).tokens, features.tokens)
    np.testing.assert_allclose(features.tokens[1], run(m, v, x).tokens[1], rtol=1e-9)
    assert np.abs(features.tokens[0] - run(m, v, x).tokens[0]).max() > 1e-2
    # Two masked patches differ by their positions; a mask token is what a patch embeds to.
    assert np.abs(features.tokens[0, 1] - features.tokens[0, 5]).max() > 1e-2
    v["params"]["mask_token"] = v["params"]["embed"]["bias"]
    blank = x.at[0, :4, 4:8].set(0.0).at[0, 4:8, 4:8].set(0.0)
    same = run(m, v, blank).tokens
    np.testing.assert_allclose(run(m, v, x, mask=mask).tokens, same, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("scan", [False, True])
def test_outputs_of_the_blocks(x64, scan):
    """As flax sees them pass, of patches alone; the features stay what they are."""
    x = images()
    loop = ViT(**SMALL, param_dtype=jnp.float64)
    params = jax.jit(loop.init)(jax.random.key(1), x)["params"]
    features, seen = run(loop, {"params": params}, x, capture_intermediates=_is_block)
    want = [seen["intermediates"]["transformer"][f"blocks_{i}"]["__call__"][0] for i in range(3)]
    m = loop.clone(scan=scan)
    params = stacked(params, 3) if scan else params
    same, blocks = run(m, {"params": params}, x, blocks=True)
    assert blocks.shape == (3, 2, 16, 16)
    np.testing.assert_allclose(blocks, np.stack(want)[:, :, 1:], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(same.tokens, features.tokens, rtol=1e-9, atol=1e-12)


def _is_block(module, _):
    return (module.name or "").startswith("blocks_")


def test_flops_fall_with_keep():
    m = ViT(dim=64, depth=2, heads=4, patch=4)
    x = images(size=32)
    v = jax.jit(m.init)(jax.random.key(1), x)

    def flops(keep):
        compiled = jax.jit(lambda x, keep: m.apply(v, x, keep=keep)).lower(x, keep).compile()
        return compiled.cost_analysis()["flops"]

    quarter = jnp.tile(jnp.arange(16, dtype=jnp.int32), (2, 1))
    assert flops(quarter) < 0.3 * flops(None)


@pytest.mark.parametrize("remat", [False, True])
def test_scan_equals_loop(x64, remat):
    x = images()
    loop = ViT(**SMALL, param_dtype=jnp.float64)
    scan = ViT(**SMALL, scan=True, remat=remat, param_dtype=jnp.float64)
    params = jax.jit(loop.init)(jax.random.key(1), x)["params"]
    made = jax.eval_shape(scan.init, jax.random.key(1), x)["params"]
    assert jax.tree.map(jnp.shape, made) == jax.tree.map(jnp.shape, stacked(params, 3))

    def value(m, params):
        return jnp.sin(m.apply({"params": params}, x, True).tokens).sum()

    want, gradient = jax.jit(jax.value_and_grad(functools.partial(value, loop)))(params)
    f = jax.jit(jax.value_and_grad(functools.partial(value, scan)))
    got, gradient_scan = f(stacked(params, 3))
    np.testing.assert_allclose(got, want, rtol=1e-12)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12),
        gradient_scan,
        stacked(gradient, 3),
    )


def test_scanned_blocks_start_different():
    v = jax.jit(ViT(**SMALL, scan=True).init)(jax.random.key(0), images())
    kernel = v["params"]["transformer"]["blocks"]["fc1"]["kernel"]
    assert np.abs(kernel[0] - kernel[1]).max() > 0.1


@pytest.mark.parametrize("drop_path", [0.0, 0.5])
def test_remat_changes_no_gradient_and_saves_memory(drop_path):
    x = images(8)
    plain, remat = (ViT(**SMALL, remat=r, drop_path=drop_path) for r in (False, True))
    v = jax.jit(plain.init)(jax.random.key(1), x)
    assert jax.tree.structure(v) == jax.tree.structure(
        jax.eval_shape(remat.init, jax.random.key(1), x)
    )

    def value(m, v):
        return jnp.sin(m.apply(v, x, True, rngs={"dropout": jax.random.key(2)}).tokens).sum()

    gradients, kept = [], []
    for m in (plain, remat):
        f = functools.partial(value, m)
        gradients.append(jax.jit(jax.grad(f))(v))
        pull = jax.eval_shape(lambda v, f=f: jax.vjp(f, v)[1], v)
        kept.append(sum(x.size for x in jax.tree.leaves(pull)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), *gradients)
    assert kept[1] < 0.5 * kept[0]


@pytest.mark.parametrize("scan", [False, True])
def test_drop_path_drops_whole_branches_of_examples(scan):
    n, rate = 512, 0.4
    m = Transformer(2, heads=2, drop_path=rate, scan=scan)
    x = jnp.tile(jax.random.normal(jax.random.key(0), (1, 3, 8)), (n, 1, 1))
    v = jax.jit(m.init)(jax.random.key(1), x)
    y = run(m, v, x, True, rngs={"dropout": jax.random.key(2)})
    # The first block never drops and the last has two branches: four outcomes.
    outcomes, counts = np.unique(
        np.round(np.asarray(y).reshape(n, -1), 3), axis=0, return_counts=True
    )
    assert len(outcomes) == 4
    chances = sorted([0.6 * 0.6, 0.6 * 0.4, 0.4 * 0.6, 0.4 * 0.4])
    np.testing.assert_allclose(np.sort(counts) / n, chances, atol=0.06)
    plain = run(Transformer(2, heads=2, scan=scan), v, x)
    np.testing.assert_array_equal(run(m, v, x), plain)


def test_drop_path_keeps_the_expectation():
    block = Block(heads=2)
    x = jnp.tile(jax.random.normal(jax.random.key(0), (1, 3, 8)), (20_000, 1, 1))
    v = jax.jit(block.init)(jax.random.key(1), x[:1])
    # With the second branch silent the output is x plus the branch, scaled up when it is kept.
    v["params"]["fc2"]["kernel"] *= 0.0
    y = run(block, v, x, True, 0.3, rngs={"dropout": jax.random.key(2)})
    np.testing.assert_allclose(y.mean(0), run(block, v, x[:1])[0], atol=0.05)


def test_learned_positions_follow_the_image_size():
    m = ViT(**SMALL, positions="learned")
    v = jax.jit(m.init)(jax.random.key(1), images())
    assert v["params"]["positions"].shape == (4, 4, 16)
    big = run(m, v, images(size=32))
    assert big.tokens.shape == (2, 64, 16)
    # A table of one value is that value at any size.
    flat = jax.tree.map(lambda x: x, v)
    flat["params"]["positions"] = jnp.full((4, 4, 16), 0.3)
    flat8 = jax.tree.map(lambda x: x, v)
    flat8["params"]["positions"] = jnp.full((8, 8, 16), 0.3)
    np.testing.assert_allclose(
        run(m, flat, images(size=32)).tokens, run(m, flat8, images(size=32)).tokens, atol=1e-5
    )


def test_sincos_positions_are_made_for_the_grid():
    m = ViT(**SMALL)
    v = jax.jit(m.init)(jax.random.key(1), images())
    x = jnp.zeros((1, 8, 24, 3))
    assert run(m, v, x).tokens.shape == (1, 12, 16)
    _, seen = run(m, v, x, capture_intermediates=lambda m, _: m.name == "norm1")
    # Blank patches differ in their positions alone.
    got = seen["intermediates"]["transformer"]["blocks_0"]["norm1"]["__call__"][0][0, 1:]
    table = np.asarray(sincos2d(2, 6, 16))
    table = table - table.mean(-1, keepdims=True)
    want = table / np.sqrt((table**2).mean(-1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_errors():
    with pytest.raises(ValueError, match="image of 30x30 cannot be cut into patches of 4"):
        ViT(**SMALL).init(jax.random.key(0), images(size=30))
    with pytest.raises(ValueError, match="pool must be one of cls, mean, got 'max'"):
        ViT(**SMALL, pool="max")
    with pytest.raises(ValueError, match=r"positions must be one of .* got 'rope'"):
        ViT(**SMALL, positions="rope")
    with pytest.raises(ValueError, match="needs cls_token=True"):
        ViT(**SMALL, cls_token=False)
    with pytest.raises(ValueError, match=r"drop_path must be in \[0, 1\), got 1.0"):
        ViT(**SMALL, drop_path=1.0).init(jax.random.key(0), images())
    with pytest.raises(ValueError, match="dim must be a multiple of heads, got dim 16 and 3 heads"):
        ViT(dim=16, depth=1, heads=3, patch=4).init(jax.random.key(0), images())
