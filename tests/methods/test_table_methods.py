"""SCARF: what corruption changes, its loss against numpy, and that it learns."""

import cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from references.agreement import numerical_gradient
from scipy.special import logsumexp

from jssl import methods
from jssl.evals import knn
from jssl.methods.scarf import corrupt
from jssl.nn import encoders
from jssl.train import optimizers
from jssl.train import step as train_step


def test_corruption_is_of_so_many_columns_by_values_of_the_same_column():
    n, f = 50, 10
    x = jnp.arange(n * f, dtype=jnp.float32).reshape(n, f)
    drawn = np.stack([jax.jit(corrupt, static_argnums=2)(jax.random.key(i), x, 0.6)
                      for i in range(40)])  # fmt: skip
    np.testing.assert_array_equal(drawn % f, np.broadcast_to(np.asarray(x) % f, drawn.shape))
    changed = drawn != np.asarray(x)
    assert changed.sum(2).max() == 6
    # Six of ten, but for the one draw of n that is the row's own.
    rate = 0.6 * (1 - 1 / n)
    np.testing.assert_allclose(changed.mean(), rate, atol=4 * (0.24 / changed.size) ** 0.5)
    np.testing.assert_allclose(changed.mean((0, 1)), rate, atol=4 * (0.24 / (40 * n)) ** 0.5)
    rows = np.unique(drawn[changed] // f, return_counts=True)[1]
    assert len(rows) == n
    assert rows.min() > 0.5 * rows.mean()


def test_scarf_is_the_cross_entropy_of_the_own_row(x64):
    """Algorithm 1 with a loop a row, value and gradient."""
    options = {"hidden": 5, "out": 4, "temperature": 0.7}
    method = cases.make("scarf", cases.table_net, dtype=jnp.float64, options=options)
    batch = cases.batch(n=5)
    batch["row"] = batch["row"].astype(jnp.float64)
    params, state = jax.jit(method.init)(jax.random.key(0), batch)
    views = jax.jit(method.views)(jax.random.key(1), batch)
    np.testing.assert_array_equal(views[:, 0], batch["row"])

    def dense(x, layer):
        return x @ layer["kernel"] + layer.get("bias", 0)

    def reference(params):
        z = np.asarray(views)
        for i in range(2):
            z = np.maximum(dense(z, params["encoder"][f"dense{i}"]), 0)
        z = dense(np.maximum(dense(z, params["projector"]["dense1"]), 0),
                  params["projector"]["dense2"])  # fmt: skip
        z = z / np.linalg.norm(z, axis=2, keepdims=True)
        losses = []
        for i in range(5):
            scores = [z[i, 0] @ z[k, 1] / 0.7 for k in range(5)]
            losses.append(logsumexp(scores) - scores[i])
        return np.mean(losses)

    run = jax.jit(jax.value_and_grad(
        lambda p: method.loss(p, state, views, jax.random.key(0), jnp.int32(0))[0]
    ))  # fmt: skip
    value, gradient = run(params)
    params = jax.device_get(params)
    np.testing.assert_allclose(value, reference(params), rtol=1e-10)
    kernel = params["encoder"]["dense0"]["kernel"]

    def along(x):
        encoder = params["encoder"] | {"dense0": params["encoder"]["dense0"] | {"kernel": x}}
        return reference(params | {"encoder": encoder})

    expected = numerical_gradient(along, kernel)
    np.testing.assert_allclose(
        gradient["encoder"]["dense0"]["kernel"], expected, rtol=1e-6, atol=1e-8
    )


def test_bad_options():
    with pytest.raises(ValueError, match="scarf needs a TableMLP encoder, got a ResNet"):
        methods.scarf(cases.resnet(), lambda batch: batch)
    with pytest.raises(ValueError, match=r"corruption must be in \[0, 1\], got 2"):
        methods.scarf(cases.table_net(), lambda batch: batch, corruption=2)
    with pytest.raises(ValueError, match="depth must be at least 1, got 0"):
        encoders.build("table", depth=0)
    method = methods.scarf(cases.table_net(), lambda batch: batch["row"], corruption=0.1)
    with pytest.raises(ValueError, match=r"corruption=0.1 of 7 columns changes none"):
        method.views(jax.random.key(0), cases.batch(n=2))


def mixture(rng, n):
    """Rows of five classes; six columns each know a little of the class, eighteen are noise."""
    label = rng.integers(0, 5, n)
    centers = np.random.default_rng(7).normal(size=(5, 6))
    x = np.concatenate([centers[label] * 1.5, np.zeros((n, 18))], 1) + rng.normal(size=(n, 24))
    return {"row": jnp.asarray(x, jnp.float32)}, label


@pytest.mark.long
def test_scarf_learns_classes_that_a_random_encoder_does_not_know():
    """Rung 6 for tables."""
    encoder = encoders.build("table", dim=64, depth=2)
    method, rng = methods.scarf(encoder, lambda b: b["row"]), np.random.default_rng(0)
    (known, labels), (asked, true) = mixture(rng, 600), mixture(rng, 600)
    tx = optimizers.adamw(1e-3)
    with jax.numpy_dtype_promotion("standard"):
        train = cases.first(method, tx, known)
        before = train
        step = jax.jit(train_step.make_step(method, tx))
        for _ in range(300):
            train, _ = step(train, mixture(rng, 128)[0])

    @jax.jit
    def embed(train, batch):
        return method.embed(train.params, train.state, batch).pooled

    def accuracy(train):
        x, y = (np.asarray(embed(train, batch)) for batch in (known, asked))
        return knn.knn(x, labels, y, true, num_classes=5)

    assert accuracy(train) > accuracy(before) + 0.03, (accuracy(before), accuracy(train))
