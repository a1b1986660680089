"""Maps: points in a plane without units, their groups named, marked and moved."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from matplotlib.text import Text
from matplotlib.transforms import ScaledTranslation

from helpers.drawing.charts import looks


def map_points(table: pd.DataFrame, ax: Axes, *, by: str = "family", shade: str = "", names: bool = True) -> Axes:
    """A map of x and y without axes, which have no unit: marks for each group, its name above their middle.

    Colour and mark tell the values of `shade` apart, by default the groups themselves. `move_points` moves them.
    """
    groups, look = table.drop_duplicates(by), looks(table[shade or by])
    said = dict(fontsize=7, ha="center", va="bottom", path_effects=[withStroke(linewidth=2, foreground="white")])
    above = ax.transData + ScaledTranslation(0, 5 / 72, ax.figure.dpi_scale_trans)
    for name, level in zip(groups[by], groups[shade or by]):
        colour, marker = look[level]
        ax.plot([], [], marker, ms=3, mew=0, alpha=0.75, label=name, color=colour)
        ax.text(0, 0, name if names else "", color=colour, transform=above, **said)
    ax.set(xticks=[], yticks=[])
    ax.update_datalim(table[["x", "y"]])
    ax.margins(0.04)
    ax.autoscale_view()
    ax.autoscale(False)
    ax.spines[:].set_visible(False)
    return move_points(table, ax, by=by)


def mark_points(table: pd.DataFrame, ax: Axes) -> Axes:
    """The axis of `map_points` with a ring around each row, the first one's larger; earlier rings move there."""
    others = len(table) - 1
    if not ax.collections:
        ax.scatter([], [], facecolors="none", edgecolors="#111111", zorder=4)
    rings = ax.collections[0]
    rings.set_offsets(table[["x", "y"]].to_numpy())
    rings.set(sizes=[110] + [34] * others, linewidths=[1.8] + [0.9] * others)
    return ax


def move_points(table: pd.DataFrame, ax: Axes, *, by: str = "family") -> Axes:
    """The axis of `map_points` with its groups' marks and names at their new places; its limits stay."""
    for (_, part), line, name in zip(table.groupby(by, sort=False), ax.lines, ax.texts, strict=True):
        line.set_data(part.x, part.y)
        name.set_position((part.x.median(), part.y.median()))
    _keep_apart(ax)
    return ax


def _keep_apart(ax: Axes) -> None:
    """Names of a map moved up, from the lowest on, until none covers another; the topmost may leave the axes."""
    placed = []
    for name in sorted(filter(Text.get_text, ax.texts), key=lambda name: name.get_position()[1]):
        high = name.get_fontsize() * ax.figure.dpi / 72
        wide = 0.3 * len(name.get_text()) * high
        x, y = ax.transData.transform(name.get_position())
        for other_y, other_x, other_wide in sorted(placed):
            if abs(x - other_x) < wide + other_wide and abs(y - other_y) < high:
                y = other_y + high
        placed.append((y, x, wide))
        name.set_y(ax.transData.inverted().transform((x, y))[1])
