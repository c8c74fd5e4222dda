"""How results show themselves: a table for notebooks, and short text for arrays."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

__all__ = ["is_array", "is_known", "region_table", "short_text"]

# A notebook shows so many regions.
_ROWS = 12


def is_array(x: Any) -> bool:
    """Whether ``x`` is an array of JAX (traced or not) or NumPy."""
    return isinstance(x, (jax.Array, np.ndarray))


def is_known(x: Any) -> bool:
    """Whether ``x`` is an array whose values this process can read: not traced, not elsewhere."""
    if not is_array(x) or isinstance(x, Tracer):
        return False
    return getattr(x, "is_fully_addressable", True)


def short_text(x: Any) -> str:
    """Write an array's values with six digits, and anything else as it writes itself."""
    return np.array2string(np.asarray(x), precision=6) if is_array(x) else str(x)


def region_table(title: str, columns: Mapping[str, Any]) -> str | None:
    """Make a table in HTML: one row per region, one column per name.

    Args:
        title: stands above.
        columns: arrays of one shape, by name.

    Returns:
        The table of the first regions, or ``None`` if a value cannot be read.
    """
    if not all(map(is_known, columns.values())):
        return None
    arrays = {name: np.asarray(x) for name, x in columns.items()}
    shape = next(iter(arrays.values())).shape
    regions = list(np.ndindex(shape))
    head = "".join(f"<th>{escape(name)}</th>" for name in ("region", *arrays))
    rows = ""
    for region in regions[:_ROWS]:
        cells = (x[region] for x in arrays.values())
        text = ", ".join(map(str, region)) or "all"
        shown = (str(cell) if cell.dtype == bool else f"{cell:.6g}" for cell in cells)
        rows += f"<tr><th>{text}</th>{''.join(f'<td>{cell}</td>' for cell in shown)}</tr>"
    left = len(regions) - _ROWS
    more = f"<p>{left} more regions; the shape is {shape}.</p>" if left > 0 else ""
    return f"<table><caption>{escape(title)}</caption><tr>{head}</tr>{rows}</table>{more}"
