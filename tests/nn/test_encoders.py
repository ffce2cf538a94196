import json

import jax
import jax.numpy as jnp
import pytest

from jssl.method import Features
from jssl.nn import ENCODERS, build, describe, encoders

SMALL = {
    "resnet": {"blocks": (1, 1), "width": 4},
    "vit": {"dim": 16, "depth": 1, "heads": 2, "patch": 8},
    "text": {"dim": 16, "depth": 1, "heads": 2},
}


def shaped(shape, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(shape, dtype)


# By what encoders take.
BATCHES = {
    "image": shaped((2, 112, 112, 3)),
    "tokens": dict.fromkeys(("tokens", "segments"), shaped((2, 12), jnp.int32)),
    "signal": {"signal": shaped((2, 8000)), "samples": shaped((2,), jnp.int32)},
    "series": {"series": shaped((2, 48, 3)), "observed": shaped((2, 48, 3), jnp.bool)},
    "row": shaped((2, 7)),
}


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("dtype", [None, "bfloat16"])
def test_every_encoder_returns_float32_features(name, dtype):
    options, of = SMALL.get(name, {}), encoders.takes(name)
    if of == "tokens":
        options = options | {"vocabulary": 30}
    m = build(name, **options, dtype=dtype)
    features, v = jax.eval_shape(m.init_with_output, jax.random.key(0), BATCHES[of])
    assert isinstance(features, Features)
    assert len(features.pooled) == 2
    assert of == "row" or features.pooled.shape[1] == features.tokens.shape[-1]
    assert {x.dtype for x in jax.tree.leaves((features, v))} == {jnp.dtype(jnp.float32)}


def test_names_and_options():
    assert set(ENCODERS) == {
        *("resnet", "resnet18", "resnet34", "resnet50", "resnet101"),
        *("vit", "vit_ti16", "vit_s16", "vit_b16", "vit_l16", "vit_h14"),
        *("text", "bert_tiny", "bert_mini", "bert_small", "bert_base", "bert_large"),
        *("gpt_tiny", "gpt2_small", "gpt2_medium"),
        *("cpc", "wav2vec2", "dilated", "patch_series", "table"),
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
