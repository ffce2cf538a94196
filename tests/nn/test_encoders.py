import json

import jax
import jax.numpy as jnp
import pytest

from jssl.method import Features
from jssl.nn import ENCODERS, build, describe

SMALL = {
    "resnet": {"blocks": (1, 1), "width": 4},
    "vit": {"dim": 16, "depth": 1, "heads": 2, "patch": 8},
    "text": {"dim": 16, "depth": 1, "heads": 2},
}
OF_TEXT = ("text", "bert_", "gpt")


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("dtype", [None, "bfloat16"])
def test_every_encoder_returns_float32_features(name, dtype):
    options, x = SMALL.get(name, {}), jax.ShapeDtypeStruct((2, 112, 112, 3), jnp.float32)
    if name.startswith(OF_TEXT):
        options = options | {"vocabulary": 30}
        x = dict.fromkeys(("tokens", "segments"), jax.ShapeDtypeStruct((2, 12), jnp.int32))
    m = build(name, **options, dtype=dtype)
    features, v = jax.eval_shape(m.init_with_output, jax.random.key(0), x)
    assert isinstance(features, Features)
    assert features.pooled.shape == (2, features.tokens.shape[-1])
    assert {x.dtype for x in jax.tree.leaves((features, v))} == {jnp.dtype(jnp.float32)}


def test_names_and_options():
    assert set(ENCODERS) == {
        *("resnet", "resnet18", "resnet34", "resnet50", "resnet101"),
        *("vit", "vit_ti16", "vit_s16", "vit_b16", "vit_l16", "vit_h14"),
        *("text", "bert_tiny", "bert_mini", "bert_small", "bert_base", "bert_large"),
        *("gpt_tiny", "gpt2_small", "gpt2_medium"),
    }
    assert build("resnet18", width=16, stem="2x2", conv="matmul").width == 16
    vit = build("vit_s16", patch=8, pool="mean")
    assert (vit.patch, vit.pool, vit.dim, vit.heads) == (8, "mean", 384, 6)


def test_description_is_json_and_true():
    described = json.loads(json.dumps(describe()))
    assert set(described) == set(ENCODERS)
    assert described["vit_h14"]["patch"] == 14
    assert described["vit"]["dim"] == "required"
    assert described["resnet50"]["bottleneck"] is True
    assert described["resnet18"]["width"] == 64
    assert not {"parent", "name"} & set(described["resnet18"])
    # What is described as the default builds the same encoder.
    assert build("resnet18", **{"width": 64, "stem": "imagenet"}) == build("resnet18")


def test_errors():
    with pytest.raises(ValueError, match="unknown encoder 'resnet19', did you mean 'resnet18'"):
        build("resnet19")
    with pytest.raises(ValueError, match="unknown encoder 'qqq'; choose from resnet"):
        build("qqq")
    with pytest.raises(ValueError, match=r"unknown option 'widht' .*did you mean 'width'.*blocks"):
        build("resnet18", widht=16)
    with pytest.raises(ValueError, match="encoder 'vit' needs depth, heads"):
        build("vit", dim=16)
    with pytest.raises(ValueError, match="unknown option 'parent'"):
        build("vit_s16", parent=None)
