import json
import re
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

from jssl.report import curves, folder, maps, page

RNG = np.random.default_rng(0)
VOID = {"meta", "img", "line", "polyline", "circle", "path", "rect", "br"}
SECTIONS = {
    "Results": "table.json",
    "Training": "metrics.jsonl",
    "What the encoder is shown": "pictures.npz",
    "What it fills in": "pictures.npz",
    "How well it restores": "restoration.json",
    "Map of the embedding": "embedding.npz",
    "Nearest neighbours": "embedding.npz",
    "Where it looks": "explain.npz",
    "Nearest training examples": "explain.npz",
    "What each layer holds": "explain.json",
    "Configuration": "config.json",
    "Repeat this run": "command.json",
}


@pytest.fixture(autouse=True)
def no_umap(monkeypatch):
    """UMAP takes half a minute to compile itself; one slow test below has it."""
    monkeypatch.setitem(sys.modules, "umap", None)


RESTORATION = {
    "images": 20,
    "given": "masked",
    "rows": {
        "mean_fill": {"psnr": 11.11, "ssim": 0.25, "psnr_hidden": None, "ssim_hidden": None},
        "blur": {"psnr": 12.0, "ssim": 0.5, "psnr_hidden": None, "ssim_hidden": None},
        "masked <i>": {"psnr": 10.0, "ssim": 0.2, "psnr_hidden": None, "ssim_hidden": None},
        "reconstruction (true)": {"psnr": 17.0, "ssim": 0.7, "psnr_hidden": None},
    },
    "notes": ["told the true <b>", "seen"],
}


OPTIONAL = {"restoration.json", "explain.npz", "explain.json"}
LAYERS = {
    "layers": {
        "block_0": {"width": 8, "knn": 0.5, "linear": 0.625},
        "<b>": {"width": 8, "knn": 0.75, "linear": 0.5},
    },
    "cka": [[1.0, 0.25], [0.25, 1.0]],
    "other": "runs/<i>",
    "other_layers": ["a"],
    "other_cka": [[0.375], [0.875]],
    "examples": [40, 20],
}


def images(*shape):
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def measurements():
    for step in range(1, 101):
        line = {"step": step, "epoch": step / 10, "time": 1e9 + 3 * step, "loss": 9 / step}
        line |= {"proxy_accuracy": step / 200, "learning_rate": 0.1, "positive_similarity": 0.5}
        line |= {"alignment": 0.4, "uniformity": -3.0, "projection_spread": 0.9}
        yield line
        if step % 20 == 0:
            yield {
                "step": step,
                "epoch": step / 10,
                "knn": 0.5 + step / 400,
                "effective_rank": 7.5,
                "deviation": 0.2,
            }


@pytest.fixture
def workdir(tmp_path):
    """A whole run folder, in which everything named could break a page."""
    config = {
        "seed": 7,
        "method": {"name": "simclr", "note": "<script>alert('config')</script>"},
        "encoder": {"name": "resnet18"},
        "data": {"source": "folder:/a & b"},
    }
    command = {
        "command": 'jssl pretrain --config "simclr" && echo <b>',
        "versions": {"jax": "0.10.2"},
        "device": "2 x cpu",
        "started": "2026-01-02",
    }
    table = {
        "raw_pixels": {"knn": 0.80, "linear": 0.91, "linear_10_per_class": 0.5},
        "random_encoder": {"knn": 0.70, "linear": 0.80, "linear_10_per_class": None},
        "pretrained": {
            "knn": 0.875,
            "linear": 0.90,
            "linear_10_per_class": 0.6,
            "linear_10_per_class_interval": [0.58, 0.62],
        },
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "command.json").write_text(json.dumps(command))
    (tmp_path / "data.json").write_text(json.dumps({"dimensions": 16}))
    (tmp_path / "table.json").write_text(json.dumps({"rows": table}))
    (tmp_path / "restoration.json").write_text(json.dumps(RESTORATION))
    (tmp_path / "explain.json").write_text(json.dumps(LAYERS))
    lines = "".join(json.dumps(line) + "\n" for line in measurements())
    (tmp_path / "metrics.jsonl").write_text(lines)
    np.savez(
        tmp_path / "pictures.npz",
        originals=images(4, 12, 12, 3),
        views=images(4, 2, 12, 12, 3),
        reconstruct_names=np.array(["original", "masked <i>"]),
        **{
            "reconstruct_original": images(4, 12, 12, 3),
            "reconstruct_masked <i>": images(4, 12, 12, 3),
        },
    )
    np.savez(
        tmp_path / "explain.npz",
        shown=np.array(["image", "occlusion"]),
        shown_image=images(2, 12, 12, 3),
        shown_occlusion=images(2, 12, 12, 3),
        label=np.array([0, 2]),
        neighbours=images(2, 4, 12, 12, 3),
        neighbour_label=np.array([[0, 1, 2, 0], [2, 2, 2, -1]]),
        similarity=RNG.random((2, 4)),
        class_names=np.array(["cat", "dog", "<img src=x>"]),
    )
    labels = np.arange(60) % 3
    np.savez(
        tmp_path / "embedding.npz",
        test_x=(3 * np.eye(16)[labels] + RNG.standard_normal((60, 16))).astype(np.float32),
        test_y=labels,
        thumbnails=images(60, 8, 8, 1),
        class_names=np.array(["cat", "dog", "<img src=x>"]),
    )
    return tmp_path


class Outline(HTMLParser):
    """Sections by title, and proof that every tag is closed in its turn."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.sections, self.title = [], [], {}, None
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] == ["h2"]:
            self.title = data
            self.sections[data] = ""
        elif "section" in self.open:
            self.sections[self.title] += data + " "


def test_whole_run_has_every_section_and_is_well_formed(workdir):
    path = page.write(workdir)
    assert path == workdir / "report.html"
    assert not list(workdir.glob("*.partial"))
    outline = Outline(path.read_text(encoding="utf-8"))
    assert set(outline.sections) == set(SECTIONS)
    assert "Left out" not in "".join(outline.sections.values())
    titles = [c.title for c in curves.CURVES if c.key not in ("grad_norm", "examples_per_second")]
    for title in [*titles, "Positive similarity"]:
        assert title in outline.sections["Training"]
    assert "jssl pretrain" in outline.sections["Repeat this run"]
    assert "0.10.2" in outline.sections["Repeat this run"]
    assert "resnet18" in outline.sections["Configuration"]


def test_page_needs_nothing_but_itself(workdir):
    text = page.write(workdir).read_text(encoding="utf-8")
    outline = Outline(text)
    assert len([1 for tag, _ in outline.tags if tag == "img"]) > 30
    for tag, attributes in outline.tags:
        assert tag not in ("script", "link", "iframe", "object", "embed")
        for name in ("src", "href", "xlink:href", "srcset"):
            assert (attributes.get(name) or "data:").startswith("data:")
    assert not re.search(r"https?://|url\(|@import", text)
    assert len(text) < 5e6


def test_everything_from_outside_is_escaped(workdir):
    text = page.write(workdir).read_text(encoding="utf-8")
    for raw in ("<script>", "<img src=x>", "<i>", "echo <b>", "a & b"):
        assert raw not in text
    for escaped in ("&lt;script&gt;", "&lt;img src=x&gt;", "masked &lt;i&gt;", "a &amp; b"):
        assert escaped in text


def test_best_of_each_column_stands_out(workdir):
    text = page.write(workdir).read_text(encoding="utf-8")
    body = text.split("<tbody>")[1].split("</tbody>")[0]
    rows = re.findall(r"<tr><th>(.*?)</th>(.*?)</tr>", body)
    best = {name: re.findall(r'class="best"><span>([\d.]+)', cells) for name, cells in rows}
    assert best == {"raw pixels": ["91.0"], "random encoder": [], "pretrained": ["87.5", "60.0"]}
    assert "± 2.0" in body
    assert '<td class="none">–</td>' in body
    assert "+17.5 points over a random encoder" in text


def test_restoration_is_a_table_in_which_what_was_told_the_answer_is_never_best(workdir):
    text = page.write(workdir).read_text(encoding="utf-8").split("How well it restores")[1]
    rows = dict(re.findall(r"<tr><th>(.*?)</th>(.*?)</tr>", text.split("</table>")[0])[1:])
    assert list(rows) == ["mean fill", "blur", "masked &lt;i&gt;", "reconstruction (true)"]
    assert rows["mean fill"] == '<td class=""><span>11.1 dB</span></td>' + (
        '<td class=""><span>0.250</span></td>'
    )
    assert [name for name, cells in rows.items() if "best" in cells] == ["blur"]
    assert "20 images" in text
    assert "Told the true &lt;b&gt;. Seen." in text


@pytest.mark.parametrize("file", sorted(OPTIONAL))
def test_what_few_runs_have_is_not_missed(workdir, file):
    (workdir / file).unlink()
    outline = Outline(page.write(workdir).read_text(encoding="utf-8"))
    assert set(outline.sections) == {title for title, needs in SECTIONS.items() if needs != file}


def test_the_best_layer_stands_out_and_likeness_is_drawn(workdir):
    text = page.write(workdir).read_text(encoding="utf-8")
    part = text[text.index("What each layer holds") : text.index("<h2>Configuration")]
    best = re.findall(r'class="best"><span>([\d.]+) %', part)
    assert best == ["62.5", "75.0"]
    assert re.findall(r">(\d+)</text>", part) == ["100", "25", "25", "100", "38", "88"]
    part = text[text.index("Nearest training examples") : text.index("What each layer holds")]
    kinds = re.findall(r'class="(same|other|)"', part)
    assert kinds == ["same", "other", "other", "same", "same", "same", "same", ""]


DAMAGES = [
    (file, damage)
    for file in sorted(set(SECTIONS.values()))
    for damage in ("missing", "cut", "empty", "nonsense", "array")
    # The rule there, and tested for itself.
    if (file, damage) != ("metrics.jsonl", "cut") and (file not in OPTIONAL or damage != "missing")
]


@pytest.mark.parametrize(("file", "damage"), DAMAGES)
def test_missing_or_damaged_file_leaves_out_its_sections_alone(workdir, file, damage):
    path = workdir / file
    whole = path.read_bytes()
    path.unlink()
    if damage == "array":
        with path.open("wb") as stream:
            np.save(stream, np.arange(3))
    elif damage != "missing":
        path.write_bytes(
            {"cut": whole[: len(whole) // 2], "empty": b"", "nonsense": b"[1]"}[damage]
        )
    outline = Outline(page.write(workdir).read_text(encoding="utf-8"))
    for title, needs in SECTIONS.items():
        left_out = f"Left out, {file}" in outline.sections[title]
        assert left_out == (needs == file), title


def test_empty_folder_still_gives_a_page_and_no_folder_an_error(tmp_path):
    outline = Outline(page.write(tmp_path).read_text(encoding="utf-8"))
    assert all("Left out" in text for text in outline.sections.values())
    assert set(outline.sections) == {t for t, needs in SECTIONS.items() if needs not in OPTIONAL}
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        page.write(tmp_path / "none")


def test_killed_run_keeps_every_whole_line(workdir):
    path = workdir / "metrics.jsonl"
    with path.open("a") as file:
        file.write('{"step": 101, "loss": 0.0')
    assert len(folder.read(workdir).metrics) == 105
    assert "Left out" not in page.write(workdir).read_text(encoding="utf-8")
    path.write_bytes(path.read_bytes() + b"\xff\xfe\n" + b'{"step": 102, "loss": 1.5}\n')
    assert folder.read(workdir).metrics[-1] == {"step": 102, "loss": 1.5}


def test_not_finite_measurements_are_told_and_not_drawn(workdir):
    with (workdir / "metrics.jsonl").open("a") as file:
        for step in (101, 102):
            file.write(json.dumps({"step": step, "epoch": step / 10, "loss": float("nan")}) + "\n")
        file.write('{"step": 103, "epoch": 10.3, "loss": -Infinity, "knn": null, "odd": "text"}\n')
    text = page.write(workdir).read_text(encoding="utf-8")
    assert "Not finite in 3 of 103 lines, first at step 101." in text
    assert not re.search(r'(points|cx|cy|x|y|d)="[^"]*(nan|inf)', text)


def test_chance_is_a_dashed_line_in_the_curve_of_proxy_accuracy():
    lines = [{"step": i, "proxy_accuracy": 0.5, "chance": 0.25} for i in range(1, 5)]
    assert curves.others(lines) == []
    (drawn,) = curves.figures(lines)
    (plain,) = curves.figures([{k: v for k, v in x.items() if k != "chance"} for x in lines])
    assert drawn.count("reference") == plain.count("reference") + 1


def test_run_that_only_ever_diverged_is_drawn_without_a_curve(workdir):
    line = {"step": 1, "epoch": 0.1, "loss": float("nan"), "knn": 0.4}
    (workdir / "metrics.jsonl").write_text(json.dumps(line))
    section = Outline(page.write(workdir).read_text()).sections["Training"]
    assert "Not finite in 1 of 1 lines" in section
    assert "kNN accuracy" in section


@pytest.mark.parametrize(
    ("rank", "deviation", "words"),
    [(7.5, 0.2, "No collapse."), (1.1, 0.2, "Collapsed."), (7.5, 0.001, "Collapsed.")],
)
def test_verdict_on_collapse(workdir, rank, deviation, words):
    line = {"step": 101, "epoch": 10.1, "effective_rank": rank, "deviation": deviation}
    with (workdir / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
    assert f"<b>{words}</b>" in page.write(workdir).read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", ["constant", "one", "not finite", "unlabelled", "unnamed"])
def test_strange_embeddings(workdir, kind):
    with np.load(workdir / "embedding.npz") as file:
        arrays = dict(file)
    if kind == "constant":
        arrays["test_x"] = np.ones_like(arrays["test_x"])
    elif kind == "one":
        arrays = {name: value[:1] for name, value in arrays.items()}
    elif kind == "not finite":
        arrays["test_x"][5] = np.nan
    elif kind == "unlabelled":
        arrays["test_y"][:] = -1
    else:
        del arrays["class_names"]
    np.savez(workdir / "embedding.npz", **arrays)
    sections = Outline(page.write(workdir).read_text(encoding="utf-8")).sections
    words = {
        "constant": "All examples have the same embedding",
        "one": "fewer than two embeddings are finite",
        "not finite": "1 embeddings are not finite and left out",
        "unlabelled": "unlabelled",
        "unnamed": "class 2",
    }
    assert words[kind] in sections["Map of the embedding"]
    if kind == "unlabelled":
        assert "share the class" not in sections["Nearest neighbours"]


@pytest.mark.slow
def test_umap_is_drawn_where_it_is_installed(workdir, monkeypatch):
    monkeypatch.undo()
    pytest.importorskip("umap")
    sections = Outline(page.write(workdir).read_text(encoding="utf-8")).sections
    assert "UMAP" in sections["Map of the embedding"]
    points = np.concatenate([RNG.standard_normal((40, 8)) + 9 * np.eye(8)[i] for i in range(3)])
    flat = maps.umap(points)
    np.testing.assert_array_equal(flat, maps.umap(points))
    own = [flat[i * 40 : i * 40 + 40] for i in range(3)]
    widths = [part.std(axis=0).max() for part in own]
    apart = min(np.linalg.norm(own[i].mean(0) - own[i - 1].mean(0)) for i in range(3))
    assert apart > max(widths)
