"""Every notebook runs from top to bottom, in its short form."""

from pathlib import Path

import nbformat
import pytest
from backend import ONE_DEVICE
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[2] / "colab").glob("*.ipynb"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the kernel's own packages
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", ONE_DEVICE)
    monkeypatch.setenv("JSSL_NOTEBOOK_STEPS", "20")
    monkeypatch.setenv("JSSL_NOTEBOOK_EXAMPLES", "600")
    notebook = nbformat.read(path, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), path.name
    NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
    printed = "".join(
        output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", [])
    )
    assert "pretrained: kNN" in printed
