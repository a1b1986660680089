"""Charts: a long table and an axis in, the axis out, and nothing else.

Colours are Okabe and Ito's, which colour-blind readers can tell apart; beyond eight groups, direct labels tell them
apart. Chance lines are dotted and named, unknown cells are hatched.
"""

from collections.abc import Callable, Sequence
from itertools import cycle, product

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D1F", "#4D4D4D"]
MARKERS = ["o", "s", "^", "D", "v", "P", "X", "*"]
LOOKS = [(colour, MARKERS[(i + turn) % 8]) for turn in range(8) for i, colour in enumerate(COLOURS)]
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
_CHANCE = dict(ls=":", color="#444444", lw=1)


def style() -> None:
    """Give the figures drawn after this call the workbook's look."""
    there = set(font_manager.get_font_names())
    mpl.rcParams.update(STYLE | {"font.family": [name for name in FONTS if name in there] or ["sans-serif"]})


def looks(groups: Sequence[str]) -> dict[str, tuple[str, str]]:
    """A colour and a mark for each distinct group, in order of appearance; no two alike among the first 64."""
    return dict(zip(dict.fromkeys(groups), cycle(LOOKS)))


def colours(groups: Sequence[str]) -> dict[str, str]:
    """A colour for each distinct group, in order of appearance."""
    return dict(zip(dict.fromkeys(groups), cycle(COLOURS)))


def legend(place: Axes | Figure, shade: dict[str, str], **options: object) -> None:
    """Add a plain key of colours to an axis or a figure; direct labels are better where they fit."""
    handles = [Patch(color=colour, label=name) for name, colour in shade.items()]
    place.legend(handles=handles, **{"fontsize": 8} | options)


def _legend_above(ax: Axes, entries: int) -> None:
    """A key in one line between the title and the axis, close enough to fit a panel of half a page."""
    close = dict(columnspacing=0.9, handletextpad=0.2, handlelength=1.2, borderaxespad=0, borderpad=0)
    ax.legend(ncols=entries, fontsize=7.5, loc="lower left", bbox_to_anchor=(0, 1.01), **close)


def tree(table: pd.DataFrame, ax: Axes, *, label: str = "language") -> Axes:
    """Families as small trees, one leaf a row: table[language, family, branch], branch a word of turns (0 or 1)."""
    rows, depth = table.reset_index(drop=True), table.branch.str.len().max()
    for family, colour in colours(rows.family).items():
        leaves = rows[rows.family == family]
        _branch(leaves.branch, "", ax, depth, dict(color=colour, lw=1.4))
        for y, name in leaves[label].items():
            ax.text(depth + 0.12, -y, name, va="center", color=colour, fontsize=8.5)
    ax.set(xlim=(-0.3, depth + 0.15), ylim=(-len(rows) + 0.3, 0.7))
    ax.axis("off")
    return ax


def _branch(words: pd.Series, path: str, ax: Axes, depth: int, line: dict) -> float:
    """Draw the leaves below a path of turns, and the line that leads to them; return its height."""
    here, turn = words[words.str.startswith(path)], len(path)
    height, end = -here.index[0], depth
    if len(here) > 1:
        ends = [_branch(here, path + way, ax, depth, line) for way in "01"]
        height, end = sum(ends) / 2, turn
        ax.plot([turn, turn], ends, **line)
    ax.plot([turn - (1 if path else 0.3), end], [height, height], **line)
    return height


def curves(
    table: pd.DataFrame, ax: Axes, *, x: str, y: str, by: str | None = None, low: str = "", high: str = "",
    chance: float | None = None, log: str = "", labels: bool = True,
) -> Axes:  # fmt: skip
    """Lines of y over x, one for each value of `by`, named at their right end; a band from `low` to `high`.

    `log` names the axes on a log scale: "x", which keeps 0, or "xy".
    """
    groups, ends = list(table.groupby(by, sort=False)) if by else [("", table)], []
    ordered = by and pd.api.types.is_numeric_dtype(table[by]) and len(groups) > 2
    palette = mpl.colormaps["cividis"](np.linspace(0, 0.85, len(groups))) if ordered else COLOURS
    for (name, part), colour, marker in zip(groups, cycle(palette), cycle(MARKERS)):
        part = part.sort_values(x)
        ax.plot(part[x], part[y], color=colour, marker=marker, ms=3.5)
        if low:
            ax.fill_between(part[x], part[low], part[high], color=colour, alpha=0.15, lw=0)
        ends.append((part[y].iloc[-1], f"{by} {name}" if ordered else str(name), colour))
    if "x" in log:
        ax.set_xscale("symlog", linthresh=max(1, table.loc[table[x] > 0, x].min()))
    elif pd.api.types.is_integer_dtype(table[x]):
        ax.locator_params(axis="x", integer=True, nbins=6)
    if "y" in log:
        ax.set_yscale("log")
    if chance is not None:
        ax.axhline(chance, **_CHANCE)
        ends.append((chance, "chance" if chance else "", _CHANCE["color"]))
    if labels:
        _end_labels(ax, [end for end in ends if end[1]])
    ax.set(xlabel=x, ylabel=y)
    return ax


def _end_labels(ax: Axes, ends: list[tuple[float, str, str]]) -> None:
    """Names right of the axis at the height of (y, name, colour), pushed apart so that none covers another."""
    to_axis, last = ax.transData + ax.transAxes.inverted(), -np.inf
    gap = max(0.07, 0.13 * ax.figure.dpi / ax.bbox.height)  # the height of a line of text
    for y, name, colour in sorted(ends):
        last = max(to_axis.transform((ax.get_xlim()[0], y))[1], last + gap)
        ax.text(1.02, last, name, transform=ax.transAxes, va="center", fontsize=8, color=colour)


def heatmap(
    table: pd.DataFrame, ax: Axes, *, rows: str, columns: str, value: str, p: str = "", label: str = "",
    groups: dict[str, str] | None = None, limits: tuple | None = None, cmap: str = "cividis", numbers: bool = True,
    frame: str = "",
) -> Axes:  # fmt: skip
    """A matrix in order of appearance, NaN hatched, numbers written in up to 24 x 24 cells, `groups` ruled off.

    Where `p` names a column, cells with p of .05 or more are grey; where `frame` does, cells where it holds are framed.
    """
    across, down = table[columns].unique(), table[rows].unique()
    square = table.pivot(index=rows, columns=columns).reindex(down)
    cells = square[value].reindex(columns=down if {*across} == {*down} else across).astype(float)
    grey, size = square[p].reindex_like(cells) >= 0.05 if p else cells.isna(), max(cells.shape)
    low, high = limits or (np.nanmin(cells), np.nanmax(cells))
    form = "{:+.2f}" if p else "{:.0f}" if cells.abs().max(axis=None) >= 10 else "{:.2f}"
    texts = cells.map(form.format).replace({r"\b0\.": ".", r"\b1\.00": "1"}, regex=True)
    ax.patch.set(facecolor="#F2F2F2", edgecolor="#BBBBBB", hatch="////")
    ax.tick_params(length=0, labelsize=7.5 if size > 16 else 8.5)
    drawn = dict(annot=texts if numbers and size <= 24 else None, fmt="", ax=ax, rasterized=True,
                 xticklabels=size <= 60, yticklabels=size <= 60)  # fmt: skip
    bar, font = dict(shrink=0.8, pad=0.02, label=label or value), dict(size=np.clip(150 / size, 4.5, 8.5))
    shade = dict(vmin=low, vmax=high, cmap=cmap, cbar_kws=bar, annot_kws=font)
    sns.heatmap(cells, mask=cells.isna() | grey, **shade, **drawn)
    written = ax.collections[0].get_facecolors()[(cells.notna() & ~grey).to_numpy().ravel()]
    for text, colour in zip(ax.texts, written):  # seaborn writes white on orange
        text.set_color("white" if sns.utils.relative_luminance(colour) < 0.2 else "#262626")
    if p:
        sns.heatmap(cells, mask=~grey, cmap=["#EEEEEE"], cbar=False, annot_kws=font | {"color": "#777777"}, **drawn)
    for place in np.argwhere(square[frame].reindex_like(cells).eq(True).to_numpy()) if frame else ():
        ax.add_patch(Rectangle(place[::-1] + 0.05, 0.9, 0.9, fill=False, ec="#222222", lw=1.4))
    for names, rule in ((cells.columns, ax.axvline), (cells.index, ax.axhline)):
        kinds = pd.factorize(names.map(groups or {}))[0]
        for i in np.flatnonzero(np.diff(kinds)):
            rule(i + 1, color="white", lw=2)
    ax.set(xlabel=columns, ylabel=rows)
    ax.tick_params(axis="y", rotation=0)
    room = 10 * ax.get_window_extent().width / ax.figure.dpi  # letters beside each other
    ax.tick_params(axis="x", rotation=90 if sum(len(str(name)) + 1 for name in cells.columns) > room else 0)
    return ax


def strips(table: pd.DataFrame, ax: Axes, *, x: str, y: str) -> Axes:
    """Every value as a dot in the column of its group; rows with `highlight` in colour and in front, the rest grey."""
    names, table = table[x].unique(), table.sort_values("highlight", kind="stable")
    at = pd.Categorical(table[x], names).codes + np.random.default_rng(0).uniform(-0.32, 0.32, len(table))
    shade = np.where(table.highlight, COLOURS[1], GREY)
    ax.scatter(at, table[y], s=5, color=shade, alpha=0.6, lw=0, rasterized=True)
    ax.set_xticks(range(len(names)), names, rotation=90 if len(names) > 12 else 0, fontsize=7.5)
    ax.set(ylabel=y)
    return ax


def dots(table: pd.DataFrame, ax: Axes, *, x: str, y: str, by: str, chance: float | None = None) -> Axes:
    """A mark for each category and level, levels told apart by colour and shape and named above the axis."""
    look = looks(table[by])
    shade, marks = map(list, zip(*look.values()))
    marked = dict(palette=shade, markers=marks, dodge=0.12 * (len(look) - 1) or False, ms=4.5, mew=0)
    sns.pointplot(table, x=x, y=y, hue=by, linestyle="none", errorbar=None, ax=ax, **marked)
    if chance is not None:
        ax.axhline(chance, **_CHANCE)
    ax.tick_params(axis="x", rotation=90 if table[x].drop_duplicates().str.len().sum() > 90 else 0, labelsize=7.5)
    _legend_above(ax, len(look))
    return ax


def short_sites(sites: Sequence[str]) -> list[str]:
    """Site names for an axis: the block's number and the linear's name, `model.layers.0.mlp.up_proj` as `0 up_proj`."""
    return pd.Series(sites).str.replace(r"^\D*\.(\d+)\.(?:mlp\.)?", r"\1 ", regex=True).tolist()


def frontier(table: pd.DataFrame, ax: Axes, *, label: str, level: float, name: str) -> Axes:
    """Globally centred top-1 against its `price`, called `label`: a mark for each method, those on the edge joined.

    A dashed line is named at the level of what no point stands for.
    """
    look, untouched = looks(table.method), table["global"] - table.gain_global
    ends = (untouched + table[f"{end}_global"] for end in ("low", "high"))
    ax.vlines(table.price, *ends, table.method.map(colours(table.method)), lw=0.7)
    for method, (colour, mark) in look.items():
        part = table[table.method == method]
        ax.plot(part.price, part["global"], mark, ms=5, mew=0, alpha=0.85, label=method, color=colour)
    edge = table[table.frontier].sort_values("price")
    ax.plot(edge.price, edge["global"], color="#222222", lw=0.8, zorder=1)
    ax.axhline(level, ls="--", color="#444444", lw=1)
    ax.text(0.99, level, name, transform=ax.get_yaxis_transform(), va="bottom", ha="right", fontsize=8)
    ax.legend(fontsize=7.5, loc="center left", bbox_to_anchor=(1.0, 0.5), ncols=1 + (len(look) > 18))
    if "perplexity" in label:
        ax.set_xscale("log")
    ax.set(xlabel=label, ylabel="globally centred top-1, last layer")
    return ax


def panels(table: pd.DataFrame, axes: np.ndarray, *, rows: str, columns: str, draw: Callable) -> np.ndarray:
    """The axes [row, column], each drawn by `draw(part, ax)` for one value of `rows` and one of `columns`.

    Column names stand above the first row, row names left of the first column; axis names only at the edges.
    """
    for ax, (row, column) in zip(axes.flat, product(table[rows].unique(), table[columns].unique())):
        draw(table[(table[rows] == row) & (table[columns] == column)], ax)
        ax.set(title=column, ylabel=f"{row}\n{ax.get_ylabel()}")
    for inner, edge in ((axes[1:], "title"), (axes[:, 1:], "ylabel"), (axes[:-1], "xlabel")):
        for ax in inner.flat:
            ax.set(**{edge: ""})
    return axes


def estimates(
    table: pd.DataFrame, ax: Axes, *, y: str, x: str, by: str = "", significant: str = "", strong: str = ""
) -> Axes:
    """A mark with its interval (low, high) in the row of each y, numbers at the right; levels of `by` lie side by side.

    Where `significant` names a column, a thin line runs from low_family to high_family, and rows without it are grey
    with a hollow mark; where `strong` does, marks without it are hollow too.
    """
    names, look = table[y].unique(), looks(table[by] if by else [""])
    for i, (level, (colour, mark)) in enumerate(look.items()):
        part = table[table[by] == level] if by else table
        rows = -pd.Categorical(part[y], names).codes
        clear = part[significant].astype(bool) if significant else part[x].notna()
        at, shade = rows - 0.3 * (i - (len(look) - 1) / 2), np.where(clear, colour, GREY)
        if significant:
            ax.hlines(at, part.low_family, part.high_family, shade, lw=0.8)
        ax.hlines(at, part.low, part.high, shade, lw=2.4 if significant else 1.6)
        face = np.where(clear & part[strong].astype(bool) if strong else clear, shade, "white")
        ax.scatter(part[x], at, 20, marker=mark, lw=0.8, ec=shade, fc=face, label=level, zorder=3)
        beside = dict(xycoords=ax.get_yaxis_transform(), textcoords="offset points", va="center", fontsize=7.5)
        for place, value, colour in zip(rows, part[x], shade):
            text = "0" if abs(value) < 0.005 else f"{value:+.2f}"
            ax.annotate(text, (1, place), (6 + 30 * i, 0), color=colour, **beside)
    ax.axvline(0, **_CHANCE)
    ax.set_yticks(-np.arange(len(names)), names)
    ax.set(xlabel=x, ylim=(-len(names) + 0.4, 0.6))
    ax.xaxis.set_major_formatter("{x:g}")  # 0, not 0.000
    if by:
        _legend_above(ax, len(look))
    return ax


def ranks(table: pd.DataFrame, ax: Axes, *, x: str, y: str, name: str, significant: str) -> Axes:
    """A line for each name over the columns of x, at its rank y in each, 1 on top, named at its right end.

    Where `significant` is False the mark is hollow, and lines to it are pale.
    """
    columns, shade, look = table[x].unique(), colours(table[name]), dict(lw=1.8, ms=6.5, mew=1.6)
    ax.set_prop_cycle(color=shade.values())
    places = table.pivot(index=x, columns=name, values=y).reindex(index=columns, columns=shade)
    clear = table[table[significant]].pivot(index=x, columns=name, values=y).reindex_like(places)
    ax.plot(places.to_numpy(), alpha=0.25, zorder=1, **look)
    ax.plot(places.to_numpy(), "o", mfc="white", **look)
    ax.plot(clear.to_numpy(), "o-", **look)  # a line where both ends are known
    last = places.iloc[-1].dropna().sort_index()
    for label, at in (last + 0.34 * (last.rank(method="first") - last.rank())).items():
        ax.text(len(columns) - 0.8, at, label, color=shade[label], va="center", fontsize=8)
    most = int(np.ceil(table[y].max()))
    ax.set_xticks(range(len(columns)), columns, fontsize=7)
    ax.set(xlim=(-0.3, len(columns) + 0.35), ylim=(most + 0.4, 0.6), yticks=range(1, most + 1))
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return ax


def best_sources(table: pd.DataFrame, axes: np.ndarray, *, x: str, y: str) -> np.ndarray:
    """Small panels, one for each target: a dot for each source, the best one coloured and named."""
    parts = table.groupby("target")
    for ax, (name, part) in zip(axes.flat, parts):
        best = part.loc[part[y].idxmax()]
        ax.plot(part[x], part[y], "o", ms=2.5, mew=0, color=GREY)
        ax.plot(best[x], best[y], "D", ms=4.5, mew=0, color=COLOURS[1])
        side = "right" if best[x] > part[x].median() else "left"
        ax.text(best[x], best[y], f"  {best.source}  ", ha=side, va="center", fontsize=7, color=COLOURS[1])
        ax.set_title(name, fontsize=8)
        ax.tick_params(labelsize=6.5)
    for ax in axes.flat[len(parts) :]:
        ax.axis("off")
    return axes
