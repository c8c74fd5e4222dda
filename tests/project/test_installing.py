"""What docs/installing.md says, done: real environments, real versions of JAX, the package index.

python -m pytest -m huge tests/project/test_installing.py    (about ten minutes, 3 GiB, a network)
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "installing.md").read_text()
FLOOR = "0.10.0"
# Python 3.12 or newer has a newer JAX; without one, those tests are skipped with the reason.
NEWER = next((v for v in ("python3.13", "python3.12", "python3.14") if shutil.which(v)), None)
OLD, PLUGIN = "0.7.2", ("jax-cuda12-plugin==0.7.2", "jax-cuda12-pjrt==0.7.2")

needs_index = pytest.mark.huge


def run(*command, cwd=ROOT, check=True):
    result = subprocess.run(
        [*map(str, command)], cwd=cwd, capture_output=True, text=True, timeout=900, check=False
    )
    assert not check or result.returncode == 0, result.stdout + result.stderr
    return result


def environment(folder, *packages, python=sys.executable):
    """A bare environment that holds exactly these packages."""
    run(python, "-m", "venv", folder)
    if packages:
        run(folder / "bin" / "python", "-m", "pip", "install", "-q", "--no-deps", *packages)
    return folder / "bin" / "python"


def would_install(python, *wanted):
    """What pip would install: name -> version."""
    report = python.parents[1] / "report.json"
    run(python, "-m", "pip", "install", "--dry-run", "-q", "--report", report, *wanted)
    entries = json.loads(report.read_text())["install"]
    return {
        re.sub("[_.]", "-", e["metadata"]["name"].lower()): e["metadata"]["version"]
        for e in entries
    }


@needs_index
@pytest.mark.parametrize("version", [FLOOR, "0.10.2"])
def test_a_jax_that_is_recent_enough_stays(tmp_path, version):
    python = environment(tmp_path / "env", f"jax=={version}", f"jaxlib=={version}")
    found = would_install(python, ".")
    assert "dice-jax" in found
    assert not {"jax", "jaxlib"} & set(found)


@needs_index
@pytest.mark.skipif(NEWER is None, reason="JAX 0.12 needs a newer Python than this machine has")
def test_the_newest_jax_stays(tmp_path):
    if run(NEWER, "--version", check=False).returncode:
        pytest.skip(f"{NEWER} does not run")
    python = environment(tmp_path / "env", "jax>=0.12", "jaxlib>=0.12", python=NEWER)
    found = would_install(python, ".")
    assert "dice-jax" in found
    assert not {"jax", "jaxlib"} & set(found)


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    packages = (f"jax=={OLD}", f"jaxlib=={OLD}", *PLUGIN)
    return environment(tmp_path_factory.mktemp("old") / "env", *packages)


@needs_index
def test_below_the_floor_the_plugin_is_left_behind_as_the_page_warns(old):
    """If this fails, pip or the plugin has learnt to protect itself: the page may say so."""
    found = would_install(old, ".")
    assert {"jax", "jaxlib"} <= set(found)
    assert "jax-cuda12-plugin" not in found
    assert "**leaves the plugin behind**" in PAGE


@needs_index
def test_with_the_extra_jax_and_its_plugin_are_upgraded_together(old):
    found = would_install(old, ".[cuda12]")
    versions = {found[n] for n in ("jax", "jaxlib", "jax-cuda12-plugin", "jax-cuda12-pjrt")}
    assert len(versions) == 1


@needs_index
def test_an_upgrade_that_must_not_be_is_refused(old):
    (line,) = re.findall(r'`python -m (pip install \. "jax==[\d.]+")`', PAGE)
    wanted = line.replace('"', "").split()
    result = run(old, "-m", *wanted, "--dry-run", check=False)
    assert result.returncode != 0
    assert "ResolutionImpossible" in result.stderr


@needs_index
@pytest.mark.parametrize(
    ("extra", "plugin"),
    [("cuda12", "jax-cuda12-plugin"), ("cuda13", "jax-cuda13-plugin"), ("tpu", "libtpu")],
)
def test_an_extra_brings_the_plugin(tmp_path, extra, plugin):
    found = would_install(environment(tmp_path / "env"), f".[{extra}]")
    assert {"jax", "jaxlib", plugin} <= set(found)


def first_commands():
    """Page -> the first line of its first block of shell commands."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    found = {}
    for path in pages:
        # A backslash at a line's end joins the next one.
        text = re.sub(r"\\\n *", "", path.read_text())
        block = re.search(r"^```bash\n(.*?)\n", text, re.MULTILINE)
        if block:
            found[path.stem] = block[1]
    return found


COMMANDS = first_commands()


INSTALLATION = re.compile(r"python -m pip install (-e )?[\"']?\.")


def test_every_page_begins_with_an_installation_or_says_where_it_is():
    assert {"README", "index", "installing", "start"} <= set(COMMANDS)
    for page, command in COMMANDS.items():
        # From a clone: a path, never a name that an index would have to know.
        if not INSTALLATION.match(command):
            assert "](installing.md" in (ROOT / "docs" / f"{page}.md").read_text(), (page, command)


def test_no_page_installs_from_an_index_that_does_not_have_us():
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]:
        named = re.findall(
            r"pip install [^\n`]*?(?<![\w/.-])dice[_-]jax(?![\w/.-])", path.read_text()
        )
        assert not named, path.name


@needs_index
@pytest.mark.parametrize("command", sorted(set(COMMANDS.values())))
def test_the_first_command_works_in_a_bare_environment(tmp_path, command):
    """The installation as it stands; of a program, with or without one before it, its help."""
    run("git", "clone", "-q", ROOT, tmp_path / "clone")
    python = environment(tmp_path / "env")
    if not INSTALLATION.match(command):
        command = f'python -m pip install -e ".[experiments]" && {command}'
    install, _, program = command.partition(" && ")
    shell = f'export PATH="{python.parent}:$PATH"; {install}'
    version = 'python -c "import dice_jax; print(dice_jax.__version__)"'
    shell += f" && {program.partition('#')[0]} --help" if program else f" && {version}"
    printed = run("bash", "-c", shell, cwd=tmp_path / "clone").stdout
    assert re.search("(?i)usage: " if program else r"^\d+\.\d+\.\d+$", printed, re.MULTILINE)
    shutil.rmtree(tmp_path / "env")
