"""Links the site to the repository, if pyproject.toml has its address; otherwise to nothing."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

__all__ = ["address", "on_config"]

_ROOT = Path(__file__).parents[2]


def address(pyproject: str) -> str | None:
    """Read the repository's address.

    Args:
        pyproject: the text of pyproject.toml.

    Returns:
        The address without a slash at its end, or ``None`` while there is none.
    """
    urls = tomllib.loads(pyproject)["project"].get("urls", {})
    return urls["Repository"].rstrip("/") if "Repository" in urls else None


def on_config(config: Any) -> Any:
    """Add a plain link to every page's foot (mkdocs calls this).

    The theme's own widget, `repo_url`, would ask a server for news at every page.
    """
    repository = address((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    config.extra["repository"] = repository
    if repository:
        link = {"icon": "fontawesome/brands/git-alt", "link": repository, "name": "Repository"}
        config.extra["social"] = [link]
    return config
