"""Methods of few labels: losses and states against numpy, on an encoder without batch norm."""

from typing import Any

import cases
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from references import few_labels as reference

from jssl.method import Features
from jssl.methods.pi_model import ramp_up
from jssl.methods.pseudo_label import give

N, K, EXAMPLES = 4, 10, 32
STEP = 3


class Flat(nn.Module):
    """One linear layer on the pixels."""

    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x, train=False):
        dense = nn.Dense(6, dtype=self.dtype, param_dtype=self.param_dtype)
        return Features(jnp.tanh(dense(x.reshape(len(x), -1))), None)


def begun(name, **options):
    """A method, its first variables with a head that says something, its views and their logits."""
    options = {**cases.CASES[name][1], **options}
    encoder = lambda **dtypes: Flat(**dtypes)  # noqa: E731
    method = cases.make(name, encoder, options=options, examples=EXAMPLES, size=8)
    batch = cases.batch(n=N, size=8)

    @jax.jit
    def start(batch):
        params, state = method.init(jax.random.key(0), batch)
        params["head"]["kernel"] = 3 * jax.random.normal(jax.random.key(1), (6, K))
        if "teacher" in state:
            state["teacher"] = jax.tree.map(lambda x: 0.7 * x, params)
        return params, state, method.views(jax.random.key(2), batch)

    return method, *start(batch)


def said(params, images):
    """[... k] logits of views [... h w c], in float64."""
    images = np.asarray(images, np.float64)
    dense, head = params["encoder"]["Dense_0"], params["head"]
    x = images.reshape(-1, np.prod(images.shape[-3:]))
    x = np.tanh(x @ np.asarray(dense["kernel"], np.float64) + np.asarray(dense["bias"]))
    logits = x @ np.asarray(head["kernel"], np.float64) + np.asarray(head["bias"])
    return logits.reshape(*images.shape[:-3], K)


def call(method, params, state, views):
    """Loss, Out and the gradient by the images."""

    @jax.jit
    def run(params, state, images):
        loss = lambda images: method.loss(  # noqa: E731
            params, state, views | {"image": images}, jax.random.key(3), jnp.asarray(STEP)
        )
        return jax.value_and_grad(loss, has_aux=True)(images)

    (value, out), gradient = run(params, state, views["image"])
    return value, out, np.abs(gradient).max((-3, -2, -1))


def pairs(logits):
    return np.moveaxis(logits[:, 1:].reshape(-1, 2, K), 1, 0)


def test_fixmatch():
    method, params, state, views = begun("fixmatch", threshold=0.6, weight=2.0)
    logits, labels = said(params, views["image"]), np.asarray(views["label"])
    value, out, gradient = call(method, params, state, views)
    weak, strong = pairs(logits)
    expected, share = reference.fixmatch(logits[:, 0], labels, weak, strong, 0.6, 2.0)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(out.metrics["pseudo"], share)
    assert 0 < share < 1
    counts = reference.softmax(weak).max(1) >= 0.6
    # Weak views give labels, and are not followed; strong ones follow where it is sure.
    moved = gradient[:, 1:].reshape(-1, 2) > 0
    assert not moved[:, 0].any()
    np.testing.assert_array_equal(moved[:, 1], counts)
    after = jax.jit(method.after)(params, state, 0)
    expected = jax.tree.map(lambda t, p: 0.9 * t + 0.1 * p, state["teacher"], params)
    for x, y in zip(jax.tree.leaves(after["teacher"]), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-7)
    batch = cases.batch(n=N, size=8)
    prepared = (np.asarray(batch["image"]) / 255 - cases.MEAN) / cases.STD
    np.testing.assert_allclose(
        method.predict(params, state, batch), said(state["teacher"], prepared), rtol=2e-4, atol=1e-4
    )


def test_flexmatch():
    method, params, state, views = begun("flexmatch", threshold=0.6)
    selected = np.repeat([0, 1, 2, 3, 4, 5, 6, 7, 8, -1], [5, 4, 4, 3, 3, 3, 2, 2, 2, 4])
    state["selected"] = jnp.asarray(selected, jnp.int32)
    value, out, _ = call(method, params, state, views)
    logits, labels = said(params, views["image"]), np.asarray(views["label"])
    weak, strong = pairs(logits)
    p = reference.softmax(weak)
    thresholds = reference.classwise_thresholds(selected, K, 0.6)
    mask = p.max(1) >= thresholds[p.argmax(1)]
    assert mask.sum() > (p.max(1) >= 0.6).sum()  # easier than FixMatch's
    expected = reference.cross_entropy(logits[:, 0], labels).mean()
    expected += (reference.cross_entropy(strong, p.argmax(1)) * mask).mean()
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    index = np.asarray(views["index"])
    selected[index] = np.where(p.max(1) > 0.6, p.argmax(1), selected[index])
    np.testing.assert_array_equal(out.state["selected"], selected)


@pytest.mark.parametrize("name", ["pi_model", "mean_teacher"])
def test_consistency_of_two_views(name):
    method, params, state, views = begun(name, ramp=0.06, weight=50.0)  # risen at step 6 of 100
    value, _, gradient = call(method, params, state, views)
    first, second = (views["image"][:, :, i] for i in range(2))
    other = state["teacher"] if name == "mean_teacher" else params
    a, b = said(params, first), said(other, second)
    apart = reference.squared(a.reshape(-1, K), b.reshape(-1, K))
    told = reference.cross_entropy(a[:, 0], np.asarray(views["label"])).mean()
    np.testing.assert_allclose(value, told + 50 * np.exp(-5 * 0.5**2) * apart, rtol=1e-5)
    assert (gradient[..., 0] > 0).all()
    assert (gradient[..., 1] > 0).all() == (name == "pi_model")
    assert (gradient[..., 1] == 0).all() == (name == "mean_teacher")


def test_the_teacher_is_quick_at_first():
    method, params, state, _ = begun("mean_teacher", ramp=0.1, first_momentum=0.6, momentum=0.9)
    after = jax.jit(method.after)
    for step, alpha in ((0, 0.5), (5, 0.6), (9, 0.6), (10, 0.9)):
        moved = after(params, state, jnp.asarray(step))["teacher"]["head"]["kernel"]
        old, new = state["teacher"]["head"]["kernel"], params["head"]["kernel"]
        np.testing.assert_allclose(moved, alpha * old + (1 - alpha) * new, rtol=1e-5)


def test_ramp_up():
    found = ramp_up(jnp.asarray([0, 40, 80, 200]), 80)
    np.testing.assert_allclose(found, [np.exp(-5), np.exp(-1.25), 1, 1], rtol=1e-6)


def test_pseudo_labels_at_every_step():
    options = {"threshold": 0.6, "ramp": (0.01, 0.05), "weight": 3.0}
    method, params, state, views = begun("pseudo_label", **options, round_epochs=0.0, balance=False)
    value, out, _ = call(method, params, state, views)
    logits = said(params, views["image"])
    told = reference.cross_entropy(logits[:, 0], np.asarray(views["label"])).mean()
    followed = reference.pseudo_label(logits[:, 1:].reshape(-1, K), 0.6)
    np.testing.assert_allclose(value, told + 3 * (3 - 1) / (5 - 1) * followed, rtol=1e-5)
    assert out.state.keys() == {"stats"}


def test_pseudo_labels_of_a_round():
    """Labels stay within it; at its end they are what was last said with confidence."""
    options = {"threshold": 0.6, "ramp": (0.0, 0.02), "round_epochs": 1.0, "balance": False}
    method, params, state, views = begun("pseudo_label", **options)
    index = np.asarray(views["index"])
    given = np.full(EXAMPLES, -1, np.int32)
    given[index[:3]] = [4, 0, 7]
    state["given"] = jnp.asarray(given)
    value, out, _ = call(method, params, state, views)
    logits = said(params, views["image"])
    others = logits[:, 1:].reshape(-1, K)
    followed = reference.cross_entropy(others[:3], given[index[:3]]).sum() / len(others)
    told = reference.cross_entropy(logits[:, 0], np.asarray(views["label"])).mean()
    np.testing.assert_allclose(value, told + followed, rtol=1e-5)
    p = reference.softmax(others)
    np.testing.assert_array_equal(out.state["said"][index], p.argmax(1))
    np.testing.assert_allclose(out.state["sure"][index], p.max(1), rtol=1e-4)
    after = jax.jit(method.after)
    np.testing.assert_array_equal(after(params, out.state, jnp.asarray(2))["given"], given)
    expected = np.full(EXAMPLES, -1)
    expected[index] = np.where(p.max(1) >= 0.6, p.argmax(1), -1)
    np.testing.assert_array_equal(after(params, out.state, jnp.asarray(3))["given"], expected)


def test_balanced_labels_are_the_surest_of_each_class():
    rng = np.random.default_rng(0)
    told, sure = rng.integers(-1, 4, 60).astype(np.int32), rng.random(60).astype(np.float32)
    told[told == 2] = 3  # nobody is told to be of class 2
    found = np.asarray(jax.jit(give, static_argnums=(2, 3, 4))(told, sure, 5, 0.5, True))
    confident = np.where(sure >= 0.5, told, -1)
    counts = [np.sum(confident == label) for label in (0, 1, 3)]
    expected = np.full(60, -1)
    for label in (0, 1, 3):
        members = np.flatnonzero(confident == label)
        expected[members[np.argsort(-sure[members])][: min(counts)]] = label
    np.testing.assert_array_equal(found, expected)
    assert min(counts) < max(counts)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("fixmatch", {"threshold": 1.5}, "threshold must be in [0, 1], got 1.5"),
        ("flexmatch", {"weight": -1.0}, "weight must be at least 0, got -1.0"),
        ("mean_teacher", {"momentum": 2.0}, "momentum must be in [0, 1], got 2.0"),
        ("pi_model", {"ramp": -0.1}, "ramp must be in [0, 1], got -0.1"),
        ("pseudo_label", {"ramp": (0.5, 0.1)},
         "ramp must be (T1, T2) with 0 <= T1 < T2 <= 1, got (0.5, 0.1)"),
        ("pseudo_label", {"balance": True},
         "round_epochs must be > 0 for labels to be balanced, got 0"),
    ],
)  # fmt: skip
def test_bad_options_are_one_clear_line(name, options, message):
    with pytest.raises(ValueError, match=r".") as caught:
        cases.make(name, cases.vit, options=options)
    assert str(caught.value) == message


@pytest.mark.parametrize("name", cases.OF_FEW_LABELS)
def test_without_unlabelled_images_it_says_so(name):
    method, batch = cases.make(name, cases.vit), cases.batch(n=2)
    del batch["unlabeled"]
    with pytest.raises(ValueError, match=r"data\.labels and data\.unlabeled must be given"):
        jax.eval_shape(method.views, jax.random.key(0), batch)
