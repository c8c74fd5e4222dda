"""No file links to a place that does not exist; one setting holds the repository's address."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SUFFIXES = {".cff", ".css", ".ipynb", ".js", ".md", ".py", ".toml", ".yml"}
# Written in two pieces, so that this file does not find itself.
PLACEHOLDER = "OWN" + "ER"
BADGE = re.compile(r"img\.shields\.io|badge\.svg|codecov\.io|/badge/")


def sources():
    """The repository's text files."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("needs a clone, with git")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    files = [ROOT / name for name in listed.stdout.splitlines()]
    return [path for path in files if path.suffix in SUFFIXES and path.exists()]


@pytest.fixture(scope="module")
def repository(hook):
    return hook("repository").address((ROOT / "pyproject.toml").read_text())


def test_no_file_holds_a_placeholder():
    found = [
        p.relative_to(ROOT) for p in sources() if re.search(rf"\b{PLACEHOLDER}\b", p.read_text())
    ]
    assert not found


def test_without_an_address_there_is_no_badge_and_no_link_to_a_repository(repository):
    if repository is not None:
        pytest.skip("the address is set")
    own = re.compile(r"https?://\S+/dice[_-]jax\b")
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in sources()
        if path.suffix in {".ipynb", ".md", ".yml", ".cff"}
        for match in (own.search(path.read_text()), BADGE.search(path.read_text()))
        if match
    ]
    assert not found


def test_the_notebooks_hold_the_address_of_the_setting(repository):
    notebooks = sorted((ROOT / "experiments" / "notebooks").glob("*.ipynb"))
    assert notebooks
    for path in notebooks:
        cells = json.loads(path.read_text())["cells"]
        code = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")
        held = re.findall(r'"DICE_JAX_REPOSITORY", "(.*?)"', code)
        assert set(held) <= {repository or ""}, path.name


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ('urls = { Repository = "https://host/o/n/" }', "https://host/o/n"),
        ('urls = { Homepage = "https://host" }', None),
        ("", None),
    ],
)
def test_the_setting_is_read(hook, text, address):
    assert hook("repository").address(f"[project]\nname = 'x'\n{text}") == address
