"""The notebooks run from top to bottom, at a tiny size."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[2] / "experiments" / "notebooks"
ALL = sorted(FOLDER.glob("*.ipynb"))


def _run(name, monkeypatch, folder):
    monkeypatch.setenv("DICE_JAX_NOTEBOOK_SIZE", "tiny")
    monkeypatch.setenv("DICE_JAX_NOTEBOOK_OUT", str(folder / "study"))
    monkeypatch.setenv("PYTHONPATH", str(FOLDER.parents[1]))
    notebook = nbformat.read(FOLDER / name, as_version=4)
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute(cwd=str(folder))
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def _text(outputs):
    shown = [o.get("data", {}) for o in outputs]
    words = [data.get("text/markdown", data.get("text/plain", "")) for data in shown]
    return "\n".join([*words, *(o.get("text", "") for o in outputs)])


def test_the_notebooks_are_those_that_the_tests_run():
    names = ["article.ipynb", "imbalance_study.ipynb", "nuclei.ipynb"]
    assert [path.name for path in ALL] == names


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_notebook_is_committed_without_traces_of_a_session(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    # Those of the tutorial are kept: they are what a reader of the repository sees.
    assert bool(outputs) == (path.stem == "nuclei")
    assert all(o.output_type != "error" and o.get("name") != "stderr" for o in outputs)
    assert all(cell.get("execution_count") is None for cell in notebook.cells)
    assert path.stat().st_size < 6e5
    if path.stem == "nuclei":
        assert sum("image/png" in o.get("data", {}) for o in outputs) == 6
    # The first code cell is all that a hosted notebook needs.
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    assert "pip" in first.source


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_article_runs(monkeypatch, tmp_path):
    outputs = _run("article.ipynb", monkeypatch, tmp_path)
    assert sum("image/png" in o.get("data", {}) for o in outputs) == 6
    text = _text(outputs)
    # Two values, and Jaccard parallel to Dice.
    assert "values of the gradient: [-0.07701048  0.03534907]" in text
    assert "that of Jaccard, smooth / 2: 1.0000" in text
    assert "C2   holds" in text


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_imbalance_study_runs(monkeypatch, tmp_path):
    outputs = _run("imbalance_study.ipynb", monkeypatch, tmp_path)
    assert sum("image/png" in o.get("data", {}) for o in outputs) == 2 + 3
    text = _text(outputs)
    assert "Dice at threshold 0.5 against BCE at its tuned threshold" in text
    assert "predictions of theory (C1, C5, C7, C15)" in text
    assert "dice_tuned_mean" in text
    assert (tmp_path / "study" / "report.html").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_nuclei_runs(monkeypatch, tmp_path):
    outputs = _run("nuclei.ipynb", monkeypatch, tmp_path)
    assert sum("image/png" in o.get("data", {}) for o in outputs) == 6
    text = _text(outputs)
    assert "22 images of (256, 256), 8.4% foreground" in text
    assert "6 cases, foreground in 6" in text
    assert "numbers in the truth, connected components in the predictions" in text
    assert "tversky_bce" in text
    assert len((tmp_path / "study" / "bce.csv").read_text().splitlines()) == 7
