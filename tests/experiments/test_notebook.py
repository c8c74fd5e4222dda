"""The notebook runs from top to bottom, at a tiny size, and was committed without outputs."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

PATH = Path(__file__).parents[2] / "experiments" / "notebooks" / "quickstart.ipynb"


def test_notebook_is_committed_without_outputs():
    notebook = nbformat.read(PATH, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_notebook_runs(monkeypatch, tmp_path):
    monkeypatch.setenv("DICE_JAX_NOTEBOOK_SIZE", "tiny")
    monkeypatch.setenv("DICE_JAX_NOTEBOOK_OUT", str(tmp_path / "study"))
    monkeypatch.setenv("PYTHONPATH", str(PATH.parents[2]))
    notebook = nbformat.read(PATH, as_version=4)
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute(cwd=str(tmp_path))
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    pictures = [o for o in outputs if "image/png" in o.get("data", {})]
    assert len(pictures) == 1 + 3
    text = "".join(o.get("text", "") for o in outputs)
    assert "one foreground pixel pulls" in text
    table = next(o for o in outputs if "dice_tuned_mean" in o.get("data", {}).get("text/plain", ""))
    assert "bce" in table["data"]["text/plain"]
    assert (tmp_path / "study" / "report.html").exists()
