"""Makes pages fit a phone: a row of panels becomes two rows; names break between their words."""

from __future__ import annotations

import io
import re
from typing import Any

__all__ = ["on_files", "on_page_content", "stacked", "whole_words"]

# Wider than this, and a picture's panels are too small to see on a phone.
_WIDE = 2.6
_STACKED = "-phone.png"
_PICTURE = re.compile(r'<img [^>]*?src="([^"]+)\.png"[^>]*>')
_CODE_IN_CELL = re.compile(r"(?<=<td>).*?(?=</td>)", re.DOTALL)
_CODE = re.compile(r"<code>(.*?)</code>", re.DOTALL)
# 1e-5, micro-batches: a browser would break after the hyphen.
_UNDERSCORE = re.compile(r"(?<=\w)_(?=\w)")
_CAPITAL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_HEADING = re.compile(r'(?<=<span class="doc doc-object-name )([^>]*>)([^<]+)')
_HYPHENATED = re.compile(r"[\w=.]*\w-\w[\w.]*")


def stacked(picture: bytes) -> bytes | None:
    """Cut a wide picture between its panels, and put the right half below the left one.

    Args:
        picture: PNG.

    Returns:
        PNG; ``None`` if the picture is not wide, or has no white column near its middle.
    """
    import numpy as np
    from PIL import Image

    with Image.open(io.BytesIO(picture)) as opened:
        image = opened.convert("RGB")
    width, height = image.size
    if width < _WIDE * height:
        return None
    white = np.flatnonzero((np.asarray(image) > 250).all(axis=(0, 2)))
    near = white[np.abs(white - width / 2) < 0.06 * width]
    if not near.size:
        return None
    cut = int(near[np.abs(near - width / 2).argmin()])
    halves = image.crop((0, 0, cut, height)), image.crop((cut, 0, width, height))
    paper = Image.new("RGB", (max(half.width for half in halves), 2 * height), "white")
    for row, half in enumerate(halves):
        paper.paste(half, (0, row * height))
    made = io.BytesIO()
    paper.save(made, format="png")
    return made.getvalue()


def whole_words(html: str) -> str:
    """Say where the code of tables and the names in headings may break: between words.

    That is after an underscore and before a capital, and never at a hyphen.

    Args:
        html: of a page.

    Returns:
        The same with marks for the browser and the style sheet, which are not copied as text.
    """

    def code(match: re.Match[str]) -> str:
        marked = _HYPHENATED.sub(r'<span class="whole">\g<0></span>', match[1])
        return f"<code>{_breakable(marked)}</code>"

    html = _HEADING.sub(lambda name: name[1] + _breakable(name[2]), html)
    return _CODE_IN_CELL.sub(lambda cell: _CODE.sub(code, cell[0]), html)


def _breakable(words: str) -> str:
    return _CAPITAL.sub("<wbr>", _UNDERSCORE.sub("_<wbr>", words))


def on_files(files: Any, *, config: Any) -> Any:
    """Add a stacked copy of every wide picture (mkdocs calls this)."""
    from mkdocs.structure.files import File

    for file in list(files):
        if file.src_uri.endswith(".png") and (copy := stacked(file.content_bytes)):
            name = file.src_uri.removesuffix(".png") + _STACKED
            files.append(File.generated(config, name, content=copy))
    return files


def on_page_content(html: str, *, page: Any, files: Any, **_: Any) -> str:
    """Show the stacked copies on narrow screens (mkdocs calls this)."""
    from posixpath import dirname, join, normpath

    def picture(match: re.Match[str]) -> str:
        copy = normpath(join(dirname(page.file.dest_uri), match[1] + _STACKED))
        if not any(file.dest_uri == copy for file in files):
            return match[0]
        source = f'<source media="(max-width: 45em)" srcset="{match[1]}{_STACKED}">'
        return f"<picture>{source}{match[0]}</picture>"

    return whole_words(_PICTURE.sub(picture, html))
