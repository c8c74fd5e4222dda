"""Every public name has a page, and a docstring with all its parts; what lacks one is found."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import pytest
from jax.typing import ArrayLike

import dice_jax as dj


@pytest.fixture(scope="module")
def api(hook):
    return hook("api")


def test_every_public_docstring_is_complete(api):
    lacking = {s.address: api.problems(s) for s in api.public_symbols()}
    assert {name: parts for name, parts in lacking.items() if parts} == {}


def test_every_public_name_is_found_and_stands_on_a_page(api):
    symbols = api.public_symbols()
    found = {s.address for s in symbols}
    for package in (dj, dj.analysis, dj.metrics):
        for name, value in vars(package).items():
            public = not name.startswith("_") and not isinstance(value, type(dj))
            if public and str(getattr(value, "__module__", "")).startswith("dice_jax"):
                assert f"{package.__name__}.{name}" in found
    placed = api._placed(symbols)
    assert sorted(s.address for page in placed.values() for s in page) == sorted(found)


def test_a_module_without_a_page_stops_the_build(api):
    stray = api.Symbol("dice_jax", "stray", "stray_module", dj.dice_loss)
    with pytest.raises(api.NotDocumented, match=r"stray_module.*PAGES"):
        api._placed([stray])


COMPLETE = """Sum an array, as in no paper.

    Args:
        x: [n], the numbers.
        scale: γ, one number.

    Returns:
        The sum.

    Raises:
        ValueError: if ``x`` is empty.

    Example:
        >>> 1 + 1
        2

    References:
        Nobody (2000).
    """


def _function(docstring):
    def example(x: ArrayLike, *, scale: ArrayLike = 1.0):
        if jnp.size(x) == 0:
            raise ValueError("x is empty")
        return scale * jnp.sum(jnp.asarray(x))

    example.__doc__ = docstring
    return example


def _missing(api, docstring):
    return api.problems(api.Symbol("dice_jax", "example", "losses", _function(docstring)))


def test_a_complete_docstring_passes(api):
    assert _missing(api, COMPLETE) == []


@pytest.mark.parametrize(
    ("old", "new", "missing"),
    [
        ("Sum an array, as in no paper.", "Sum an array", "a first sentence on one line"),
        ("        x: [n], the numbers.\n", "", "Args: x"),
        ("[n], the numbers", "what to add", "Args: the shape of x"),
        ("    Returns:\n        The sum.\n", "", "Returns"),
        ("    Raises:\n        ValueError: if ``x`` is empty.\n", "", "Raises"),
        (">>> 1 + 1\n        2", "1 + 1", "Example"),
        ("    References:\n        Nobody (2000).\n", "", "References"),
    ],
)
def test_each_missing_part_is_named(api, old, new, missing):
    assert old in COMPLETE
    assert _missing(api, COMPLETE.replace(old, new)) == [missing]


def test_the_fields_of_a_class_are_arguments(api):
    @dataclasses.dataclass
    class Holder:
        """Holds.

        Example:
            >>> 1
            1
        """

        field: int

    symbol = api.Symbol("dice_jax", "Holder", "losses", Holder)
    assert api.problems(symbol) == ["Args: field"]
