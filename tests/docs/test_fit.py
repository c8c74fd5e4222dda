"""Pages fit a phone: panels are stacked between, and not within; words of code stay whole."""

import io
from types import SimpleNamespace

import numpy as np
import pytest

Image = pytest.importorskip("PIL.Image", reason="needs Pillow")


def png(pixels):
    made = io.BytesIO()
    Image.fromarray(pixels).save(made, format="png")
    return made.getvalue()


def panels(width=420, height=100, gap=206):
    """Two dark panels with a white gap of four pixels."""
    pixels = np.full((height, width, 3), 40, np.uint8)
    pixels[:, gap : gap + 4] = 255
    return pixels


def test_a_row_of_panels_is_cut_in_the_gap(hook):
    with Image.open(io.BytesIO(hook("fit").stacked(png(panels())))) as copy:
        assert copy.size[1] == 200
        assert 206 <= copy.size[0] <= 214
        dark = (np.asarray(copy) < 250).all(axis=2)
    # Nothing of the panels is lost.
    assert dark.sum() == 100 * (420 - 4)


@pytest.mark.parametrize("pixels", [panels(width=200, gap=98), np.full((50, 400, 3), 40, np.uint8)])
def test_what_is_not_wide_or_has_no_gap_stays(hook, pixels):
    assert hook("fit").stacked(png(pixels)) is None


def test_only_words_in_the_code_of_cells_are_marked(hook):
    html = "<p><code>a_b-c</code></p><table><td>x-y <code>f_g(smooth=1e-5) - 1</code></td></table>"
    marked = '<code>f_<wbr>g(<span class="whole">smooth=1e-5</span>) - 1</code>'
    assert hook("fit").whole_words(html) == html.replace(
        "<code>f_g(smooth=1e-5) - 1</code>", marked
    )


def test_names_in_headings_and_tables_break_between_their_words(hook):
    heading = '<span class="doc doc-object-name doc-function-name">{}</span>'
    cell = "<td><code>a.{}</code></td>"
    for html in (heading, cell):
        broken = html.format("long_<wbr>name Reads<wbr>Sums")
        assert hook("fit").whole_words(html.format("long_name ReadsSums")) == broken


def test_a_picture_is_shown_stacked_on_a_phone_where_there_is_a_copy(hook):
    files = [SimpleNamespace(dest_uri="gallery/a-phone.png")]
    page = SimpleNamespace(file=SimpleNamespace(dest_uri="index.html"))
    shown = hook("fit").on_page_content(
        '<img alt="A" src="gallery/a.png"><img alt="B" src="gallery/b.png">', page=page, files=files
    )
    assert shown == (
        '<picture><source media="(max-width: 45em)" srcset="gallery/a-phone.png">'
        '<img alt="A" src="gallery/a.png"></picture><img alt="B" src="gallery/b.png">'
    )
