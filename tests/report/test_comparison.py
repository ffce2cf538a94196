"""Runs beside each other: seeds together, unlike ones refused, measures that foretell the probe."""

import copy
import json
import re

import numpy as np
import pytest
import scipy.stats

from jssl.evals.ranking import spearman
from jssl.report import comparison

CONFIG = {
    "seed": 0,
    "data": {"source": "bundled", "eval_source": None, "limit": 100},
    "encoder": {"name": "resnet18", "width": 16},
    "method": {"name": "simclr", "temperature": 0.5},
    "optimizer": {"name": "sgd", "lr": 0.3},
    "train": {"batch_size": 50},
    "eval": {"limit": 50, "k": 20},
}
RANDOM = {"knn": 0.4, "linear": 0.5}


def write(folder, table, *, rate=100.0, **changes):
    config = copy.deepcopy(CONFIG)
    for key, value in changes.items():
        section, _, name = key.rpartition("__")
        (config[section] if section else config)[name] = value
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "data.json").write_text(json.dumps({"steps": 20}))
    lines = [{"step": i, "examples_per_second": rate, "effective_rank": 5.0} for i in (1, 2)]
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    if table is not None:
        rows = {"raw_pixels": {"knn": 0.6}, "random_encoder": RANDOM, "pretrained": table}
        (folder / "table.json").write_text(json.dumps(rows))
    return folder


@pytest.fixture
def seeds(tmp_path):
    knn = [0.70, 0.72, 0.80]
    return [
        write(tmp_path / f"s{i}", {"knn": x, "linear": 0.8, "clustering": {"nmi": 0.3}}, seed=i)
        for i, x in enumerate(knn)
    ]


def test_seeds_are_one_row_with_their_mean_and_interval(seeds, tmp_path):
    other = write(tmp_path / "other", {"knn": 0.5, "linear": 0.6}, method__name="byol")
    costs = {folder: {"parameters": 1234.0, "flops": 2e7} for folder in seeds}
    found = comparison.compare([*seeds, other], costs)
    rows = {row.name: row for row in found.rows}
    assert list(rows) == ["raw pixels", "random resnet18", "simclr resnet18", "byol resnet18"]
    row = rows["simclr resnet18"]
    assert (row.seeds, row.metrics["knn"]) == (3, [0.70, 0.72, 0.80])
    assert row.metrics["clustering: nmi"] == [0.3] * 3
    # 20 steps of 50 examples at 100 a second.
    assert row.cost == {"step_ms": [500.0] * 3, "seconds": [10.0] * 3,
                        "parameters": [1234.0] * 3, "flops": [2e7] * 3}  # fmt: skip
    assert (rows["raw pixels"].metrics, rows["raw pixels"].cost) == ({"knn": [0.6]}, {})
    values = np.array([70.0, 72.0, 80.0])
    low, high = scipy.stats.t.interval(0.95, 2, values.mean(), scipy.stats.sem(values))
    table = {line[0]: line[1:] for line in comparison.grid(found)}
    assert table["simclr resnet18 (3 seeds)"][0] == f"{values.mean():.1f} ± {(high - low) / 2:.1f}"
    assert table["byol resnet18"] == ["50.0", "60.0", "–", "0.2 min", "500", "–", "–"]


def test_rows_of_one_method_are_named_by_what_differs(tmp_path):
    folders = [
        write(tmp_path / f"{lr}", {"knn": lr}, optimizer__lr=lr, checkpoint={"keep": int(10 * lr)})
        for lr in (0.1, 0.3)
    ]
    names = [row.name for row in comparison.compare(folders, {}).rows[-2:]]
    assert names == ["simclr resnet18 optimizer.lr=0.1", "simclr resnet18 optimizer.lr=0.3"]


@pytest.mark.parametrize(
    ("changes", "table", "message"),
    [
        ({"data__source": "folder:X"}, {"knn": 0.1}, "data.source is bundled and folder:X"),
        ({"data__limit": 9}, {"knn": 0.1}, "data.limit is 100 and 9"),
        ({"eval__k": 5}, {"knn": 0.1}, "eval.k is 20 and 5"),
        ({}, {"linear_1_percent": 0.1}, "no protocol in common"),
        ({}, None, "is not evaluated yet: jssl evaluate --workdir"),
    ],
)
def test_unlike_runs_are_refused(seeds, changes, table, message, tmp_path):
    other = write(tmp_path / "other", table, **changes)
    with pytest.raises(ValueError, match=re.escape(message)) as refused:
        comparison.compare([seeds[0], other], {})
    assert "\n" not in str(refused.value)


def test_no_run_and_one_twice_are_refused(seeds, tmp_path):
    (tmp_path / "empty").mkdir()
    for folders, message in (
        ([seeds[0], seeds[0]], "named twice"),
        ([tmp_path / "none"], "is not a folder"),
        ([tmp_path / "empty"], "holds no run"),
    ):
        with pytest.raises(ValueError, match=message):
            comparison.compare(folders, {})


def test_what_foretells_the_probe(tmp_path):
    linear, rank, other = [0.5, 0.6, 0.7, 0.8], [3.0, 4.0, 9.0, 11.0], [4.0, 4.0, 3.0, 1.0]
    folders = [
        write(
            tmp_path / f"{i}",
            {"linear": x, "unlabelled": {"rankme": a, "clid": b, "no": None}},
            method__temperature=x,
        )
        for i, (x, a, b) in enumerate(zip(linear, rank, other, strict=True))
    ]
    found = comparison.compare(folders, {}).foretells
    assert found["rankme"] == (pytest.approx(1.0), 4)
    assert found["clid"][0] == pytest.approx(scipy.stats.spearmanr(other, linear)[0])
    assert "no" not in found
    assert "effective_rank, training" not in found  # it is the same in all
    assert comparison.compare(folders[:3], {}).foretells == {}
    for text in (comparison.text, comparison.markdown, comparison.page):
        assert "rankme ranks the runs as the linear probe does to +1.00" in text(
            comparison.compare(folders, {})
        )


@pytest.mark.parametrize("ties", [False, True])
def test_spearman(ties):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 4 if ties else 10**9, (2, 30)).astype(float)
    assert spearman(x, y) == pytest.approx(scipy.stats.spearmanr(x, y)[0], abs=1e-12)


def test_the_page_and_the_markdown_show_every_row(seeds, tmp_path):
    other = write(tmp_path / "other", {"knn": 0.5}, method__name="<b>")
    found = comparison.compare([*seeds, other], {})
    text, page = comparison.markdown(found), comparison.page(found)
    assert (
        text.splitlines()[0] == "|  | kNN, % | linear, % | clustering: nmi | training | ms a step |"
    )
    assert len({line.count("|") for line in text.strip().splitlines()}) == 1
    assert "<b>" not in page
    assert "&lt;b&gt; resnet18" in page
    assert page.count("<circle") == 4 + 2  # rows with kNN, rows with the linear probe
    assert "http" not in page
