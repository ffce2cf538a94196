"""What `jssl compile` makes of a config before anything is compiled."""

import argparse

import jax
import pytest

from jssl.cli import build, config, pod
from jssl.pod import chips, report
from jssl.pod import compile as pod_compile

HERE = pod_compile.Pod("v5e:2x4", chips.TPUS["v5e"], [None] * 8)


def completed(spec, size=None, **overrides):
    cfg = config.load(spec, overrides)
    pod._complete(cfg, size)
    return cfg


@pytest.mark.parametrize(
    ("spec", "size", "expected"),
    [
        ("simclr", None, 224),
        ("simclr", 32, 32),
        ("simclr:recipe=imagenet", None, 224),
        ("simclr:recipe=imagenet", 96, 96),
        ("vqvae:recipe=imagenet", None, 112),
    ],
)
def test_the_size_is_the_config_s_or_imagenet_s(spec, size, expected):
    cfg = completed(spec, size)
    facts, batch = pod._data(cfg)
    assert cfg.augment.size == expected
    assert batch["image"].shape == (cfg.train.batch_size, expected, expected, 3)
    assert facts["steps_per_epoch"] == pod.EXAMPLES // cfg.train.batch_size


def test_the_views_may_be_smaller_than_the_images():
    cfg = completed("simclr", **{"data.size": "64", "augment.size": "48"})
    assert (cfg.data.size, cfg.augment.size) == (64, 48)


def described(cfg, frozen=None):
    facts, batch = pod._data(cfg)
    facts["frozen"] = frozen or {}
    method = build.method(pod._plain(cfg), facts)
    tx, _ = build.optimizer(cfg, 10, 100)
    with jax.numpy_dtype_promotion("standard"):  # optax's schedules mix float and int
        train = pod_compile.abstract_state(method, tx, batch)
    return report.describe(method, train, batch, HERE, {"replica": 8, "fsdp": 1})


def test_the_model_is_the_same_however_it_saves_memory():
    plain = described(completed("mae:batch_size=8", 16))
    saving = completed("mae:batch_size=8", 16, **{"encoder.remat": "true", "encoder.scan": "true"})
    assert described(saving).model_flops == plain.model_flops > 0


def test_a_tokenizer_that_is_not_there_has_a_stand_in():
    arguments = argparse.Namespace(config="beit:batch_size=8")
    cfg = completed(arguments.config, 16)
    frozen = pod._frozen(cfg, arguments)
    assert described(cfg, frozen).images == 1
    cfg = completed(arguments.config, 16, **{"method.tokenizer": "nowhere"})
    with pytest.raises(ValueError, match=r"method.tokenizer=nowhere holds no run"):
        pod._frozen(cfg, arguments)


def test_what_would_help():
    cfg = completed("mae:batch_size=64", 16)
    changes = dict(pod._changes(cfg, HERE))
    assert list(changes) == [
        "mesh.fsdp=8",
        "encoder.remat=true",
        "train.batch_size=32",
        "train.accumulate=2",
    ]
    for overrides in changes.values():
        build.check(completed("mae:batch_size=64", 16, **overrides), len(HERE.devices))
    cfg = completed("simclr:batch_size=8", 16, **{"mesh.fsdp": "8"})
    assert pod._changes(cfg, HERE) == []
