"""What users may import and write keeps working: names, parameters, their kinds and defaults.

`public_names.json` lists them. Additions are fine; after one that is meant to last:
``python -m tests.project.test_public_names > tests/project/public_names.json``.
"""

import enum
import importlib
import inspect
import json
import sys
from pathlib import Path

import pytest

MODULES = ["dice_jax", "dice_jax.metrics", "dice_jax.analysis", "dice_jax.analysis.plots"]
LISTED = json.loads((Path(__file__).parent / "public_names.json").read_text() or "{}")


def describe_parameter(parameter):
    kind, default = parameter.kind.name.lower(), parameter.default
    if default is parameter.empty:
        return kind
    # Functions and sentinels print an address; their name is what a user sees.
    return f"{kind} = {getattr(default, '__name__', None) or repr(default)}"


def describe_callable(function):
    parameters = inspect.signature(function).parameters.values()
    return {p.name: describe_parameter(p) for p in parameters}


def describe_class(cls):
    """The members of an enumeration; otherwise the parameters, methods and properties."""
    if issubclass(cls, enum.Enum):
        return {"members": {member.name: member.value for member in cls}}
    described = {"parameters": describe_callable(cls)}
    for name, member in inspect.getmembers_static(cls):
        if not name.startswith("_"):
            plain = inspect.unwrap(getattr(member, "__func__", member))
            described[f".{name}"] = describe_callable(plain) if inspect.isfunction(plain) else {}
    return described


def describe(value):
    if inspect.isclass(value):
        return describe_class(value)
    if callable(value):
        return {"parameters": describe_callable(value)}
    return {}


def names_of(module):
    """Give `__all__`, or what a module that has none imports for its users."""
    names = getattr(module, "__all__", [n for n in dir(module) if not n.startswith("_")])
    return [name for name in sorted(names) if not inspect.ismodule(getattr(module, name))]


def public_names():
    """List every public name of the library with what can be said of it."""
    modules = {name: importlib.import_module(name) for name in MODULES}
    return {
        module: {name: describe(getattr(found, name)) for name in names_of(found)}
        for module, found in modules.items()
    }


def broken(old, new):
    """Say what of the old description the new one no longer has, one sentence each.

    A parameter that has become optional breaks no old call.
    """
    problems = []
    for part, listed in old.items():
        if part not in new:
            problems.append(f"{part} has vanished")
        elif isinstance(listed, dict):
            problems += [f"{part}: {problem}" for problem in broken(listed, new[part])]
        elif new[part] not in (listed, f"{listed} = None"):
            problems.append(f"{part} was {listed} and is {new[part]}")
    return problems


def new_without_default(old, new):
    """Name the parameters that every old call would now have to pass."""
    return [
        name
        for name, parameter in new.items()
        if name not in old and " = " not in parameter and not parameter.startswith("var_")
    ]


def positional(parameters):
    return [name for name, p in parameters.items() if p.startswith("positional")]


@pytest.mark.parametrize("module", MODULES)
def test_names_and_parameters_are_still_there(module):
    problems = broken(LISTED[module], public_names()[module])
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("module", MODULES)
def test_old_calls_still_pass_all_that_is_needed_in_the_same_order(module):
    now = public_names()[module]
    for name, old in LISTED[module].items():
        for part, parameters in old.items():
            if part == "members":
                continue
            new = now[name][part]
            assert not new_without_default(parameters, new), (name, part)
            assert positional(new)[: len(positional(parameters))] == positional(parameters), name


@pytest.mark.parametrize(
    ("new", "says"),
    [
        ({}, "f has vanished"),
        ({"f": {"parameters": {}}}, "f: parameters: x has vanished"),
        (
            {"f": {"parameters": {"x": "keyword_only = 2"}}},
            "f: parameters: x was keyword_only = 1 and is keyword_only = 2",
        ),
    ],
)
def test_a_broken_promise_is_named(new, says):
    old = {"f": {"parameters": {"x": "keyword_only = 1"}}}
    assert broken(old, new) == [says]
    assert not broken(old, old | {"g": {}})


if __name__ == "__main__":
    json.dump(public_names(), sys.stdout, indent=1)
    print()
