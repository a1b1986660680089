"""Sliders over finished tables: the strength of an edit under the hand, the map and its metrics beside it.

One idea: build once, then change as little as possible. Each panel keeps its figure, with one line of marks per group;
a move of the slider sets the lines of the right panel, and only that panel is encoded anew. Values that arrive while it
draws replace one another, so the picture never lags behind the hand.
"""

import asyncio
from collections.abc import Callable, Sequence
from html import escape
from io import BytesIO
from typing import Any

import ipywidgets
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from helpers.drawing import charts
from helpers.embeddings.projection import interpolated

LABEL = {"description_width": "66px"}  # of every control, so that sliders begin below one another
_BREATH = 0.02  # seconds between two steps, in which messages are read
_boxes: dict[str, ipywidgets.Widget] = {}  # the box that stands under each name, to be closed when it is built again


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
    frame = dict(points=points, by=by, shade=shade, inches=inches)
    before, after = stage(**frame, title="before: strength 0.00"), stage(**frame, title="")
    left, right = image(before.figure), image(after.figure)
    words = ipywidgets.HTML()
    control = dict(value=start, min=grid[0], max=grid[-1], step=step, description=name)
    slider = ipywidgets.FloatSlider(**control, readout=False, layout={"width": "420px"})
    field = ipywidgets.BoundedFloatText(**control, layout={"width": "180px"})
    ipywidgets.link((slider, "value"), (field, "value"))

    def draw(strength: float) -> None:
        charts.move_points(interpolated(points, strength), after, by=by)
        after.set_title(f"after: {name} {strength:.2f}")
        right.value = encoded(after.figure)
        words.value = f"<p role='status'>{escape(_sentence(points, metrics, by, strength))}</p>"

    draw(slider.value)
    slider.observe(newest(draw), "value")
    left.add_class("isogloss-before")
    right.add_class("isogloss-after")
    controls, maps = ipywidgets.HBox([slider, field]), ipywidgets.HBox([left, right])
    return kept(name, ipywidgets.VBox([controls, maps, words]))


class Knob(ipywidgets.HBox):
    """A labelled slider beside a menu of the same options: arrow keys turn the one, a mouse opens the other.

    JupyterLab takes the arrow keys of a menu for its cells, and letters for its commands; those of a slider it leaves.
    """

    def __init__(self, name: str, options: Sequence, value: object, *, width: str = "120px") -> None:
        layout = {"width": "200px"}
        self.slider = ipywidgets.IntSlider(readout=False, continuous_update=False, layout=layout, style=LABEL)
        self.menu = ipywidgets.Dropdown(layout={"width": width})
        super().__init__([self.slider, self.menu], layout={"margin": "0 14px 0 0"})
        self.add_class(f"isogloss-{name}")
        self.offer(name, options, value)
        ipywidgets.link((self.menu, "index"), (self.slider, "value"))

    @property
    def value(self) -> object:
        """The option that is chosen."""
        return self.menu.value

    def offer(self, name: str, options: Sequence, value: object) -> None:
        """Nothing; the knob now has this name, these options or (label, option) pairs, and is set to one of them."""
        self.slider.description, self.menu.options = name, options
        self.slider.max = max(1, len(options) - 1)
        self.slider.disabled = self.menu.disabled = len(options) == 1
        self.menu.value = value


def stage(
    points: pd.DataFrame, *, by: str, shade: str, inches: tuple[float, float], title: str, names: bool = True
) -> Axes:
    """A map of the untouched points within the limits of all strengths, on a figure that pyplot does not keep."""
    figure = Figure(inches, dpi=110, layout="none")
    FigureCanvasAgg(figure)
    ax = charts.map_points(points, figure.add_axes((0.01, 0.01, 0.98, 0.91)), by=by, shade=shade, names=names)
    charts.move_points(points[points["strength"] == 0], ax, by=by)
    ax.set_title(title)
    return ax


def image(figure: Figure) -> ipywidgets.Image:
    """The figure as an image of its own size; set its `value` to `encoded(figure)` when the figure has changed."""
    width, height = (f"{round(side * figure.dpi)}px" for side in figure.get_size_inches())
    return ipywidgets.Image(value=encoded(figure), format="png", layout={"width": width, "height": height})


def encoded(figure: Figure) -> bytes:
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


def newest(draw: Callable[[Any], None]) -> Callable[[dict], None]:
    """An observer that draws the newest value once the messages at hand are read; at once where no loop runs."""
    waiting: list = []

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


def rested(steps: Sequence[Callable[[], None]], pause: float = 0.5) -> Callable[[dict], None]:
    """An observer that takes the steps one by one once `pause` seconds have passed without a new value.

    A value that arrives between two steps starts them over, so that slow steps hold the hand up for one of them at
    most. Where no loop runs all are taken at once.
    """
    waiting: list[asyncio.TimerHandle] = []

    def take(loop: asyncio.AbstractEventLoop, place: int) -> None:
        steps[place]()
        if place + 1 < len(steps):
            waiting[:] = [loop.call_later(_BREATH, take, loop, place + 1)]

    def observe(change: dict) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            for step in steps:
                step()
        else:
            for handle in waiting:
                handle.cancel()
            waiting[:] = [loop.call_later(pause, take, loop, 0)]

    return observe


def kept(name: str, box: ipywidgets.Box) -> ipywidgets.Box:
    """The box, which now stands under that name; the one before it is closed with all that is in it.

    The kernel keeps every widget that is left open.
    """
    left = [_boxes.pop(name)] if name in _boxes else []
    while left:
        widget = left.pop()
        left += getattr(widget, "children", ())
        widget.close()
    _boxes[name] = box
    return box
