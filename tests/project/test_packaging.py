"""What is shipped: types, a quick import, the right files, and a wheel that trains."""

import json
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest
from packaging.version import Version

import dice_jax

ROOT = Path(__file__).parents[2]


def python(program, *, cwd, path="", **environment):
    """Run a program in a new process; return its last line, read as JSON."""
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(path), "JAX_PLATFORMS": "cpu", **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


IMPORT = """
import json, sys, time
import jax, jax.numpy
before, start = set(sys.modules), time.process_time()
import dice_jax
seconds = time.process_time() - start
new = sorted({m.split(".")[0] for m in set(sys.modules) - before})
late = ("jax.extend", "jax.experimental", "dice_jax.analysis")
inner = sorted(m for m in set(sys.modules) - before if m.startswith(late))
print(json.dumps([seconds, new, inner]))
"""


def test_importing_brings_nothing_but_jax(tmp_path, capsys):
    seconds, new, inner = python(IMPORT, cwd=tmp_path, path=ROOT)
    with capsys.disabled():
        print(f" [import dice_jax: {seconds * 1e3:.0f} ms of CPU over import jax]", end="")
    assert set(new) <= {"dice_jax", "jax"}
    # What takes longest to import waits until it is used.
    assert inner == []


def test_analysis_is_there_when_asked_for(tmp_path):
    program = """
import json, dice_jax
assert "analysis" in dir(dice_jax) and "importlib" not in dir(dice_jax)
print(json.dumps(dice_jax.analysis.STATEMENTS[0].id))
"""
    assert python(program, cwd=tmp_path, path=ROOT) == "C1"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        dice_jax.nothing  # noqa: B018


@pytest.mark.slow
@pytest.mark.skipif(
    Version(np.__version__) < Version("2.3"),
    reason="before 2.3, NumPy's own arrays are partly unknown to a strict checker",
)
def test_a_users_program_type_checks_in_strict_mode(tmp_path):
    program = (ROOT / "tests" / "programs" / "user_program.py").read_text()
    (tmp_path / "good.py").write_text(program)
    (tmp_path / "bad.py").write_text(program.replace("smooth=1e-5", "smoth=1e-5"))
    # Beside the package as a user has it: py.typed, not its sources.
    settings = {
        "include": ["good.py", "bad.py"],
        "typeCheckingMode": "strict",
        "extraPaths": [str(ROOT)],
        "pythonVersion": "3.11",
    }
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    result = subprocess.run(
        [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    found = json.loads(result.stdout)["generalDiagnostics"]
    errors = [d for d in found if d["severity"] == "error"]
    assert {Path(d["file"]).name for d in errors} == {"bad.py"}, errors


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    """The wheel and the sdist, built as `python -m build` builds them, without its fresh venv."""
    folder = tmp_path_factory.mktemp("dist")
    program = f"""
import json
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder
made = [next(b({str(ROOT)!r}).build(directory={str(folder)!r}, versions=["standard"]))
        for b in (SdistBuilder, WheelBuilder)]
print(json.dumps(made))
"""
    return [Path(path) for path in python(program, cwd=ROOT)]


def test_the_wheel_holds_the_library_and_nothing_else(distributions):
    with zipfile.ZipFile(distributions[1]) as wheel:
        names = set(wheel.namelist())
        metadata = next(n for n in names if n.endswith("METADATA"))
        described = wheel.read(metadata).decode()
    assert {n.split("/")[0] for n in names} == {"dice_jax", metadata.split("/")[0]}
    sources = {p.relative_to(ROOT).as_posix() for p in (ROOT / "dice_jax").rglob("*.py")}
    assert sources | {"dice_jax/py.typed"} <= names
    assert f"Version: {dice_jax.__version__}\n" in described
    assert "License-Expression: Apache-2.0" in described
    needed = re.findall(r"^Requires-Dist: ([a-z]+)[^;\n]*$", described, re.MULTILINE)
    assert sorted(needed) == ["jax", "jaxlib", "numpy"]


def test_the_sdist_holds_what_one_needs_to_test_and_document_it(distributions):
    with tarfile.open(distributions[0]) as sdist:
        names = {n.partition("/")[2] for n in sdist.getnames()}
    for name in (
        "CHANGELOG.md",
        "CITATION.cff",
        "CONTRIBUTING.md",
        "LICENSE",
        "README.md",
        "benchmarks/families/registry.py",
        "conftest.py",
        "dice_jax/py.typed",
        "docs/index.md",
        "docs/_hooks/api.py",
        "experiments/reporting/templates/report.html.j2",
        "mkdocs.yml",
        "pyproject.toml",
        "tests/project/test_packaging.py",
    ):
        assert name in names
    assert not [n for n in names if "__pycache__" in n or n.startswith((".git/", "site/", "runs/"))]


@pytest.mark.slow
def test_the_readmes_step_gives_the_same_numbers_from_the_wheel(distributions, tmp_path):
    installed = tmp_path / "installed"
    with zipfile.ZipFile(distributions[1]) as wheel:
        wheel.extractall(installed)
    step = (ROOT / "tests" / "programs" / "readme_step.py").read_text()
    step = step.replace("sys.argv[1]", repr(str(ROOT / "README.md")))
    file, version, losses = python(step, cwd=tmp_path, path=installed)
    assert file.startswith(str(installed))
    assert version == dice_jax.__version__
    tree, _, expected = python(step, cwd=tmp_path, path=ROOT)
    assert tree.startswith(str(ROOT))
    assert losses == expected
    assert losses[-1] < losses[0]


def test_version_changelog_and_citation_agree():
    changelog = (ROOT / "CHANGELOG.md").read_text()
    version = re.escape(dice_jax.__version__)
    assert re.search(rf"^## (\[?{version}\]?|\[?Unreleased\]?)", changelog, re.MULTILINE)
    citation = (ROOT / "CITATION.cff").read_text()
    assert re.search(rf"^version: ['\"]?{version}['\"]?$", citation, re.MULTILINE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    oldest = project["requires-python"].removeprefix(">=")
    assert f"Programming Language :: Python :: {oldest}" in project["classifiers"]
