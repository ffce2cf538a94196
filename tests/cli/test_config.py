"""Configs: names, typed arguments, overrides, and errors that help."""

import json

import pytest

from jssl.cli import config


def test_every_shipped_config_loads_and_opens_with_its_run_command():
    found = config.shipped_configs()
    assert {"simclr", "byol", "mae", "quickstart"} <= found.keys()
    for name, file in found.items():
        assert config.load(name).train.batch_size > 0
        head = file.read_text().split('"""')[1]
        assert f"jssl pretrain --config {name}" in head or f"jssl {name}" in head


def test_sections_are_filled_with_the_builders_defaults():
    loaded = config.load("simclr")
    assert loaded.method.layers == 2
    assert loaded.optimizer.momentum == 0.9
    assert loaded.augment.flip == 0.5


def test_the_documented_keys_mean_the_same_everywhere():
    for name in config.shipped_configs():
        loaded = config.load(name)
        for key in (
            "seed",
            "precision",
            "data.source",
            "data.eval_source",
            "data.limit",
            "encoder.name",
            "method.name",
            "optimizer.name",
            "optimizer.lr",
            "optimizer.weight_decay",
            "train.epochs",
            "train.steps",
            "train.batch_size",
            "train.accumulate",
            "checkpoint.every_steps",
            "checkpoint.keep",
            "eval.every_epochs",
            "mesh.fsdp",
        ):
            node = loaded
            for part in key.split("."):
                assert part in node, (name, key)
                node = node[part]


def test_keys_that_came_after_a_run_have_their_defaults():
    whole = json.loads(config.load("mae", {"data.length": "64"}).to_json())
    old = json.loads(json.dumps(whole))
    del old["mesh"], old["seed"], old["data"]["vocabulary"], old["optimizer"]["clip_each"]
    del old["augment"]["rand_augment"], old["method"]["mask_ratio"], old["encoder"]["remat"]
    assert old != whole
    assert config.saved(old).to_dict() == config.saved(whole).to_dict()
    assert config.saved(whole).method.to_dict() == config.load("mae").method.to_dict()
    assert config.saved(old).data.length == 64


def test_arguments_are_typed_by_their_defaults():
    loaded = config.load("simclr:data=folder:a,b/c.d,epochs=3")
    assert loaded.data.source == "folder:a,b/c.d"
    assert loaded.train.epochs == 3


def test_overrides():
    loaded = config.load(
        "configs/simclr.py",
        {
            "optimizer.lr": "1e-2",
            "train.steps": "7",
            "augment.scale": "(0.5, 1.0)",
            "optimizer.nesterov": "false",
            "data.limit": "100",
            "optimizer.clip": "1.0",
        },
    )
    assert loaded.optimizer.lr == 0.01
    assert loaded.train.steps == 7
    assert loaded.augment.scale == (0.5, 1.0)
    assert loaded.optimizer.nesterov is False
    assert loaded.data.limit == 100


def test_a_new_name_starts_its_section_afresh():
    loaded = config.load("simclr", {"optimizer.name": "adamw", "encoder.name": "vit_ti16"})
    assert loaded.optimizer.b2 == 0.999
    assert loaded.optimizer.lr == config.load("simclr").optimizer.lr
    assert "nesterov" not in loaded.optimizer
    assert "stem" not in loaded.encoder


def test_what_a_run_begins_from_gives_the_encoder(tmp_path):
    other = config.load("mae", {"encoder.depth": "3", "augment.mean": "(0.2,)"})
    (tmp_path / "config.json").write_text(other.to_json())
    begun = {"init_from": str(tmp_path), "encoder.drop_path": "0.1"}
    loaded = config.load("supervised", begun)
    assert loaded.encoder.to_dict() == other.encoder.to_dict() | {"drop_path": 0.1}
    assert loaded.augment.mean == (0.2,)
    assert loaded.augment.std is None
    assert config.load("supervised", begun | {"augment.mean": "(0.5,)"}).augment.mean == (0.5,)
    # Of a run that has begun, where the other is gone.
    gone = begun | {"init_from": "/none"}
    assert config.load("supervised", gone, tmp_path).encoder.depth == 3
    assert config.load("supervised", {"init_from": "none"}).init_from is None


@pytest.mark.parametrize(
    ("spec", "overrides", "message"),
    [
        ("supervised", {"init_from": "/none"}, "init_from=/none holds no run: there is no /none/"),
        ("simclr", {"optimizer.lrr": "1"}, "unknown config key optimizer.lrr; did you mean optim"),
        (
            "simclr",
            {"optimzer.lr": "1"},
            "unknown config key optimzer.lr; did you mean optimizer.lr",
        ),
        ("simclr", {"seed": "x"}, "config.seed takes a whole number, got 'x'"),
        ("simclr", {"optimizer.lr": "fast"}, "config.optimizer.lr takes a number, got 'fast'"),
        ("simclr", {"optimizer.nesterov": "maybe"}, "takes true or false, got 'maybe'"),
        ("simclr", {"optimizer": "sgd"}, "optimizer is a section"),
        ("simclr", {"method.name": "simclrr"}, "unknown method 'simclrr'; did you mean simclr?"),
        ("simclr", {"optimizer.name": "sdg"}, "unknown optimizer 'sdg'; did you mean sgd?"),
        ("simclr", {"encoder.name": "resnet19"}, "resnet1"),
        ("simclrr", {}, "no config 'simclrr' ships with jssl; did you mean simclr?"),
        ("missing.py", {}, "no config file missing.py"),
        ("simclr:epoch=3", {}, "config simclr takes no argument 'epoch'; did you mean epochs?"),
        ("simclr:epochs=few", {}, "argument epochs takes a whole number, got 'few'"),
        ("simclr:epochs", {}, "config arguments are KEY=VALUE, got 'epochs'"),
    ],
)
def test_errors_are_one_line_that_names_thing_value_and_mend(spec, overrides, message):
    with pytest.raises(ValueError, match=r".") as caught:
        config.load(spec, overrides)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["def get_config(:", "import nothing_of_that_name", "x = 1"])
def test_a_config_file_that_cannot_be_run(tmp_path, text):
    file = tmp_path / "broken.py"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"broken.py (cannot be run|has no function get_config)"):
        config.load(str(file))
