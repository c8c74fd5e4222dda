"""The typeset formulas: KaTeX can set each, each belongs to a public name, none is out of date."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KATEX = ROOT / "docs" / "assets" / "katex"

SET = """
const katex = require(process.argv[1]);
const formulas = JSON.parse(require("fs").readFileSync(0, "utf-8"));
const faults = [];
for (const [name, latex] of Object.entries(formulas)) {
  try { katex.renderToString(latex, {displayMode: true, throwOnError: true, strict: "error"}); }
  catch (error) { faults.push(`${name}: ${error.message}`); }
}
console.log(JSON.stringify(faults));
"""


def faults(formulas):
    if shutil.which("node") is None:
        pytest.skip("needs node")
    result = subprocess.run(
        ["node", "-e", SET, str(KATEX / "katex.min.js")],
        input=json.dumps(formulas),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return json.loads(result.stdout)


def test_katex_sets_every_formula_and_refuses_a_broken_one(hook):
    known = hook("formulas").formulas()
    assert faults({name: formula.latex for name, formula in known.items()}) == []
    assert faults({"broken": r"\frac{1}"})


def test_every_loss_and_index_has_a_formula_and_when_to_use_it(hook):
    api, known = hook("api"), hook("formulas").formulas()
    names = {s.name for s in api.public_symbols()}
    ratios = {name for name in names if name.endswith(("_loss", "_index"))}
    assert len(ratios) > 30
    assert ratios <= set(known)
    assert set(known) <= names | {f"C{k}" for k in range(1, 100)}
    losses = {name for name in names if name.endswith("_loss")}
    assert losses <= set(hook("formulas").advice())


def test_what_to_read_beside_a_name_exists(hook):
    address = hook("docstrings")._address
    others = [other for f in hook("formulas").formulas().values() for other in f.see]
    assert len(others) > 50
    assert not [other for other in others if address(other) is None]


def test_every_formula_is_that_of_its_docstring(hook):
    """`split` raises where the text of the formula has changed."""
    known, seen = hook("formulas").formulas(), 0
    for symbol in hook("api").public_symbols():
        if symbol.name in known:
            is_text = isinstance(symbol.value, str)  # the notation of the theory
            text = symbol.value if is_text else symbol.value.__doc__
            latex, _ = hook("formulas").split(symbol.name, text)
            seen += latex is not None
    assert seen + sum(name[0] == "C" for name in known) == len(known)
    with pytest.raises(LookupError, match=r"dice_loss no longer has the formula.*formulas\.toml"):
        hook("formulas").split("dice_loss", "2I / (P + T)")


def test_a_docstring_shows_formula_advice_and_neighbours_in_order(hook):
    text = hook("docstrings").with_formula(
        "dice_loss", "First.\n\n1 − (2I + s) / (P + T + s), with I.\n\nArgs:\n    x: [n].\n"
    )
    head, args, _ = text.partition("\nArgs:\n")
    assert args
    parts = [
        "First.",
        "\\[\n1 - D",
        "with I.",
        "**Use it when**",
        "[`dice_index`][dice_jax.dice_index]",
    ]
    places = [head.index(part) for part in parts]
    assert places == sorted(places)


def test_the_fonts_that_the_style_sheet_names_are_there():
    style = (KATEX / "katex.min.css").read_text()
    fonts = {part.split(")")[0] for part in style.split("url(")[1:]}
    assert fonts
    assert {f.relative_to(KATEX).as_posix() for f in KATEX.glob("fonts/*")} == fonts
    assert (KATEX / "LICENSE").exists()
