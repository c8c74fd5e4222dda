"""The Python on the pages runs, top to bottom, and the training steps on them learn."""

import re
from pathlib import Path

import jax
import pytest

from tests.support import WITHOUT_EXTRA

DOCS = Path(__file__).parents[2] / "docs"
# docs/scale.md has a test of its own; docs/coming-from is tested against recorded numbers.
PAGES = ("index", "concepts", "choosing", "analysis")


def blocks(page):
    return re.findall(r"```python\n(.*?)```", (DOCS / f"{page}.md").read_text(), re.DOTALL)


def run(page):
    names: dict = {}
    for block in blocks(page):
        exec(compile(block, f"docs/{page}.md", "exec"), names)
    return names


@pytest.mark.parametrize("page", PAGES)
def test_the_page_runs_under_strict_promotion(page):
    assert blocks(page)
    run(page)


@pytest.mark.slow
def test_every_network_of_the_start_page_learns():
    pytest.importorskip("flax", reason=WITHOUT_EXTRA)
    # Flax and Optax rely on implicit promotion; a reader's session allows it.
    with jax.numpy_dtype_promotion("standard"):
        names = run("start")
    for task in ("multiclass", "binary", "multiclass_3d", "binary_3d"):
        losses = names[f"{task}_losses"]
        assert losses[-1] < 0.8 * losses[0], task


def test_every_page_with_python_is_tested():
    elsewhere = {"start", "scale"}
    with_python = {p.stem for p in DOCS.glob("*.md") if blocks(p.stem)}
    assert with_python == {*PAGES, *elsewhere}
