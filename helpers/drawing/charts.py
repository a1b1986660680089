"""Figures: a long table and an axis in, the axis out, and nothing else.

Colours are Okabe and Ito's, which colour-blind readers can tell apart; beyond eight groups, direct labels tell them
apart. Chance lines are dotted and named, unknown cells are hatched.
"""

import textwrap
from collections.abc import Callable, Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import ScaledTranslation

COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D1F", "#4D4D4D"]
MARKERS = ["o", "s", "^", "D", "v", "P", "X", "*"]
GREY = "#9A9A9A"
FONTS = [  # those that are installed, in this order: one font rarely has all scripts of a corpus
    "DejaVu Sans", "Noto Sans", "Noto Sans CJK JP", "Noto Sans Arabic", "Noto Sans Devanagari", "Noto Sans Thai",
]  # fmt: skip
STYLE = {
    "figure.dpi": 110, "figure.constrained_layout.use": True, "font.size": 9, "axes.titlesize": 9.5,
    "axes.titlelocation": "left", "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": "#666666",
    "axes.linewidth": 0.7, "xtick.color": "#444444", "ytick.color": "#444444", "legend.frameon": False,
    "lines.linewidth": 1.6, "svg.fonttype": "path", "svg.hashsalt": "isogloss", "image.cmap": "cividis",
}  # fmt: skip


def style() -> None:
    """Nothing comes back; figures drawn after this call share the workbook's look."""
    there = set(font_manager.get_font_names())
    mpl.rcParams.update(STYLE | {"font.family": [name for name in FONTS if name in there] or ["sans-serif"]})


def colours(groups: Sequence[str]) -> dict[str, str]:
    """A colour for each distinct group, in order of appearance."""
    return {group: COLOURS[i % len(COLOURS)] for i, group in enumerate(dict.fromkeys(groups))}


def looks(groups: Sequence[str]) -> dict[str, tuple[str, str]]:
    """A colour and a mark for each distinct group, in order of appearance; no two alike among the first 64."""
    names, turns = list(dict.fromkeys(groups)), len(COLOURS)
    return {name: (COLOURS[i % turns], MARKERS[(i + i // turns) % len(MARKERS)]) for i, name in enumerate(names)}


def tree(table: pd.DataFrame, ax: Axes, *, label: str = "language") -> Axes:
    """Families as small trees, one leaf a row: table[language, family, branch], branch a word of turns (0 or 1)."""
    rows = table.reset_index(drop=True)
    shade, depth = colours(rows.family), rows.branch.str.len().max()
    for family, leaves in rows.groupby("family", sort=False):
        _branch(leaves, "", ax, shade[family], depth)
    for y, (name, family) in enumerate(zip(rows[label], rows.family)):
        ax.text(depth + 0.12, -y, name, va="center", color=shade[family], fontsize=8.5)
    ax.set(xlim=(-0.3, depth + 0.15), ylim=(-len(rows) + 0.3, 0.7))
    ax.axis("off")
    return ax


def _branch(leaves: pd.DataFrame, path: str, ax: Axes, colour: str, depth: int) -> float:
    """Draws the part of a tree below a path of turns; returns its height."""
    here = leaves[leaves.branch.str.startswith(path)]
    if len(here) == 1:
        ax.plot([len(path), depth], [-here.index[0]] * 2, color=colour, lw=1.4)
        return -float(here.index[0])
    ends = [_branch(leaves, path + turn, ax, colour, depth) for turn in "01"]
    for end in ends:
        ax.plot([len(path), len(path) + 1], [end, end], color=colour, lw=1.4)
    ax.plot([len(path)] * 2, ends, color=colour, lw=1.4)
    middle = sum(ends) / 2
    if not path:
        ax.plot([-0.3, 0], [middle] * 2, color=colour, lw=1.4)
    return middle


def curves(
    table: pd.DataFrame, ax: Axes, *, x: str, y: str, by: str | None = None, low: str = "", high: str = "",
    chance: float | None = None, log: str | bool = False, labels: bool = True,
) -> Axes:  # fmt: skip
    """Lines of y over x, one for each value of `by`, named at their right end; a band from `low` to `high`.

    `log` names the axes on a log scale: "x" (or True), which keeps 0, "y" or "xy".
    """
    log = "x" if log is True else log or ""
    groups = list(table.groupby(by, sort=False)) if by else [("", table)]
    ordered = by and pd.api.types.is_numeric_dtype(table[by]) and len(groups) > 2
    palette = mpl.colormaps["cividis"](np.linspace(0, 0.85, len(groups))) if ordered else COLOURS
    ends = []
    for i, (name, part) in enumerate(groups):
        part, colour = part.sort_values(x), palette[i % len(palette)]
        ax.plot(part[x], part[y], color=colour, marker=MARKERS[i % len(MARKERS)], ms=3.5)
        if low:
            ax.fill_between(part[x], part[low], part[high], color=colour, alpha=0.15, lw=0)
        ends.append((part[y].iloc[-1], f"{by} {name}" if ordered else str(name), colour))
    if "x" in log:
        ax.set_xscale("symlog", linthresh=max(1, table.loc[table[x] > 0, x].min()))
    elif pd.api.types.is_integer_dtype(table[x]):
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    if "y" in log:
        ax.set_yscale("log")
    if chance is not None:
        ax.axhline(chance, ls=":", color="#444444", lw=1)
        ends.append((chance, "chance" if chance else "", "#444444"))
    if labels:
        _end_labels(ax, [end for end in ends if end[1]])
    ax.set(xlabel=x, ylabel=y)
    return ax


def _end_labels(ax: Axes, ends: list[tuple[float, str, str]]) -> None:
    """Names right of the axis at the height of (y, name, colour), pushed apart so that none covers another."""
    to_axis, last = ax.transData + ax.transAxes.inverted(), -np.inf
    for y, name, colour in sorted(ends, key=lambda end: end[0]):
        last = max(to_axis.transform((ax.get_xlim()[0], y))[1], last + 0.07)
        ax.text(1.02, last, name, transform=ax.transAxes, va="center", fontsize=8, color=colour)


def heatmap(
    table: pd.DataFrame, ax: Axes, *, rows: str, columns: str, value: str, groups: dict[str, str] | None = None,
    limits: tuple[float, float] | None = None, cmap: str = "cividis", numbers: bool | None = None, label: str = "",
) -> Axes:  # fmt: skip
    """A matrix in order of appearance, NaN hatched, numbers written in up to 24 x 24 cells, `groups` ruled off."""
    square = table.pivot(index=rows, columns=columns, values=value)
    across, down = table[columns].unique(), table[rows].unique()
    square = square.loc[down, down if set(across) == set(down) else across].astype(float)
    cells = square.to_numpy()
    low, high = limits or (np.nanmin(cells), np.nanmax(cells))
    ax.add_patch(
        Rectangle(
            (-0.5, -0.5), cells.shape[1], cells.shape[0], fc="#F2F2F2", ec="#BBBBBB", hatch="////", lw=0, zorder=0
        )
    )
    image = ax.imshow(
        np.ma.masked_invalid(cells), vmin=low, vmax=high, cmap=cmap, aspect="auto", interpolation="nearest"
    )
    bar = ax.figure.colorbar(image, ax=ax, shrink=0.8, pad=0.02, label=label or value)
    bar.outline.set_visible(False)
    if numbers if numbers is not None else max(cells.shape) <= 24:
        _numbers(cells, image, ax)
    for axis, names in (("x", square.columns), ("y", square.index)):
        _ticks(ax, axis, list(names), groups or {})
    ax.set(xlabel=columns, ylabel=rows)
    ax.spines[:].set_visible(False)
    return ax


def _numbers(cells: np.ndarray, image, ax: Axes) -> None:
    whole = np.nanmax(np.abs(cells)) >= 10
    size = float(np.clip(150 / max(cells.shape), 4.5, 8.5))
    for (i, j), x in np.ndenumerate(cells):
        if np.isfinite(x):
            text = f"{x:.0f}" if whole else f"{x:.2f}".replace("0.", ".", 1).replace("1.00", "1")
            red, green, blue, _ = image.cmap(image.norm(x))
            dark = 0.3 * red + 0.59 * green + 0.11 * blue < 0.5
            ax.text(j, i, text, ha="center", va="center", fontsize=size, color="white" if dark else "black")


def _ticks(ax: Axes, axis: str, names: list, groups: dict[str, str]) -> None:
    """Names beside up to 60 rows, and a white rule wherever the group changes."""
    place, draw = (ax.xaxis, ax.axvline) if axis == "x" else (ax.yaxis, ax.axhline)
    if len(names) <= 60:
        place.set_ticks(range(len(names)), [str(n) for n in names], fontsize=7.5 if len(names) > 16 else 8.5)
    else:
        place.set_ticks([])
    room = ax.figure.get_size_inches()[0] * ax.get_position().width * 14  # characters that fit side by side
    if axis == "x" and len(names) * (max(len(str(n)) for n in names) + 1) > room:
        ax.tick_params(axis="x", rotation=90)
    ax.tick_params(length=0)
    for i in range(1, len(names)):
        if groups and groups.get(names[i]) != groups.get(names[i - 1]):
            draw(i - 0.5, color="white", lw=2)


def strips(table: pd.DataFrame, ax: Axes, *, x: str, y: str, highlight: str = "highlight") -> Axes:
    """Every value as a short tick in the column of its group; rows with `highlight` in colour, the rest grey."""
    names, jitter = list(dict.fromkeys(table[x])), np.random.default_rng(0)
    for marked, part in table.groupby(table[highlight].astype(bool)):
        at = part[x].map(names.index) + jitter.uniform(-0.32, 0.32, len(part))
        colour, front = (COLOURS[1], 3) if marked else (GREY, 2)
        ax.plot(at, part[y], ls="", marker="o", ms=2.2, mew=0, alpha=0.6, color=colour, zorder=front, rasterized=True)
    ax.set_xticks(range(len(names)), names, rotation=90 if len(names) > 12 else 0, fontsize=7.5)
    ax.set(ylabel=y)
    return ax


def bars(
    table: pd.DataFrame, ax: Axes, *, x: str, y: str, low: str = "", high: str = "", chance: float | None = None
) -> Axes:
    """Horizontal bars with their values written at the end and, where given, an interval."""
    places = np.arange(len(table))[::-1]
    ax.barh(places, table[y], color=COLOURS[0], height=0.65)
    if low:
        ax.hlines(places, table[low], table[high], color="#222222", lw=1.2)
    ends = table[high] if high else table[y]
    for place, end, value in zip(places, ends, table[y]):
        ax.text(end, place, f" {value:.2f}", va="center", fontsize=8)
    ax.set_yticks(places, table[x])
    if chance is not None:
        ax.axvline(chance, ls=":", color="#444444", lw=1)
    ax.set(xlabel=y)
    return ax


def legend(ax: Axes, shade: dict[str, str], **place: object) -> Axes:
    """The axis with a plain key of colours; direct labels are better where they fit."""
    ax.legend(handles=[Patch(color=colour, label=name) for name, colour in shade.items()], fontsize=8, **place)
    return ax


def key_above(figure, shade: dict[str, str]) -> None:
    """Nothing comes back; a plain key of colours in one line above all panels of the figure."""
    handles = [Patch(color=colour, label=name) for name, colour in shade.items()]
    figure.legend(handles=handles, fontsize=8, ncols=len(handles), loc="outside upper left")


def caption(text: str, width: int = 110) -> str:
    """The text folded at `width` characters, for a line under a figure."""
    return textwrap.fill(" ".join(text.split()), width)


def dots(table: pd.DataFrame, ax: Axes, *, x: str, y: str, by: str, chance: float | None = None) -> Axes:
    """A mark for each category and level, levels told apart by colour and shape and named above the axis."""
    names = list(dict.fromkeys(table[x]))
    for i, (level, part) in enumerate(table.groupby(by, sort=False)):
        shape = dict(color=COLOURS[i % len(COLOURS)], marker=MARKERS[i % len(MARKERS)])
        beside = part[x].map(names.index) + 0.12 * (i - (table[by].nunique() - 1) / 2)
        ax.plot(beside, part[y], ls="", ms=4.5, mew=0, label=level, **shape)
    if chance is not None:
        ax.axhline(chance, ls=":", color="#444444", lw=1)
    ax.set_xticks(range(len(names)), names, rotation=90 if sum(map(len, names)) > 90 else 0, fontsize=7.5)
    _key_above(ax, table[by].nunique())
    ax.set(xlabel=x, ylabel=y)
    return ax


def _key_above(ax: Axes, entries: int) -> None:
    """A key in one line between the title and the axis, close enough to fit a panel of half a page."""
    close = dict(columnspacing=0.9, handletextpad=0.2, handlelength=1.2, borderaxespad=0, borderpad=0)
    ax.legend(ncols=entries, fontsize=7.5, loc="lower left", bbox_to_anchor=(0, 1.01), **close)
    ax.set_title(ax.get_title(loc="left"), pad=16)


def short_sites(sites: Sequence[str]) -> list[str]:
    """Site names for an axis: the block's number and the linear's name, `model.layers.0.mlp.up_proj` as `0 up_proj`."""
    short = []
    for site in sites:
        parts = site.split(".")
        at = next((i for i, part in enumerate(parts) if part.isdigit()), -1)
        short.append(
            " ".join([*parts[at : at + 1], ".".join(p for p in parts[at + 1 :] if p != "mlp")]) if at >= 0 else site
        )
    return short


def map_points(table: pd.DataFrame, ax: Axes, *, by: str = "family", shade: str = "", names: bool = True) -> Axes:
    """A map of x and y without axes, which have no unit: marks for each group, its name above their middle.

    Colour and mark tell the values of `shade` apart, by default the groups themselves. `move_points` moves them.
    """
    groups, halo = table.drop_duplicates(by), [withStroke(linewidth=2, foreground="white")]
    look = looks(table[shade or by])
    above = ax.transData + ScaledTranslation(0, 5 / 72, ax.figure.dpi_scale_trans)
    for name, level in zip(groups[by], groups[shade or by]):
        colour, marker = look[level]
        ax.plot([], [], ls="", ms=3, mew=0, alpha=0.75, label=str(name), color=colour, marker=marker)
        said = dict(fontsize=7, ha="center", va="bottom", path_effects=halo, transform=above)
        ax.text(0, 0, str(name) if names else "", color=colour, **said)
    ax.set(xticks=[], yticks=[], xlim=_margin(table.x), ylim=_margin(table.y))
    ax.spines[:].set_visible(False)
    return move_points(table, ax, by=by)


def mark_points(table: pd.DataFrame, ax: Axes) -> Axes:
    """The axis of `map_points` with a ring around each row, the first one's larger; earlier rings move there."""
    sizes, widths = ([big] + [small] * (len(table) - 1) for big, small in ((110, 34), (1.8, 0.9)))
    if not ax.collections:
        ax.scatter([], [], facecolors="none", edgecolors="#111111", zorder=4)
    rings = ax.collections[0]
    rings.set_offsets(table[["x", "y"]].to_numpy())
    rings.set(sizes=sizes, linewidths=widths)
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
    placed, inches = [], ax.figure.dpi / 72
    for name in sorted(filter(Text.get_text, ax.texts), key=lambda name: name.get_position()[1]):
        x, low = ax.transData.transform(name.get_position())
        y = low
        wide, high = 0.3 * len(name.get_text()) * name.get_fontsize() * inches, name.get_fontsize() * inches
        for other_x, other_y, other_wide in sorted(placed, key=lambda place: place[1]):
            if abs(x - other_x) < wide + other_wide and abs(y - other_y) < high:
                y = other_y + high
        placed.append((x, y, wide))
        if y != low:
            name.set_y(ax.transData.inverted().transform((x, y))[1])


def _margin(values: pd.Series) -> tuple[float, float]:
    low, high = values.min(), values.max()
    return low - 0.04 * (high - low or 1), high + 0.04 * (high - low or 1)


def changes(table: pd.DataFrame, ax: Axes, *, x: str, by: str) -> Axes:
    """An arrow from `before` to `after` at each x, one colour for each value of `by`, named above the axis."""
    names = list(dict.fromkeys(table[by]))
    for i, name in enumerate(names):
        part, colour = table[table[by] == name], COLOURS[i % len(COLOURS)]
        at = part[x] + 0.18 * (i - (len(names) - 1) / 2)
        ax.vlines(at, part.before, part.after, color=colour, lw=1.4)
        ax.plot(at, part.before, ls="", marker=MARKERS[i], ms=5, mfc="white", mec=colour)
        ax.plot(at, part.after, ls="", marker=MARKERS[i], ms=5, mew=0, color=colour, label=str(name))
    _key_above(ax, len(names))
    ax.set(xticks=sorted(table[x].unique()), xlabel=x)
    return ax


def frontier(table: pd.DataFrame, ax: Axes, *, edge: pd.DataFrame) -> Axes:
    """Top-1 against perplexity (against the cost in time where a model has none), a mark for each method.

    Points of one method share colour and mark; those on the `edge` are joined and named.
    """
    x = "perplexity" if table.perplexity.notna().any() else "cost"
    methods = list(dict.fromkeys(table.method))
    for i, (method, part) in enumerate(table.groupby("method", sort=False)):
        mark = dict(color=COLOURS[i % len(COLOURS)], marker=MARKERS[(i + i // len(COLOURS)) % len(MARKERS)])
        ax.plot(part[x], part.top1, ls="", ms=5, mew=0, alpha=0.85, label=method, **mark)
        ax.vlines(
            part[x], part.top1 - part.gain + part.low, part.top1 - part.gain + part.high, color=mark["color"], lw=0.7
        )
    if x == "perplexity":
        ax.plot(edge[x], edge.top1, color="#222222", lw=0.8, zorder=1)
        ax.set_xscale("log")
    ax.legend(fontsize=7.5, loc="center left", bbox_to_anchor=(1.0, 0.5), ncols=1 + (len(methods) > 18))
    unit = "perplexity of held-out text (log scale)" if x == "perplexity" else "time per batch / untouched"
    ax.set(xlabel=unit, ylabel="top-1 retrieval, last layer")
    return ax


def level(ax: Axes, value: float, name: str) -> Axes:
    """A dashed, named line at a value that no point of the figure stands for."""
    ax.axhline(value, ls="--", color="#444444", lw=1)
    ax.annotate(name, (0.99, value), xycoords=("axes fraction", "data"), va="bottom", ha="right", fontsize=8)
    return ax


def panels(table: pd.DataFrame, axes: np.ndarray, *, rows: str, columns: str, draw: Callable) -> np.ndarray:
    """The axes [row, column], each drawn by `draw(part, ax)` for one value of `rows` and one of `columns`.

    Column names stand above the first row, row names left of the first column; axis names only at the edges.
    """
    for i, row in enumerate(table[rows].unique()):
        for j, column in enumerate(table[columns].unique()):
            ax = axes[i, j]
            draw(table[(table[rows] == row) & (table[columns] == column)], ax)
            ax.set_title(str(column) if i == 0 else "")
            ax.set_ylabel(f"{row}\n{ax.get_ylabel()}" if j == 0 else "")
            ax.set_xlabel(ax.get_xlabel() if i == len(axes) - 1 else "")
    return axes


def estimates(table: pd.DataFrame, ax: Axes, *, y: str, x: str, by: str = "", reference: float = 0.0) -> Axes:
    """A mark with its interval (low, high) in the row of each y, numbers at the right; levels of `by` lie side by side.

    Rows come in order of appearance, first on top; names of levels stand above the axis.
    """
    names, groups = list(dict.fromkeys(table[y])), list(table.groupby(by, sort=False)) if by else [("", table)]
    for i, (level, part) in enumerate(groups):
        place = -part[y].map(names.index) - 0.3 * (i - (len(groups) - 1) / 2)
        colour = COLOURS[i % len(COLOURS)]
        ax.hlines(place, part.low, part.high, color=colour, lw=1.6)
        ax.plot(part[x], place, ls="", marker=MARKERS[i % len(MARKERS)], ms=4, mew=0, color=colour, label=str(level))
        for at, value in zip(-part[y].map(names.index), part[x]):
            text = f"{value:+.2f}" if abs(value) >= 0.005 else "0"
            ax.annotate(text, (1, at), (6 + 30 * i, 0), ax.get_yaxis_transform(), "offset points", color=colour,
                        va="center", fontsize=7.5)  # fmt: skip
    ax.axvline(reference, ls=":", color="#444444", lw=1)
    ax.set_yticks(-np.arange(len(names)), names)
    ax.set(xlabel=x, ylim=(-len(names) + 0.4, 0.6))
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", "\N{MINUS SIGN}"))  # 0, not 0.000
    if by:
        ax.legend(ncols=len(groups), fontsize=8, loc="lower left", bbox_to_anchor=(0, 1.0), borderaxespad=0)
    return ax


def forest(table: pd.DataFrame, ax: Axes, *, y: str, x: str, sure: str, reference: float = 0.0) -> Axes:
    """A mark in the row of each y with two intervals: thick from low to high, thin from low_family to high_family.

    Where `sure` is False the mark is hollow and all is grey; the number stands at the right. Rows as they come.
    """
    for place, row in zip(-np.arange(len(table)), table.to_dict("records")):
        colour = COLOURS[0] if row[sure] else GREY
        ax.hlines(place, row["low_family"], row["high_family"], color=colour, lw=0.8)
        ax.hlines(place, row["low"], row["high"], color=colour, lw=2.4)
        ax.plot(row[x], place, ls="", marker="o", ms=5, mec=colour, mfc=colour if row[sure] else "white", mew=1.2)
        ax.annotate(f"{row[x]:+.2f}", (1, place), (3, 0), ax.get_yaxis_transform(), "offset points", va="center",
                    fontsize=7.5, color=colour if row[sure] else "#777777")  # fmt: skip
    ax.axvline(reference, ls=":", color="#444444", lw=1)
    ax.set_yticks(-np.arange(len(table)), table[y])
    ax.set(xlabel=x, ylim=(-len(table) + 0.4, 0.6))
    return ax


def ranks(table: pd.DataFrame, ax: Axes, *, x: str, y: str, name: str, sure: str) -> Axes:
    """A line for each name over the columns of x, at its rank y in each, 1 on top; lines that cross disagree.

    Where `sure` is False the mark is hollow, and lines to it are pale. Names stand at the right end, one above the
    other where ranks are tied.
    """
    columns, shade = list(dict.fromkeys(table[x])), colours(table[name])
    for label, part in table.groupby(name, sort=False):
        at = part[x].map(columns.index)
        known = part[sure].to_numpy()
        for i, both in enumerate(known[:-1] & known[1:]):
            ends = slice(i, i + 2)
            ax.plot(at.iloc[ends], part[y].iloc[ends], color=shade[label], lw=1.8, alpha=1 if both else 0.25, zorder=1)
        for place, rank, known in zip(at, part[y], part[sure]):
            ax.plot(place, rank, marker="o", ms=6.5, mec=shade[label], mew=1.6, mfc=shade[label] if known else "white")
    tied = table[table[x] == columns[-1]].sort_values([y, name]).groupby(y)
    for rank, ends in tied:
        for i, label in enumerate(ends[name]):
            at = rank + 0.34 * (i - (len(ends) - 1) / 2)
            ax.text(len(columns) - 0.8, at, label, color=shade[label], va="center", fontsize=8)
    most = int(np.ceil(table[y].max()))
    ax.set_xticks(range(len(columns)), columns, fontsize=7)
    ax.set_yticks(range(1, most + 1))
    ax.set(xlim=(-0.3, len(columns) + 0.35), ylim=(most + 0.4, 0.6))
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return ax


def tested(table: pd.DataFrame, ax: Axes, *, rows: str, columns: str, value: str, p: str, level: float = 0.05) -> Axes:
    """A matrix of correlations, purple below and orange above 0; those with p at `level` or over are grey."""
    limits = (-1, 1)
    heatmap(table, ax, rows=rows, columns=columns, value=value, limits=limits, cmap="PuOr_r", numbers=False)
    at = [list(table[name].unique()) for name in (rows, columns)]
    for row, column, x, chance in table[[rows, columns, value, p]].itertuples(index=False):
        sure = chance < level
        if np.isfinite(x):
            place = at[1].index(column), at[0].index(row)
            shade = "#777777" if not sure else "white" if abs(x) > 0.7 else "black"
            if not sure:
                ax.add_patch(Rectangle((place[0] - 0.5, place[1] - 0.5), 1, 1, fc="#EEEEEE", ec="white", lw=0.7))
            ax.text(*place, f"{x:+.2f}", ha="center", va="center", color=shade, fontsize=8.5 if sure else 7.5)
    return ax


def best_sources(table: pd.DataFrame, axes: np.ndarray, *, x: str, y: str, title: str = "target") -> np.ndarray:
    """Small panels, one for each target: a dot for each source, the best one coloured and named."""
    flat = np.ravel(axes)
    for ax, (name, part) in zip(flat, table.groupby(title)):
        best = part.loc[part[y].idxmax()]
        ax.plot(part[x], part[y], ls="", marker="o", ms=2.5, mew=0, color=GREY)
        ax.plot(best[x], best[y], ls="", marker="D", ms=4.5, mew=0, color=COLOURS[1])
        right = best[x] > part[x].median()
        ax.annotate(best["source"], (best[x], best[y]), (-5 if right else 5, 0), textcoords="offset points",
                    ha="right" if right else "left", va="center", fontsize=7, color=COLOURS[1])  # fmt: skip
        ax.set_title(str(name), fontsize=8)
        ax.tick_params(labelsize=6.5)
    for ax in flat[table[title].nunique() :]:
        ax.axis("off")
    return axes
