"""Makes the navigation's `folder/*` entries out of the pages that the folder holds."""

from __future__ import annotations

from typing import Any

__all__ = ["expand", "on_files"]


def expand(nav: list[Any], pages: list[str]) -> list[Any]:
    """Put a folder's pages where the navigation says ``folder/*``.

    Args:
        nav: as in mkdocs.yml.
        pages: the paths of all pages, in the order that their folders should have.

    Returns:
        The same with every star expanded, the folder's ``index.md`` first. An entry whose folder
        has no pages is left out.
    """
    entries: list[Any] = []
    for entry in nav:
        (title, value), *_ = entry.items() if isinstance(entry, dict) else [(None, entry)]
        if isinstance(value, list):
            value = expand(value, pages)
        elif value.endswith("/*"):
            folder = value.removesuffix("*")
            value = sorted(
                (page for page in pages if page.startswith(folder)),
                key=lambda page: page != f"{folder}index.md",
            )
        if value:
            entries.append(value if title is None else {title: value})
    return entries


def on_files(files: Any, *, config: Any) -> Any:
    """Expand the stars once the generated pages are there (mkdocs calls this)."""
    pages = [file.src_uri for file in files.documentation_pages()]
    config.nav = expand(config.nav, pages)
    return files
