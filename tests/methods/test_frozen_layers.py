"""Frozen parameters: no gradient is computed, no optimizer state is kept, not a bit changes."""

from functools import partial

import cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.cli import build, config
from jssl.nn import layers
from jssl.pod import flops
from jssl.train import optimizers
from jssl.train import step as train_step
from jssl.train.freeze import NEVER, freeze


def frozen_as(text):
    return partial(layers.frozen, freeze=text)


def begins(text):
    return lambda params: jax.tree.map(lambda f: NEVER if f else 0, frozen_as(text)(params))


def held(params, text):
    """The names of what is frozen."""
    mask = layers.frozen(params, text)
    names = jax.tree.map(lambda name, f: name if f else "", layers.paths(params), mask)
    return set(jax.tree.leaves(names)) - {""}


def shapes_of(encoder, name="supervised"):
    method = cases.make(name, encoder)
    return jax.eval_shape(method.init, jax.random.key(0), cases.batch()).params


@pytest.mark.parametrize(
    ("encoder", "text", "modules"),
    [
        (cases.resnet, "none", []),
        (cases.resnet, "first:1", ["stem", "stem_norm"]),
        (cases.resnet, "first:2", ["stem", "stem_norm", "stage1_block1"]),
        (cases.resnet, "last:1", ["stage2_block1"]),
        (cases.vit, "first:2", ["cls", "embed", "transformer/blocks_0"]),
        # The norm that closes a transformer goes with its last block.
        (cases.vit, "last:1", ["transformer/blocks_1", "transformer/norm"]),
        (cases.vit, "encoder/cls,encoder/transformer/*_1/*", ["cls", "transformer/blocks_1"]),
        (cases.text, "first:1", ["embed", "positions", "types"]),
    ],
)
def test_what_is_frozen(encoder, text, modules):
    params = shapes_of(encoder, "bert" if encoder is cases.text else "supervised")
    names = jax.tree.leaves(layers.paths(params))
    parts = tuple(f"encoder/{module}" for module in modules)
    assert held(params, text) == {
        n for n in names if any(n == p or n.startswith(p + "/") for p in parts)
    }
    assert held(params, "all") == {name for name in names if name.startswith("encoder/")}
    assert held(params, "first:3") == held(params, "last:3") == held(params, "all")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("first:4", "freeze=first:N takes 1 to 3, the layers there are: first:4"),
        ("last:0", "freeze=last:N takes 1 to 3, the layers there are: last:0"),
        ("first:x", "freeze=first:N takes 1 to 3, the layers there are: first:x"),
        ("al", "freeze takes none, all, first:N, last:N or a pattern of names"),
        ("*", "freeze=* leaves nothing to train"),
    ],
)
def test_what_cannot_be_frozen_is_one_clear_line(text, message):
    params = shapes_of(cases.vit)
    with pytest.raises(ValueError, match=r".") as caught:
        layers.frozen(params, text)
    assert message in str(caught.value)
    stacked = {"encoder": {"transformer": {"blocks": {"fc1": {"kernel": 0}}}}}
    with pytest.raises(ValueError, match=r"give encoder.scan=false"):
        layers.frozen(stacked, "first:1")


def test_layers_count_by_number_not_by_letter():
    params = {"encoder": {f"stage1_block{i}": {"kernel": 0} for i in range(1, 12)}, "head": 0}
    depths, count = layers.depths(params)
    assert count == 12
    assert [depths["encoder"][f"stage1_block{i}"]["kernel"] for i in (1, 2, 10, 11)] == [
        1,
        2,
        10,
        11,
    ]
    assert depths["head"] == 12


@pytest.mark.parametrize("encoder", [cases.resnet, pytest.param(cases.vit, marks=pytest.mark.long)])
def test_flops_fall_with_what_is_frozen(encoder):
    """By shape, and as the compiler counts them: forward alone is a third of it all."""
    method, batch = cases.make("supervised", encoder, options={}), cases.batch()
    counted, compiled = [], []
    for text in ("none", "first:2", "all"):
        one = method if text == "none" else freeze(method, begins(text))
        tx = optimizers.build("sgd", 0.1, frozen=frozen_as(text))
        step = train_step.make_step(one, tx)
        train = jax.eval_shape(lambda b, one=one, tx=tx: train_step.init(one, tx, 0, b), batch)
        counted.append(flops.count(step, train, batch))
        if text != "first:2":
            program = jax.jit(step).lower(train, batch).compile()
            compiled.append(program.cost_analysis()["flops"])
    assert counted[2] < counted[1] < 0.95 * counted[0]
    for counts in (counted, compiled):
        assert counts[-1] < 0.45 * counts[0]


@pytest.mark.parametrize(
    "name", ["adamw", *(pytest.param(name, marks=pytest.mark.long) for name in ("sgd", "lars"))]
)
def test_frozen_parameters_keep_every_bit_and_have_no_optimizer_state(name):
    method, batch = (
        freeze(cases.make("supervised", cases.vit, options={}), begins("first:2")),
        cases.batch(),
    )
    tx = optimizers.build(name, 0.1, weight_decay=0.1, clip=1.0, frozen=frozen_as("first:2"))
    with jax.numpy_dtype_promotion("standard"):
        train = cases.first(method, tx, batch)
        # To which adding a zero would be a change.
        train.params["encoder"]["cls"] = jnp.full((1, 1, 24), -0.0)
        first = jax.device_get(train.params)
        step = jax.jit(train_step.make_step(method, tx))
        for _ in range(3):
            train, _ = step(train, batch)
    moments = {"sgd": 1, "adamw": 2, "lars": 1}[name]
    mask = layers.frozen(first, "first:2")
    learning = sum(
        x.size for x, f in zip(*map(jax.tree.leaves, (first, mask)), strict=True) if not f
    )
    kept = sum(x.size for x in jax.tree.leaves(train.opt_state))
    assert moments * learning <= kept <= moments * learning + 4  # and counts of steps
    same = jax.tree.map(
        lambda x, y: np.asarray(x).tobytes() == np.asarray(y).tobytes(), first, train.params
    )
    assert same == mask


def test_layers_learn_one_after_another_from_the_last_to_the_first():
    cfg = config.load("supervised", {"unfreeze_epochs": "1.5", "freeze": "first:1"})
    steps = build.learns(cfg, 10, shapes_of(cases.vit))
    encoder = steps["encoder"]
    assert set(jax.tree.leaves(steps["head"])) == {0}
    assert set(jax.tree.leaves(encoder["transformer"]["norm"])) == {0}
    assert set(jax.tree.leaves(encoder["transformer"]["blocks_1"])) == {15}
    assert set(jax.tree.leaves(encoder["transformer"]["blocks_0"])) == {30}
    assert set(jax.tree.leaves(encoder["embed"])) == {NEVER}
    with pytest.raises(ValueError, match=r"unfreeze_epochs must be > 0, got -1"):
        build.check(config.load("supervised", {"unfreeze_epochs": "-1.0"}))


def test_the_learning_rate_falls_with_each_layer_from_the_last_to_the_first():
    """The scales of BEiT's released code: decay ** (blocks + 1 - id), the head and last norm 1."""
    params = shapes_of(cases.vit)
    ones = jax.tree.map(lambda x: np.ones(x.shape, x.dtype), params)
    scale = partial(layers.decayed, decay=0.5)
    tx = optimizers.build("sgd", 1.0, momentum=0.0, weight_decay=1.0, scale=scale)
    updates, _ = tx.update(ones, tx.init(ones), ones)
    found = {
        layers.layer(name): float(-u.max())
        for name, u in zip(*map(jax.tree.leaves, (layers.paths(updates), updates)), strict=True)
        if name.endswith("bias") or name == "encoder/cls"
    }
    assert found == {
        "encoder/cls": 0.125,
        "encoder/embed": 0.125,
        "encoder/transformer/blocks_0": 0.25,
        "encoder/transformer/blocks_1": 0.5,
        "encoder/transformer": 1.0,
        "head": 1.0,
    }


def test_a_branch_with_a_rate_of_its_own_may_stand_beside_what_is_frozen():
    params = jax.tree.map(lambda x: np.ones(x.shape, x.dtype), shapes_of(cases.vit, "simsiam"))
    tx = optimizers.build(
        "sgd", 0.1, momentum=0.0, constant={"predictor": 0.5}, frozen=frozen_as("all")
    )
    updates, _ = tx.update(params, tx.init(params), params)
    found = {name: {float(-x.flat[0]) for x in map(np.asarray, jax.tree.leaves(branch))}
             for name, branch in updates.items()}  # fmt: skip
    assert {name: {round(x, 6) for x in values} for name, values in found.items()} == {
        "encoder": {0.0},
        "projector": {0.1},
        "predictor": {0.5},
    }
