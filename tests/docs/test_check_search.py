"""The check of the search fails where a search finds another page, or none."""

import importlib.util
import json
import shutil
from pathlib import Path

import pytest

PATH = Path(__file__).parents[2] / "docs" / "check_search.py"


@pytest.fixture(scope="module")
def checker():
    spec = importlib.util.spec_from_file_location("check_search", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def site(tmp_path):
    """A site of two pages, with the theme's own search."""
    theme = pytest.importorskip(
        "material", reason='needs the site\'s theme: pip install -e ".[docs]"'
    )
    if shutil.which("node") is None:
        pytest.skip("needs Node.js (node)")
    (worker,) = Path(theme.__file__).parent.glob("**/assets/javascripts/workers/search.*.min.js")
    (tmp_path / "assets" / "javascripts" / "workers").mkdir(parents=True)
    shutil.copy(worker, tmp_path / "assets" / "javascripts" / "workers")
    fields = {"title": {"boost": 1000.0}, "text": {"boost": 1.0}, "tags": {"boost": 1e6}}
    config = {"lang": ["en"], "separator": r"[\s=]+", "pipeline": [], "fields": fields}
    docs = [
        {"location": "a.html", "title": "Apples", "text": "where=green"},
        {"location": "b.html", "title": "Pears", "text": "none"},
    ]
    (tmp_path / "search").mkdir()
    index = tmp_path / "search" / "search_index.json"
    index.write_text(json.dumps({"config": config, "docs": docs}))
    return tmp_path


def test_a_search_finds_what_a_browser_finds(checker, site):
    found = checker.search(site, ["green", "pear", "plum"])
    assert found == {"green": ["a.html"], "pear": ["b.html"], "plum": []}


@pytest.mark.parametrize(("page", "code"), [("a.html", 0), ("b.html", 1)])
def test_the_exit_code_says_whether_the_right_page_is_first(
    checker, site, monkeypatch, capsys, page, code
):
    monkeypatch.setattr(checker, "SEARCHES", {"green": (page,)})
    assert checker.main([str(site)]) == code
    assert ("'green' finds a.html" in capsys.readouterr().err) == bool(code)


def test_a_folder_that_is_no_site_is_an_error(checker, tmp_path):
    if shutil.which("node") is None:
        pytest.skip("needs Node.js (node)")
    with pytest.raises(FileNotFoundError, match="build the site first"):
        checker.search(tmp_path, ["x"])
