"""What an image holds: shapes, each a depth that is cut at the level of n pixels."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["SHAPES", "Shape"]


class Shape(NamedTuple):
    """A family of masks.

    Args:
        least_object_pixels: an object of fewer is not that shape any more.
    """

    least_object_pixels: int


SHAPES: dict[str, Shape] = {"ellipse": Shape(5)}
