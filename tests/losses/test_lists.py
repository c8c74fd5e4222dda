"""A public loss, index or function of sums that was forgotten in a list is found."""

import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest

import dice_jax as dj
import dice_jax.losses
import dice_jax.sums
from dice_jax.sums.additive import AdditiveSums

DOCS = Path(__file__).parents[2] / "docs"
LOSSES = sorted(name for name in dir(dj) if name.endswith("_loss"))


def functions():
    """Every function or class of sums that is defined in a module of losses or sums."""
    for package in (dice_jax.losses, dice_jax.sums):
        for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            module = importlib.import_module(found.name)
            for name, value in vars(module).items():
                if getattr(value, "__module__", None) == module.__name__ and name[0] != "_":
                    yield module, name, value


def test_what_is_named_like_a_loss_is_exported():
    named = re.compile(r"_(loss|index)$")
    seen = 0
    for module, name, value in functions():
        sums = inspect.isclass(value) and issubclass(value, AdditiveSums) and name.endswith("Sums")
        if (named.search(name) and inspect.isfunction(value) and name != "smoothed_index") or (
            sums and name != "ArraySums"
        ):
            assert name in module.__all__, f"{name} is not in __all__ of {module.__name__}"
            assert hasattr(dj, name), f"{name} is not in dice_jax/__init__.py"
            seen += 1
    assert seen > 40


def rows(page, first):
    """The first cells of the table whose header is ``first``."""
    text = (DOCS / page).read_text()
    table = re.search(rf"^\| {first} \|.*\n((?:\|.*\n)+)", text, re.MULTILINE)
    return {row[1]: row[0] for row in re.finditer(r"^\| `(\w+)` \|.*$", table[1], re.MULTILINE)}


@pytest.mark.parametrize("page", ["concepts.md", "choosing.md"])
def test_every_loss_is_in_the_page_s_table(page):
    assert sorted(rows(page, "loss")) == LOSSES


@pytest.mark.parametrize("name", LOSSES)
def test_what_a_loss_takes_and_pools_is_in_its_first_line_and_in_the_table(name):
    """The table, the first line of the docstring and the signature say the same."""
    _, _, takes, one_per, _ = rows("concepts.md", "loss")[name].split("|")
    first = inspect.getdoc(getattr(dj, name)).splitlines()[0]
    parameter = next(iter(inspect.signature(getattr(dj, name)).parameters))
    expected = "RegionSums" if parameter == "sums" else parameter
    assert expected in takes
    assert ("sums" if parameter == "sums" else parameter) in first.lower(), first
    assert ("pixel" if "pixel" in one_per else "region") in first, first
    own = name.replace("_loss", "_sums")
    assert (f"`{own}`" in takes) == hasattr(dj, own)
