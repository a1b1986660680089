"""Sliders over finished tables: the strength of an edit under the hand, the map and its metrics beside it.

One idea: build once, then change as little as possible. Each panel keeps its figure, with one line of marks per group;
a move of the slider sets the lines of the right panel, and only that panel is encoded anew. Values that arrive while it
draws replace one another, so the picture never lags behind the hand.
"""

import asyncio
from collections.abc import Callable
from html import escape
from io import BytesIO

import ipywidgets
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from helpers import plots
from helpers.projection import interpolated

_shown: dict[str, ipywidgets.Widget] = {}  # the box that stands under each name, to be closed when it is built again


def strength_slider(
    points: pd.DataFrame,
    metrics: pd.DataFrame | None = None,
    *,
    by: str = "family",
    shade: str = "",
    start: float = 0.0,
    step: float = 0.05,
    inches: tuple[float, float] = (4.4, 4.0),
    name: str = "strength",
) -> ipywidgets.VBox:
    """A box of two maps, before and at the slider's strength, with the metrics in words below.

    `points` is table[strength, (keys), x, y, ...] with the same rows at every strength, strength 0 among them; `by`
    names the column of groups, `shade` that of their colours. `metrics` is table[strength, metric, value]: those of the
    nearest strength measured are read, never guessed between two. The slider takes arrow keys and is linked to a
    number field. A box of the same `name` built earlier is closed. ValueError: points without strength 0.
    """
    grid = np.unique(points["strength"])
    if 0 not in grid:
        raise ValueError(f"points at {len(grid)} strengths from {grid[0]:g} to {grid[-1]:g} but none at 0; add them")
    _close(name)
    frame = dict(points=points, by=by, shade=shade, inches=inches)
    left, right = _panel(**frame, title="before: strength 0.00"), _panel(**frame, title="")
    words = ipywidgets.HTML()
    control = dict(value=start, min=grid[0], max=grid[-1], step=step, description=name)
    slider = ipywidgets.FloatSlider(**control, readout=False, layout={"width": "420px"})
    field = ipywidgets.BoundedFloatText(**control, layout={"width": "180px"})
    ipywidgets.link((slider, "value"), (field, "value"))

    def draw(strength: float) -> None:
        plots.move_points(interpolated(points, strength), right[0], by=by)
        right[0].set_title(f"after: {name} {strength:.2f}")
        right[1].value = _encoded(right[0].figure)
        words.value = f"<p role='status'>{escape(_sentence(points, metrics, by, strength))}</p>"

    draw(slider.value)
    slider.observe(_newest(draw), "value")
    left[1].add_class("isogloss-before")
    right[1].add_class("isogloss-after")
    controls, maps = ipywidgets.HBox([slider, field]), ipywidgets.HBox([left[1], right[1]])
    _shown[name] = ipywidgets.VBox([controls, maps, words])
    return _shown[name]


def _panel(
    points: pd.DataFrame, *, by: str, shade: str, inches: tuple[float, float], title: str
) -> tuple[Axes, ipywidgets.Image]:
    """A map of the untouched points within the limits of all strengths, and the image that shows it."""
    figure = Figure(inches, dpi=110, layout="none")  # a figure of its own, which pyplot does not keep
    FigureCanvasAgg(figure)
    ax = plots.map_points(points, figure.add_axes((0.01, 0.01, 0.98, 0.91)), by=by, shade=shade)
    plots.move_points(points[points["strength"] == 0], ax, by=by)
    ax.set_title(title)
    width, height = (f"{round(side * figure.dpi)}px" for side in inches)
    return ax, ipywidgets.Image(value=_encoded(figure), format="png", layout={"width": width, "height": height})


def _encoded(figure: Figure) -> bytes:
    """The figure as a PNG, packed lightly: the way to the browser is short."""
    buffer = BytesIO()
    figure.canvas.print_png(buffer, pil_kwargs={"compress_level": 1})
    return buffer.getvalue()


def _sentence(points: pd.DataFrame, metrics: pd.DataFrame | None, by: str, strength: float) -> str:
    """What the two maps show, in words and numbers, for those who do not see them."""
    count = (points["strength"] == 0).sum()
    shown = f"Two maps of {count:,} points in {points[by].nunique()} groups by {by}: untouched, and at {strength:.2f}."
    if metrics is None or metrics.empty:
        return shown
    near = min(metrics["strength"].unique(), key=lambda measured: abs(measured - strength))
    here = metrics[metrics["strength"] == near]
    return f"{shown} Measured at {near:g}: {', '.join(f'{m} {v:.3g}' for m, v in zip(here['metric'], here['value']))}."


def _newest(draw: Callable[[float], None]) -> Callable[[dict], None]:
    """An observer that draws the newest value once the messages at hand are read; at once where no loop runs."""
    waiting: list[float] = []

    def finish() -> None:
        if waiting:
            draw(waiting.pop())

    def observe(change: dict) -> None:
        idle = not waiting
        waiting[:] = [change["new"]]
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            finish()
        else:
            if idle:
                loop.call_soon(finish)

    return observe


def _close(name: str) -> None:
    """Close the box of that name and all in it: the kernel keeps every widget that is left open."""
    left = [_shown.pop(name)] if name in _shown else []
    while left:
        widget = left.pop()
        left += getattr(widget, "children", ())
        widget.close()
