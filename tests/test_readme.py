"""What the README shows works as it stands there."""

import re
from pathlib import Path

import pytest

from jssl.cli import config

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


@pytest.mark.slow
def test_the_method_in_15_lines_runs(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    lines = [line for line in code.splitlines() if line.strip()]
    assert "range(100)" in code
    exec(compile(code.replace("range(100)", "range(2)"), "README.md", "exec"), {})
    assert "(256, 128)" in capsys.readouterr().out
    assert len(lines) <= 20


def test_files_and_configs_named_in_the_readme_exist():
    for target in re.findall(r"\]\(((?!http)[^)]+)\)", README):
        if target.startswith("#"):
            titles = re.findall(r"^#+ (.*)$", README, re.MULTILINE)
            assert target[1:] in [title.lower().replace(" ", "-") for title in titles]
        else:
            assert (ROOT / target).exists(), target
    for name in re.findall(r"--config (\w+)", README):
        assert name in config.shipped_configs()


def test_every_config_has_its_row():
    for name in config.shipped_configs():
        if name != "quickstart":
            assert f"configs/{name}.py" in README
