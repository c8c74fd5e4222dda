"""Every line of the pages gives the other library's value and gradient: recorded, and installed."""

import re

import numpy as np
import pytest

from tests.parity import images, pages, peers
from tests.parity.recorded import read

LINES = pages.lines()
# Labels without foreground, or with nothing to count.
SHAPE = images.PIXELS
NOTHING = {
    "softmax": {"labels": np.zeros(SHAPE, np.int32)},
    "absent": {"labels": np.zeros(SHAPE, np.int32)},
    "missing": {"labels": np.zeros(SHAPE, np.int32)},
    "ignore": {"labels": np.full(SHAPE, 255, np.int32)},
    "binary": {"targets": np.zeros(SHAPE, np.int32)},
    "binary_ignore": {"targets": np.full(SHAPE, 255, np.int32)},
}
every_line = pytest.mark.parametrize("line", LINES, ids=lambda line: line.id)


@pytest.fixture(scope="module")
def ours():
    """Each line's result, computed once for both tests."""
    found = {}

    def result(line):
        if line not in found:
            found[line] = peers.here(line)
        return found[line]

    return result


def agree(result, value, gradients):
    """Float32 sums in two orders, and no more: an option that is off by 1e-5 must show."""
    ours, slopes = result
    np.testing.assert_allclose(ours.ravel(), np.ravel(value), rtol=5e-6, atol=1e-7)
    assert len(slopes) == len(gradients)
    for slope, gradient in zip(slopes, gradients, strict=True):
        gradient = np.ravel(gradient)
        scale = np.max(np.abs(gradient), initial=0.0)
        np.testing.assert_allclose(slope.ravel(), gradient, rtol=0, atol=5e-6 * scale)


@pytest.mark.slow  # each compiles briefly, and there are nearly two hundred
@every_line
def test_ours_gives_what_was_recorded(line, ours):
    recorded = read(line.peer).get(line.key)
    assert recorded, f"not recorded yet: python -m tests.parity.record {line.peer}"
    agree(ours(line), recorded["value"], recorded["gradient"])


@pytest.mark.parity
@every_line
def test_ours_gives_what_the_installed_library_gives(line, ours):
    try:
        value, gradients = peers.there(line)
    except peers.Missing as reason:
        pytest.skip(str(reason))
    assert value.shape == ours(line)[0].shape
    agree(ours(line), value, gradients)


def test_no_line_is_recorded_that_no_page_has():
    assert {line.peer for line in LINES} == set(peers.PEERS)
    for peer in peers.PEERS:
        keys = {line.key for line in LINES if line.peer == peer}
        assert keys == set(read(peer))


def test_every_page_is_linked_and_every_code_cell_is_tested():
    front = (pages.FOLDER / "index.md").read_text()
    assert set(pages.PAGES) == {p.stem for p in pages.FOLDER.glob("*.md")} - {"index"}
    for page in pages.PAGES:
        assert f"({page}.md)" in front
        tables = re.findall(r"\n\| (?:[^\n]*)\| dice_jax \|\n((?:\|[^\n]*\n)+)", _text(page))
        rows = sum(len(table.splitlines()) - 1 for table in tables)
        # A table of words, such as "What differs", has no expression of ours.
        words = sum(not row.count("`dj.") for table in tables for row in table.splitlines()[1:])
        assert rows - words <= len(pages.of(page)) <= rows, page


def _text(page):
    return (pages.FOLDER / f"{page}.md").read_text()


def test_the_defaults_on_the_front_page_are_lines_of_the_pages():
    titles = {
        "MONAI": "monai",
        "nnU-Net": "nnunet",
        "Optax": "optax",
        "SMP": "smp",
        "Keras": "keras",
        "kornia": "kornia",
    }
    table = _text("index").split("| library |")[1].split("\n\n")[0]
    rows = [row for row in table.splitlines()[2:] if row]
    assert len(rows) == 7
    for row in rows:
        library, _, here = (cell.strip() for cell in row.strip("|").split("|"))
        code = pages.CODE.findall(here)[0]
        page = titles[library.split()[0]]
        assert any(code in line.ours for line in pages.of(page)), row


WEIGHS = re.compile(r"weighted\(|safe_mean|average\(|log\(|kept\.mean| > 0")
WEIGHING = [line for line in LINES if line.kind in NOTHING and WEIGHS.search(line.ours)]


@pytest.mark.parametrize("line", WEIGHING, ids=lambda line: line.id)
def test_a_loss_is_finite_without_foreground_and_where_everything_is_ignored(line, monkeypatch):
    """The lines that weigh, count or take a logarithm; the others are single losses."""
    drawn = images.images(line.kind) | NOTHING[line.kind]
    monkeypatch.setattr(peers, "images", lambda kind: drawn)
    value, gradients = peers.here(line)
    for numbers in (value, *gradients):
        assert np.isfinite(numbers).all()


def test_a_wrong_smoothing_would_be_seen():
    """The comparison is strict enough to tell 1e-5 from 0, on every Dice line of MONAI's page."""
    for line in pages.of("monai"):
        if line.ours != "dj.dice_loss(sums, smooth=1e-5).mean()":
            continue
        wrong = pages.dataclasses.replace(line, ours="dj.dice_loss(sums, smooth=2e-4).mean()")
        recorded = read("monai")[line.key]
        with pytest.raises(AssertionError):
            agree(peers.here(wrong), recorded["value"], recorded["gradient"])
