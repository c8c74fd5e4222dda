"""The Python on the pages runs, top to bottom, and the training steps on them learn."""

import contextlib
import io
import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.support import WITHOUT_EXTRA

DOCS = Path(__file__).parents[2] / "docs"
# docs/scale.md has a test of its own; docs/coming-from is tested against recorded numbers.
PAGES = (
    "index",
    "concepts",
    "choosing",
    "analysis",
    "troubleshooting",
    "validation",
    "your-own-images",
)


def blocks(page):
    return re.findall(r"```python\n(.*?)```", (DOCS / f"{page}.md").read_text(), re.DOTALL)


def run(page):
    names: dict = {}
    for block in blocks(page):
        exec(compile(block, f"docs/{page}.md", "exec"), names)
    return names


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_the_page_runs_under_strict_promotion(page):
    assert blocks(page)
    run(page)


def test_the_losses_of_the_table_by_situation_run():
    names = run("choosing")
    mask = names["labels"] > 0
    names |= {
        "p": jax.nn.softmax(names["logits"])[..., 1],
        "mask": mask,
        "instances": mask.astype(int),
        "count": 1,
        "distances": jnp.where(mask, -1.0, 1.0),
        "alpha": 0.9,
    }
    page = (DOCS / "choosing.md").read_text()
    table = page[page.index("| your situation |") :].split("\n\n")[0].splitlines()[2:]
    for row in table:
        found = re.findall(r"`([^`]+)`", row.split(" | ")[1])
        assert found, row
        for expression in found:
            value = eval(expression, names)
            assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(value)), expression


NUMBER = re.compile(r"-?\d+(?:\.\d*)?")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_start_page_prints_what_it_shows_and_its_networks_learn(tmp_path, monkeypatch):
    pytest.importorskip("flax", reason=WITHOUT_EXTRA)
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    page = (DOCS / "start.md").read_text()
    shown = 0
    for code, output in re.findall(
        r"```python\n(.*?)```\n(?:\n```text\n(.*?)```\n)?", page, re.DOTALL
    ):
        printed = io.StringIO()
        # Flax and Optax rely on implicit promotion; a reader's session allows it.
        with jax.numpy_dtype_promotion("standard"), contextlib.redirect_stdout(printed):
            exec(compile(code, "docs/start.md", "exec"), names)
        # The same words; numbers of a training may differ a little from machine to machine.
        assert NUMBER.sub("#", printed.getvalue()).split() == NUMBER.sub("#", output).split()
        numbers = [
            [float(n) for n in NUMBER.findall(text)] for text in (printed.getvalue(), output)
        ]
        np.testing.assert_allclose(*numbers, rtol=0.1, atol=0.1)
        shown += bool(output)
    assert shown >= 7
    assert (tmp_path / "start.png").stat().st_size > 10_000
    for task in ("multiclass", "binary", "multiclass_3d", "binary_3d"):
        losses = names[f"{task}_losses"]
        assert losses[-1] < 0.8 * losses[0], task


def recipes():
    """The blocks of the recipes; that of Equinox apart, which is no requirement of the tests."""
    found = blocks("recipes")
    return [b for b in found if "equinox" not in b], [b for b in found if "equinox" in b]


@pytest.mark.slow
def test_the_recipes_run_and_what_they_train_learns():
    pytest.importorskip("flax", reason=WITHOUT_EXTRA)
    names: dict = {}
    always, of_equinox = recipes()
    assert len(always) > 8
    with jax.numpy_dtype_promotion("standard"):
        for block in always:
            exec(compile(block, "docs/recipes.md", "exec"), names)
    assert names["linen_losses"][-1] < names["linen_losses"][0]
    assert names["of_present"] < 1
    assert len(of_equinox) == 1


@pytest.mark.slow
def test_the_recipe_of_equinox_runs_and_learns():
    pytest.importorskip("equinox", reason="needs Equinox: pip install equinox optax")
    always, (of_equinox,) = recipes()
    names: dict = {}
    with jax.numpy_dtype_promotion("standard"):
        for block in [*always[:2], of_equinox]:
            exec(compile(block, "docs/recipes.md", "exec"), names)
    assert names["equinox_losses"][-1] < names["equinox_losses"][0]


def test_every_page_with_python_is_tested():
    elsewhere = {"recipes", "scale", "start"}
    with_python = {p.stem for p in DOCS.glob("*.md") if blocks(p.stem)}
    assert with_python == {*PAGES, *elsewhere}


def test_the_table_of_evaluate_is_what_the_notebook_printed():
    notebook = json.loads((DOCS.parent / "experiments/notebooks/nuclei.ipynb").read_text())
    outputs = [o for cell in notebook["cells"] for o in cell.get("outputs", [])]
    printed = "".join("".join(o.get("text", "")) for o in outputs).splitlines()
    page = (DOCS / "validation.md").read_text()
    (table,) = re.findall(r"```text\n(.*?)```", page, re.DOTALL)
    assert len(table.splitlines()) == 15
    kept = {line.rstrip() for line in printed}
    rows = [line for line in table.splitlines() if "──" not in line]
    assert not [line for line in rows if line not in kept]
