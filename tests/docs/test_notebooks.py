"""The notebooks run from top to bottom, at a tiny size; their stored outputs are of their code."""

import json
import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
from PIL import Image

FOLDER = Path(__file__).parents[2] / "experiments" / "notebooks"
ALL = sorted(FOLDER.glob("*.ipynb"))


@pytest.fixture
def notebooks(hook):
    return hook("notebooks")


def _outputs(notebook):
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def _text(outputs):
    shown = [o.get("data", {}) for o in outputs]
    words = [data.get("text/markdown", data.get("text/plain", "")) for data in shown]
    return "\n".join([*words, *(o.get("text", "") for o in outputs)])


def test_the_notebooks_are_those_that_the_tests_run():
    assert [path.stem for path in ALL] == ["article", "imbalance_study", "nuclei"]


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_the_stored_outputs_are_those_of_the_code(notebooks, path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata["dice_jax"]["code"] == notebooks.code_of(notebook), (
        f"the code has changed: python docs/_hooks/notebooks.py {path.stem}"
    )
    outputs = _outputs(notebook)
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not [output for output in outputs if output.output_type == "error"]
    assert not re.search(r"/(?:root|home|tmp|work)/", json.dumps(outputs))
    assert path.stat().st_size < 6e5
    # The first code cell is all that a hosted notebook needs.
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    assert "pip" in first.source


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_article_runs(notebooks, tmp_path):
    outputs = _outputs(notebooks.run(FOLDER / "article.ipynb", tmp_path, "tiny"))
    assert sum("image/png" in o.get("data", {}) for o in outputs) == 6
    text = _text(outputs)
    # Two values, and Jaccard parallel to Dice.
    assert "values of the gradient: [-0.07701048  0.03534907]" in text
    assert "that of Jaccard, smooth / 2: 1.0000" in text
    assert "C2   holds" in text


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_imbalance_study_runs(notebooks, tmp_path):
    outputs = _outputs(notebooks.run(FOLDER / "imbalance_study.ipynb", tmp_path, "tiny"))
    assert sum("image/png" in o.get("data", {}) for o in outputs) == 2 + 3
    text = _text(outputs)
    assert "There is no TPU here: the kernel is not tried." in text
    assert "Nothing was tested: a test needs 7 pairs of runs that trained" in text
    assert "predictions of theory (C1, C5), 3 agree" in text
    assert "dice_tuned_mean" in text
    assert (tmp_path / "study" / "report.html").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_nuclei_runs(notebooks, tmp_path, monkeypatch):
    # Made-up images in the layout of the real ones, which are not in the repository.
    draw, (rows, columns) = np.random.default_rng(0), np.mgrid[:256, :256]
    for k in range(22):
        folder = tmp_path / "nuclei" / "stage1_train" / f"{k:08x}{0:056x}"
        image = draw.integers(0, 30, (256, 256))
        for name in ("images", "masks"):
            (folder / name).mkdir(parents=True)
        for x in (40, 120, 200):
            nucleus = (rows - draw.integers(40, 200)) ** 2 + (columns - x) ** 2 < 20**2
            image[nucleus] += 100
            Image.fromarray((nucleus * 255).astype(np.uint8)).save(folder / "masks" / f"{x}.png")
        grey = Image.fromarray(image.astype(np.uint8)).convert("RGBA")
        grey.save(folder / "images" / f"{folder.name}.png")
    # Another size is left out.
    (tmp_path / "nuclei" / "stage1_train" / "0" / "images").mkdir(parents=True)
    grey.crop((0, 0, 99, 99)).save(tmp_path / "nuclei" / "stage1_train" / "0" / "images" / "0.png")
    monkeypatch.setenv("DICE_JAX_NUCLEI", str(tmp_path / "nuclei"))
    outputs = _outputs(notebooks.run(FOLDER / "nuclei.ipynb", tmp_path, "tiny"))
    assert sum("image/png" in o.get("data", {}) for o in outputs) == 6
    text = _text(outputs)
    assert "22 images of (256, 256), 5.7% foreground" in text
    assert "6 cases, foreground in 6" in text
    assert "numbers in the truth, connected components in the predictions" in text
    assert "tversky_bce" in text
    assert len((tmp_path / "study" / "bce.csv").read_text().splitlines()) == 7
