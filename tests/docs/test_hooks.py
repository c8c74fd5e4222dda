"""The generated parts of the site: theory, README's numbers, navigation, links, docstrings."""

import re
from pathlib import Path

import jax
import pytest

from dice_jax.analysis import MYTHS, STATEMENTS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def test_all_statements_are_on_the_theory_page_under_their_anchors(hook):
    page = hook("theory").on_page_markdown(
        (DOCS / "theory.md").read_text(),
        page=type("Page", (), {"file": type("File", (), {"src_uri": "theory.md"})}),
    )
    assert len(STATEMENTS) >= 22
    for s in STATEMENTS:
        section = re.search(
            rf"### {s.id}\. .* {{ #{s.id.lower()} }}\n(.*?)(?=\n##|\Z)", page, re.DOTALL
        )
        assert section, s.id
        assert letters(s.statement) in letters(section[1])
        assert letters(s.condition) in letters(section[1])
    for myth in MYTHS:
        assert letters(myth.text) in letters(page)


def letters(text):
    """What remains without formulas, marks and links."""
    text = re.sub(r"\\\[.*?\\\]", "", text, flags=re.DOTALL)
    return re.sub(r"</?su[bp]>|\(#c\d+\)|\W|_", "", text)


def test_the_theory_page_needs_its_mark(hook):
    page = type("Page", (), {"file": type("File", (), {"src_uri": "theory.md"})})
    with pytest.raises(LookupError, match="statements"):
        hook("theory").on_page_markdown("nothing", page=page)


def test_pages_name_only_statements_that_exist():
    known = {s.id.lower() for s in STATEMENTS}
    named = {
        anchor
        for path in [*DOCS.glob("*.md"), *DOCS.glob("gallery/*.py")]
        for anchor in re.findall(r"theory\.md#(c\d+)", path.read_text())
    }
    assert named
    assert named <= known


README = """# Title

**Speed.** Words with a [file](benchmarks/x) and [docs/scale.md](docs/scale.md).

| work | a (jit) |
| --- | --- |
| one | 2.7× |
| two | 0.5 ms |

**Other.** The end.
"""


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        ("paragraph **Speed.**", "**Speed.** Words with a file and [scale.md](scale.md)."),
        (
            "table after **Speed.**",
            "| work | a (jit) |\n| --- | --- |\n| one | 2.7× |\n| two | 0.5 ms |",
        ),
        ("range of a (jit) after **Speed.**", "0.5 to 2.7"),
    ],
)
def test_parts_of_the_readme(hook, request_, answer):
    assert (
        hook("readme_parts").insert(f"x <!-- README: {request_} --> y", README) == f"x {answer} y"
    )


@pytest.mark.parametrize("name", ["readme_parts", "bars"])
def test_a_request_in_code_is_shown_and_not_answered(hook, name):
    text = "`<!-- README: paragraph **None.** -->` and `<!-- bars: none.json dice- -->`"
    insert = {
        "readme_parts": lambda text: hook(name).insert(text, README),
        "bars": hook("bars").insert,
    }
    assert insert[name](text) == text


def test_stars_and_subscripts_of_the_theory_page_are_no_emphasis(hook):
    page = hook("theory").statements()
    assert r"1[μ > D\*/2]" in page
    assert "*Holds when:* " in page
    assert "p<sub>t</sub>" in page


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ("paragraph **None.**", "no paragraph"),
        ("table after **Other.**", "no table"),
        ("range of b after **Speed.**", "no column 'b'"),
        ("range of work after **Speed.**", "no numbers"),
    ],
)
def test_what_the_readme_lacks_stops_the_build(hook, request_, words):
    with pytest.raises(LookupError, match=words):
        hook("readme_parts").insert(f"<!-- README: {request_} -->", README)


def test_what_the_pages_ask_of_the_readme_is_there(hook):
    readme = (ROOT / "README.md").read_text()
    asked = 0
    for path in DOCS.glob("*.md"):
        text = path.read_text()
        asked += text.count("<!-- README:")
        assert "<!-- README:" not in hook("readme_parts").insert(text, readme)
    assert asked > 3


def test_stars_of_the_navigation_take_the_folders_pages(hook):
    nav = [{"A": "a.md"}, {"B": [{"C": "c/*"}, {"D": "d/*"}]}]
    pages = ["a.md", "c/x.md", "c/index.md", "c/y.md"]
    expected = [{"A": "a.md"}, {"B": [{"C": ["c/index.md", "c/x.md", "c/y.md"]}]}]
    assert hook("navigation").expand(nav, pages) == expected


def test_links_from_the_root_hold_on_the_site(hook):
    text = (
        "[a](docs/scale.md#x) [b](CHANGELOG.md) [c](tests/reference.py) [d](https://e.org) [e](#f)"
    )
    assert hook("project_pages").relink(text, "https://host/o/n") == (
        "[a](scale.md#x) [b](changelog.md) [c](https://host/o/n/blob/main/tests/reference.py) "
        "[d](https://e.org) [e](#f)"
    )
    assert hook("project_pages").relink("[a b](tests/x.py) [`y.py`](y.py)", None) == (
        "a b (`tests/x.py`) `y.py`"
    )


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(DOCS.glob("gallery/*.py")), ids=lambda p: p.stem)
def test_every_gallery_example_draws(hook, path):
    gallery = hook("gallery")
    example = gallery.read(path)
    assert example.question.endswith("?")
    with jax.numpy_dtype_promotion("standard"):  # a reader's session
        picture = gallery.run(path)
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 10_000
    assert f"![{example.question}]({path.stem}.png)" in example.page


def test_an_example_without_a_question_is_refused(hook, tmp_path):
    path = tmp_path / "x.py"
    path.write_text('"""No question."""\n')
    with pytest.raises(ValueError, match="a question on one line"):
        hook("gallery").read(path)


def test_docstrings_become_markdown(hook):
    text = hook("docstrings").as_markdown(
        "Sum of w_c, see `dice_loss` and ``C1``.\n\nArgs:\n    w_c: as in C6, `not_public`.\n\n"
        "Returns:\n    One number: w_c.\n\nExample:\n    >>> w_c\n\nReferences:\n    https://e.org/a_b."
    )
    assert text == (
        "Sum of w<sub>c</sub>, see [`dice_loss`][dice_jax.dice_loss] and ``C1``.\n\nArgs:\n"
        "    w_c: as in [C6](../theory.md#c6), `not_public`.\n\n"
        "Returns:\n    One number&#58; w<sub>c</sub>.\n\nExamples:\n    >>> w_c\n\nReferences:\n    <https://e.org/a_b>."
    )
