"""CONTRIBUTING's worked example is right as it stands, and its map is that of the contracts."""

import doctest
import re
import tomllib
from pathlib import Path

import jax
import numpy as np
import pytest

import dice_jax as dj
from dice_jax.losses import indices, overlap
from tests.support import oracles
from tests.support.cases import CASES

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()


@pytest.fixture(scope="module")
def worked():
    """The example's loss and its oracle, in the names of the files they go to."""
    code, oracle = re.findall(r"^```python\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)[:2]
    # What the example says to import beside what the file has.
    library = vars(overlap) | {"smoothed_index": indices.smoothed_index}
    reference = vars(oracles).copy()
    exec(compile(code, "CONTRIBUTING.md", "exec"), library)
    exec(compile(oracle, "CONTRIBUTING.md", "exec"), reference)
    # The battery of this process must not know it.
    entered = CASES.pop("sokal_sneath_loss")
    yield library, reference["sokal_sneath_loss"], entered
    assert "sokal_sneath_loss" not in CASES


def test_the_worked_loss_is_at_most_40_lines_in_three_files():
    example = TEXT[TEXT.index("## A new loss") : TEXT.index("### Docstring template")]
    blocks = re.findall(r"^```(?:python|text)\n(.*?)^```", example, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 3
    lines = [line for block in blocks for line in block.splitlines()]
    assert f"{len(lines)} lines in three files" in example.replace("\n", " ")
    assert len(lines) <= 40


def test_the_worked_docstring_is_complete_and_right(worked, hook, monkeypatch):
    loss = worked[0]["sokal_sneath_loss"]
    # Its source is in no file: `inspect.getsource` cannot read it.
    api = hook("api")
    monkeypatch.setattr(api, "_raises", lambda function: False)
    assert api.problems(api.Symbol("dice_jax", "sokal_sneath_loss", "losses.overlap", loss)) == []
    monkeypatch.setattr(dj, "sokal_sneath_loss", loss, raising=False)
    example = doctest.DocTestParser().get_doctest(loss.__doc__, {}, "example", None, 0)
    assert example.examples
    assert doctest.DocTestRunner().run(example).failed == 0


@pytest.mark.parametrize("smooth", [0.0, 1.0])
def test_the_worked_loss_is_its_oracle_and_counts_mistakes_twice(worked, smooth):
    library, oracle, _ = worked
    rng = np.random.default_rng(0)
    p, y = rng.random(20, np.float32), rng.random(20) < 0.3
    sums = dj.region_sums(p, y)
    loss = library["sokal_sneath_loss"](sums, smooth=smooth)
    np.testing.assert_allclose(loss, oracle(sums, smooth=smooth), rtol=1e-6)
    twice = dj.tversky_loss(sums, alpha=2.0, beta=2.0, smooth=smooth)
    np.testing.assert_allclose(loss, twice, rtol=1e-6)
    with pytest.raises(TypeError, match="sokal_sneath_loss takes RegionSums"):
        library["sokal_sneath_loss"](p)


def test_the_worked_loss_is_finite_at_the_corners(worked):
    library, _, case = worked
    assert case.kind.sums == "region_sums"
    for p, y in (([0.0, 0.0], [0, 0]), ([0.5, 0.5], [0, 0]), ([1.0, 0.0], [1, 0])):
        value, gradient = jax.value_and_grad(
            lambda p, y=y: library["sokal_sneath_loss"](dj.region_sums(p, np.array(y)), smooth=0.0)
        )(np.array(p, np.float32))
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()


def test_every_room_of_the_contract_is_on_the_map():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    modules = {
        contract["id"]: {m.strip() for layer in contract["layers"] for m in layer.split("|")}
        - {"__main__"}
        for contract in contracts["contracts"]
        if contract["type"] == "layers"
    }
    assert not {m for m in modules["rooms"] if f"`{m}`" not in TEXT and f"`{m}/`" not in TEXT}
    for room in modules["studies"]:
        assert f"`experiments/{room}/`" in TEXT or f"`experiments/{room}.py`" in TEXT, room


def test_every_file_that_is_named_exists():
    named = set(re.findall(r"`((?:dice_jax|tests|docs|experiments|benchmarks)/[\w./]+)`", TEXT))
    assert len(named) > 20
    assert not [name for name in named if not (ROOT / name).exists()]
