"""Fills an HTML template: what every page of a study has in common."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2

__all__ = ["fill"]


def fill(
    template: str, *, filters: dict[str, Callable[..., Any]] | None = None, **values: Any
) -> str:
    """Fill a template.

    Args:
        template: its file's name in ``templates/``.
        filters: further filters by name.
        **values: what the template asks for; a value that is missing is an error, what it holds
            is escaped.

    Returns:
        The page.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= filters or {}
    return environment.get_template(template).render(**values)
