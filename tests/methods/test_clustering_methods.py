"""Queue, prototypes, bank and clusters against plain numpy, step by step."""

import functools
from typing import Any

import cases
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from references import clustering as reference

from jssl import methods
from jssl.losses import kmeans
from jssl.method import Features
from jssl.train import step as train_step

RATE = 0.5
SGD = optax.sgd(RATE)
# Decay moves what has no gradient, unless it is put back.
DECAYING = optax.chain(optax.add_decayed_weights(0.1), optax.sgd(RATE, momentum=0.9))
EXAMPLES, BATCH = 12, 4


class Flat(nn.Module):
    """The least encoder: the mean over the image, and a dense layer."""

    dtype: Any = jnp.float64
    param_dtype: Any = jnp.float64

    @nn.compact
    def __call__(self, x, train=False):
        return Features(nn.Dense(6, param_dtype=self.param_dtype)(x.mean((1, 2))), None)


def batch(step, per_epoch=3):
    """The batch of a step: a third of the examples, in the same order every epoch."""
    rng = np.random.default_rng(step)
    index = (step % per_epoch) * BATCH + np.arange(BATCH)
    return {
        "high": jnp.asarray(rng.normal(size=(BATCH, 2, 4, 4, 3))),
        "low": jnp.asarray(rng.normal(size=(BATCH, 3, 2, 2, 3))),
        "index": jnp.asarray(index[::-1].copy(), jnp.int32),
    }


OFFERED = {
    "crops": lambda key, batch: [batch["high"], batch["low"]],
    "view": lambda key, batch: batch["high"][:, 0],
}


def make(name, **options):
    given = OFFERED["view" if name == "deepcluster" else "crops"]
    return methods.METHODS[name](Flat(), given, lambda b: b["high"][:, 0], **options)


def run(method, steps, tx=SGD):
    """Of every step what it began with, its batch, what it ended with, its metrics."""
    with jax.numpy_dtype_promotion("standard"):
        train = cases.first(method, tx, batch(0))
        step = jax.jit(train_step.make_step(method, tx))
        for i in range(steps):
            new, metrics = step(train, batch(i))
            yield (
                i,
                jax.device_get(train),
                jax.device_get(batch(i)),
                *jax.device_get((new, metrics)),
            )
            train = new


def numpy_features(params, images):
    return images.mean((1, 2)) @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"]


def numpy_projections(params, batch):
    """[v n d] in the released code's order: crop after crop, the head seeing all at once."""
    crops = [batch["high"][:, i] for i in range(2)] + [batch["low"][:, i] for i in range(3)]
    x = np.concatenate([numpy_features(params["encoder"], crop) for crop in crops])
    head = params["projector"]
    x = x @ head["dense1"]["kernel"] + head["dense1"]["bias"]
    x = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)
    x = np.maximum(x * head["norm1"]["scale"] + head["norm1"]["bias"], 0)
    x = x @ head["dense2"]["kernel"] + head["dense2"]["bias"]
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).reshape(5, BATCH, -1)


SWAV = {"hidden": 8, "out": 5, "prototypes": 7, "steps_per_epoch": 3}


@pytest.mark.usefixtures("x64")
class TestSwAV:
    def test_queue_and_loss(self):
        """Steps 0 to 2 without a queue, 3 and 4 filling it, then with it."""
        options = {"freeze_prototypes_niters": 0, "queue_length": 8, "queue_start_epoch": 1}
        queue = np.zeros((2, 8, 5))
        for i, old, inputs, new, metrics in run(make("swav", **SWAV, **options), 7):
            z, kernel = numpy_projections(old.params, inputs), old.params["prototypes"]["kernel"]
            codes, filled = reference.swav_codes(z @ kernel, queue, kernel, z, 0.05, 3)
            if i >= 3:
                queue = filled
            np.testing.assert_allclose(
                metrics["loss"], reference.swav(z @ kernel, codes, 0.1), rtol=1e-9
            )
            np.testing.assert_allclose(new.state["queue"], queue, rtol=1e-9, atol=1e-12)
            assert (queue[:, -1] != 0).any() == (i >= 4)

    @pytest.mark.parametrize("niters", [0, 2])
    def test_prototypes_are_frozen_and_then_on_the_sphere(self, niters):
        method = make("swav", **SWAV, freeze_prototypes_niters=niters)
        for i, old, _, new, _ in run(method, 4, DECAYING):
            before, after = (x.params["prototypes"]["kernel"] for x in (old, new))
            np.testing.assert_allclose(np.linalg.norm(after, axis=0), 1, rtol=1e-12)
            assert (before == after).all() == (i < niters)

    def test_an_update_is_the_gradient_step_back_on_the_sphere(self):
        method = make("swav", **SWAV, freeze_prototypes_niters=1)
        state = cases.first(method, SGD, batch(0))

        @jax.jit
        def gradient(step):
            views = method.views(jax.random.key(0), batch(0))
            return jax.grad(
                lambda p: method.loss(p, state.state, views, jax.random.key(0), step)[0]
            )(state.params)["prototypes"]["kernel"]

        np.testing.assert_array_equal(gradient(jnp.int32(0)), 0)
        kernel = state.params["prototypes"]["kernel"]
        expected = kernel - RATE * gradient(jnp.int32(1))
        expected /= jnp.linalg.norm(expected, axis=0, keepdims=True)
        step = jax.jit(train_step.make_step(method, SGD))
        new, _ = step(state._replace(step=jnp.int32(1)), batch(0))
        np.testing.assert_allclose(new.params["prototypes"]["kernel"], expected, rtol=1e-9)

    def test_the_queue_is_a_multiple_of_the_batch(self):
        method = make("swav", **SWAV, queue_length=6)
        with pytest.raises(
            ValueError, match=r"queue_length must be a multiple .* got 6 and a batch of"
        ):
            jax.eval_shape(method.init, jax.random.key(0), batch(0))
        one = jax.tree.map(lambda x: x[:1], batch(0))
        state = jax.jit(method.init)(jax.random.key(0), one)
        with pytest.raises(
            ValueError, match=r"queue_length must be a multiple .* got 6 and a batch of"
        ):
            jax.eval_shape(
                lambda: method.loss(
                    *state, method.views(None, batch(0)), jax.random.key(0), jnp.int32(0)
                )
            )


OFFLINE = {
    "deepcluster_v2": {"hidden": 8, "out": 5, "prototypes": (4, 3, 2)},
    "deepcluster": {"clusters": 5, "pca": 3},
}
FACTS = {"steps_per_epoch": 3, "examples": EXAMPLES}
EACH = pytest.mark.parametrize("name", OFFLINE)


@functools.cache
def two_epochs(name):
    return list(run(make(name, **FACTS, **OFFLINE[name], seed=3), 6, DECAYING))


def bank_rows(name, params, inputs):
    """What the bank is to hold of a batch: [v n d] of v crops; one view in DeepCluster."""
    if name == "deepcluster":
        return numpy_features(params["encoder"], inputs["high"][:, 0])[None]
    return numpy_projections(params, inputs)[:2]


def labels_of(state):
    return np.atleast_2d(state["labels"])


@pytest.mark.usefixtures("x64")
class TestOffline:
    @EACH
    def test_the_bank_follows_the_examples(self, name):
        bank, seen = 0, np.zeros(EXAMPLES, bool)
        for _, old, inputs, new, _ in two_epochs(name):
            rows = bank_rows(name, old.params, inputs)
            bank = np.zeros((len(rows), EXAMPLES, rows.shape[-1])) + bank
            bank[:, inputs["index"]], seen[inputs["index"]] = rows, True
            stored = new.state["bank"].reshape(bank.shape)
            np.testing.assert_allclose(stored, bank, rtol=1e-9, atol=1e-12)
            np.testing.assert_array_equal(new.state["seen"], seen)

    @EACH
    def test_the_first_epoch_only_fills_the_bank(self, name):
        ks = OFFLINE[name].get("prototypes", (5,))
        for i, old, _, new, metrics in two_epochs(name):
            before, after = (jax.tree.leaves(x.params["encoder"]) for x in (old, new))
            held = all((a == b).all() for a, b in zip(before, after, strict=True))
            assert held == (i < 3)
            if i < 3:
                np.testing.assert_allclose(metrics["loss"], np.mean(np.log(ks)), rtol=1e-12)
                np.testing.assert_allclose(
                    metrics["proxy_accuracy"], np.mean(1 / np.array(ks)), rtol=1e-12
                )
                assert metrics["grad_norm"] == 0

    @EACH
    def test_clusters_change_at_the_end_of_an_epoch_alone(self, name):
        for i, old, _, new, _ in two_epochs(name):
            before, after = labels_of(old.state), labels_of(new.state)
            if i % 3 != 2:
                np.testing.assert_array_equal(before, after)
            else:
                assert (before != after).any()
                assert (after >= 0).all()

    @EACH
    def test_examples_never_seen_have_no_cluster(self, name):
        """An epoch of two steps that leaves a third of the examples out."""
        facts = {"steps_per_epoch": 2, "examples": EXAMPLES}
        for i, old, inputs, new, metrics in run(make(name, **facts, **OFFLINE[name]), 3):
            labels = labels_of(new.state)
            assert (labels[:, 8:] == -1).all()
            assert (labels[:, :8] >= 0).all() == (i >= 1)
            if i == 2:  # of examples without a cluster, loss and gradient are those of the first
                assert (labels_of(old.state)[:, inputs["index"]] == -1).all()
                assert metrics["grad_norm"] == 0

    def test_v2_loss_and_clustering(self):
        for i, old, inputs, new, metrics in two_epochs("deepcluster_v2"):
            state = old.state
            if i >= 3:
                z = numpy_projections(old.params, inputs)
                losses = [
                    reference.cross_entropy(
                        z.reshape(5 * BATCH, -1) @ centroids.T / 0.1,
                        np.tile(labels[inputs["index"]], 5),
                        np.ones(5 * BATCH),
                        ignore_index=-1,
                    )
                    for centroids, labels in zip(state["centroids"], state["labels"], strict=True)
                ]
                np.testing.assert_allclose(metrics["loss"], np.mean(losses), rtol=1e-9)
            if i % 3 == 2:
                for head, centroids in enumerate(new.state["centroids"]):
                    # The first and third clustering are of the first crop, the second of the other.
                    bank = new.state["bank"][head % 2]
                    again = reference.cluster_memory(bank, centroids, 0)[1]
                    np.testing.assert_array_equal(new.state["labels"][head], again)
                    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(3), i), head)
                    alone = kmeans.spherical_kmeans(key, jnp.asarray(bank), len(centroids), 10)
                    np.testing.assert_allclose(centroids, alone[0], rtol=1e-9)

    def test_deepcluster_loss_sizes_and_classifier(self):
        """Weights are one over the size of the cluster; the classifier is new every epoch."""
        uneven = False
        for i, old, inputs, new, metrics in two_epochs("deepcluster"):
            classifier, fresh = old.params["classifier"], new.params["classifier"]
            if i >= 3:
                x = bank_rows("deepcluster", old.params, inputs)[0]
                labels = old.state["labels"][inputs["index"]]
                sizes = np.array([(old.state["labels"] == label).sum() for label in labels])
                uneven |= len(set(sizes.tolist())) > 1
                logits = x @ classifier["kernel"] + classifier["bias"]
                expected = reference.cross_entropy(logits, labels, 1 / sizes, ignore_index=-1)
                np.testing.assert_allclose(metrics["loss"], expected, rtol=1e-9)
            if i % 3 == 2:
                counts = np.bincount(new.state["labels"], minlength=5)
                np.testing.assert_array_equal(new.state["sizes"], counts)
                assert (classifier["kernel"] != fresh["kernel"]).all()
                assert (fresh["bias"] == 0).all()
                assert 0.003 < fresh["kernel"].std() < 0.03
            elif i >= 3:
                assert (fresh["bias"] != 0).any()
        assert uneven  # else the weights would make no difference


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("swav", {"prototypes": 1}, "prototypes must be at least 2, got 1"),
        ("swav", {"temperature": 0.0}, "temperature must be > 0, got 0.0"),
        ("swav", {"epsilon": 0.0}, "epsilon must be > 0, got 0.0"),
        ("swav", {"iterations": 0}, "iterations must be at least 1, got 0"),
        ("swav", {"queue_length": -1}, "queue_length must be at least 0, got -1"),
        ("deepcluster_v2", {"prototypes": ()}, "prototypes must be .*, got \\(\\)"),
        ("deepcluster_v2", {"prototypes": (4, 13)}, "between 2 and the 12 examples, got .*4, 13"),
        ("deepcluster_v2", {"temperature": 0.0}, "temperature must be > 0, got 0.0"),
        ("deepcluster_v2", {"iterations": 0}, "iterations must be at least 1, got 0"),
        ("deepcluster", {"clusters": 13}, "clusters must be between 2 and the 12 examples, got 13"),
        ("deepcluster", {"clusters": 3, "pca": 0}, "pca must be at least 1, got 0"),
        ("deepcluster", {"clusters": 3, "iterations": 0}, "iterations must be at least 1, got 0"),
    ],
)
def test_bad_options(name, options, words):
    facts = {"steps_per_epoch": 3}
    if name != "swav":
        facts["examples"] = EXAMPLES
        options = OFFLINE[name] | options
    with pytest.raises(ValueError, match=words):
        make(name, **facts, **options)
