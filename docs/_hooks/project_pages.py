"""Shows CHANGELOG.md and CONTRIBUTING.md, which stand at the repository's root, as pages."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

__all__ = ["on_files", "relink"]

_ROOT = Path(__file__).parents[2]
_PAGES = {"changelog.md": "CHANGELOG.md", "contributing.md": "CONTRIBUTING.md"}
_LINK = re.compile(r"\[([^]]*)\]\((?!https?:|mailto:|#)([^)#]+)(#[^)]*)?\)")


def relink(markdown: str, repository: str | None) -> str:
    """Point links that are relative to the repository's root at pages, or at the repository.

    Args:
        markdown: of a file at the root.
        repository: the repository's address; ``None`` while there is none.

    Returns:
        The same with links that hold on the site. A link to a file becomes the file's path while
        there is no repository.
    """
    pages = {source: page for page, source in _PAGES.items()}

    def link(match: re.Match[str]) -> str:
        words, target, anchor = match[1], match[2], match[3] or ""
        if target in pages:
            return f"[{words}]({pages[target]}{anchor})"
        if target.startswith("docs/") and target.endswith(".md"):
            return f"[{words}]({target.removeprefix('docs/')}{anchor})"
        if repository is None:
            return words if target in words else f"{words} (`{target}`)"
        return f"[{words}]({repository}/blob/main/{target}{anchor})"

    return _LINK.sub(link, markdown)


def on_files(files: Any, *, config: Any) -> Any:
    """Add the pages (mkdocs calls this)."""
    from mkdocs.structure.files import File

    for page, source in _PAGES.items():
        text = (_ROOT / source).read_text(encoding="utf-8")
        content = relink(text, config.extra["repository"])
        files.append(File.generated(config, page, content=content))
    return files
