"""How every picture of a study looks: names, colours, panels, legends."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, ParamSpec, TypeVar

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from experiments.reporting.rendering import percent

__all__ = [
    "Look",
    "drawn",
    "fraction_axis",
    "legend_below",
    "look_of",
    "new_figure",
    "panels",
    "styled",
]

P = ParamSpec("P")
R = TypeVar("R")

# One colour per loss, the same in every picture of every study. Okabe and Ito's come first, which
# people with any colour vision can tell apart.
_COLOURS = {
    "bce": "#0072B2",
    "dice": "#D55E00",
    "squared_dice": "#009E73",
    "dice+bce": "#CC79A7",
    "jaccard": "#E69F00",
    "balanced_bce": "#56B4E9",
    "focal": "#000000",
    "tversky": "#8A6D00",
    "focal_tversky": "#6A3D9A",
    "generalized_dice": "#B15928",
    "log_dice": "#666666",
    "log_cosh_dice": "#B0A000",
}
_SPARE = ("#333399", "#339966", "#993366", "#666633")
_MARKERS = "osD^vP*X<>ph"
_STYLE: Any = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "figure.dpi": 110,
    "savefig.dpi": 300,
    "image.interpolation": "nearest",
}
# More lines than this in a panel cannot be told apart.
_MOST_LINES = 12
# Panels side by side, and the width of a page in inches.
_COLUMNS, _WIDTH = 3, 8.8


class Look(NamedTuple):
    """How a loss is drawn."""

    colour: str
    marker: str


def drawn(losses: Sequence[str]) -> list[str]:
    """Choose the losses that a figure of lines shows.

    All of them, or, where they are too many to tell apart, one variant of each: the first.
    """
    first = {loss.partition(",")[0]: loss for loss in reversed(losses)}
    return [loss for loss in losses if len(losses) <= _MOST_LINES or loss in first.values()]


def look_of(losses: Sequence[str], loss: str) -> Look:
    """Choose how to draw a loss, one of those that a figure shows.

    Variants of a loss, such as ``dice,clip=1``, have its colour in lighter and lighter shades.
    """
    base = loss.partition(",")[0]
    bases = list(dict.fromkeys(other.partition(",")[0] for other in losses))
    if base in _COLOURS:
        place, colour = list(_COLOURS).index(base), _COLOURS[base]
    else:
        spare = [other for other in bases if other not in _COLOURS].index(base)
        place, colour = -1 - spare, _SPARE[spare % len(_SPARE)]
    variants = [other for other in losses if other.partition(",")[0] == base]
    lighter = 0.5 * variants.index(loss) / len(variants)
    red, green, blue = ((1 - lighter) * part + lighter for part in to_rgb(colour))
    return Look(
        to_hex((red, green, blue)), _MARKERS[(place + variants.index(loss)) % len(_MARKERS)]
    )


def new_figure(
    width: float, height: float, rows: int = 1, columns: int = 1, **options: Any
) -> tuple[Figure, Any]:
    """Make a figure that belongs to no window, with a [rows, columns] array of panels."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def panels(
    shown: Sequence[float | str], height: float, *, rows: int = 1, **options: Any
) -> tuple[Figure, list[list[Axes]]]:
    """Make a column of panels for each fraction (or name), as many as fit on a page side by side.

    Args:
        shown: fractions or names, in the order of the columns.
        height: of a panel, in inches.
        rows: panels of a column, one below the other.
        **options: of `Figure.subplots`.

    Returns:
        The figure, and per column its panels from top to bottom.
    """
    columns = min(_COLUMNS, len(shown))
    lines = math.ceil(len(shown) / columns)
    width = _WIDTH * max(columns, 1.9) / _COLUMNS
    figure, axes = new_figure(
        width, height * lines * rows + 0.5, lines * rows, columns, sharey="row", **options
    )
    found = []
    for i in range(lines * columns):
        line, column = divmod(i, columns)
        mine = [axes[line * rows + row, column] for row in range(rows)]
        if i < len(shown):
            name = shown[i]
            title = name if isinstance(name, str) else f"{percent(name)} foreground"
            mine[0].set_title(title)
            found.append(mine)
        else:
            for ax in mine:
                ax.set_visible(False)
    return figure, found


def legend_below(figure: Figure, *panels_with_names: Axes) -> None:
    """Put one legend for some panels under a figure, where it hides nothing."""
    found: dict[str, Any] = {}
    for ax in panels_with_names:
        handles, names = ax.get_legend_handles_labels()
        found |= dict(zip(names, handles, strict=True))
    if not found:
        return
    longest = max(map(len, found))
    # The width of the letters, and room for the mark.
    columns = max(1, min(len(found), 4, int(figure.get_figwidth() / (0.5 + 0.07 * longest))))
    # Another line of names makes the figure taller and leaves the panels as they are.
    lines = math.ceil(len(found) / columns)
    figure.set_figheight(figure.get_figheight() + 0.19 * (lines - 1))
    legend = figure.legend(
        found.values(), found.keys(), loc="outside lower center", ncols=columns, fontsize=9
    )
    for handle in legend.legend_handles:
        if handle is not None:
            handle.set_alpha(1)


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Make a function draw in this study's style without changing the caller's."""

    @functools.wraps(draw)
    def in_style(*args: P.args, **kwargs: P.kwargs) -> R:
        with mpl.rc_context(_STYLE):
            return draw(*args, **kwargs)

    return in_style


def fraction_axis(ax: Axes, fractions: Sequence[float]) -> None:
    """Make the x axis one of foreground fractions: logarithmic, with a tick for each."""
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(FixedLocator(sorted(fractions)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: percent(x)))
    ax.set_xlim(min(fractions) / 1.6, max(fractions) * 1.6)
    if len(fractions) > 5:
        ax.tick_params(axis="x", labelrotation=35)
    ax.set_xlabel("foreground pixels")
