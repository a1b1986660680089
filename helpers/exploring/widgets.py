"""Controls and pictures for JupyterLab: a slider over finished maps, and the parts that the dashboard is made of.

Each map keeps its figure, with one line of marks per group: a move sets those lines and encodes that map alone.
Values that arrive while it draws replace one another, so the picture never lags behind the hand.
"""

import asyncio
from collections.abc import Callable, Sequence
from html import escape
from io import BytesIO

import ipywidgets
import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from helpers.drawing import maps
from helpers.embeddings.projection import interpolated

_DPI = 110
_LABEL = {"description_width": "66px"}  # of every control, so that sliders begin below one another
_BREATH = 0.02  # seconds between two steps, in which messages are read
_boxes: dict[str, ipywidgets.Widget] = {}  # the box that stands under each name, to be closed when it is built again


def strength_slider(
    points: pd.DataFrame, metrics: pd.DataFrame, *, by: str = "family", shade: str = ""
) -> ipywidgets.VBox:
    """Return a box of two maps, before and at the slider's strength, with the metrics in words below.

    `points` is table[strength, (keys), x, y, ...] with the same rows at every strength, strength 0 among them; `by`
    names the column of groups, `shade` that of their colours. `metrics` is table[strength, metric, value]: those of the
    nearest strength measured are read, never guessed between two. The slider takes arrow keys and is linked to a
    number field; a slider built earlier is closed. Raise ValueError for points without strength 0.
    """
    grid = np.unique(points["strength"])
    if 0 not in grid:
        raise ValueError(f"points at {len(grid)} strengths from {grid[0]:g} to {grid[-1]:g} but none at 0; add them")
    maps, words = Maps(0.0, grid, (4.4, 4.0)), ipywidgets.HTML()

    def draw() -> None:
        maps.show(1)
        words.value = f"<p role='status'>{escape(_sentence(points, metrics, by, maps.slider.value))}</p>"

    maps.stage(points, by, shade=shade)
    draw()
    maps.slider.observe(rested([draw], pause=0), "value")
    return kept("strength", ipywidgets.VBox([maps.control, ipywidgets.HBox(maps.images), words]))


class Maps:
    """Two maps of the same points, untouched and at the strength of a slider, each on a figure that pyplot drops.

    `control` holds the slider and a number field linked to it, `images` show the maps; `rings`, where it is set, is a
    function of the points of a map to those that get a ring.
    """

    def __init__(self, strength: float, grid: Sequence[float], inches: tuple[float, float]) -> None:
        self.inches, self.rings = inches, None
        limits = dict(value=strength, min=min(grid), max=max(grid), step=0.05, description="strength", style=_LABEL)
        self.slider = ipywidgets.FloatSlider(**limits, readout=False, layout={"width": "300px"})
        self.control = ipywidgets.HBox([self.slider, ipywidgets.BoundedFloatText(**limits, layout={"width": "150px"})])
        ipywidgets.link(*((part, "value") for part in self.control.children))
        size = dict(zip(("width", "height"), (f"{round(side * _DPI)}px" for side in inches)))
        self.images = [ipywidgets.Image(format="png", layout=size) for _ in range(2)]
        for part, name in zip((*self.images, self.control), ("before", "after", "strength")):
            part.add_class(f"isogloss-{name}")

    def stage(self, points: pd.DataFrame, by: str, **looks) -> None:
        """Start both maps anew, within the limits of all strengths; `looks` are options of `maps.map_points`."""
        self.points, self.by, self.axes = points, by, []
        for _ in self.images:
            figure = Figure(self.inches, dpi=_DPI, layout="none")
            FigureCanvasAgg(figure)
            self.axes.append(maps.map_points(points, figure.add_axes((0.01, 0.01, 0.98, 0.91)), by=by, **looks))
        self.show(0, 1)

    def show(self, *places: int) -> None:
        """Move the marks and rings of the maps named, 0 before and 1 after, and encode these maps."""
        for place in places:
            strength, ax = self.slider.value if place else 0.0, self.axes[place]
            points = interpolated(self.points, strength)
            maps.move_points(points, ax, by=self.by).set_title(f"after: strength {strength:.2f}" if place else "before")
            if self.rings:
                maps.mark_points(self.rings(points), ax)
            buffer = BytesIO()
            ax.figure.canvas.print_png(buffer, pil_kwargs={"compress_level": 1})  # the way to the browser is short
            self.images[place].value = buffer.getvalue()


class Knob(ipywidgets.HBox):
    """A labelled slider beside a menu of the same options: arrow keys turn the one, a mouse opens the other.

    JupyterLab takes the arrow keys of a menu for its cells, and letters for its commands; those of a slider it leaves.
    """

    def __init__(self, name: str, options: Sequence, value: object) -> None:
        layout = {"width": "200px"}
        self.slider = ipywidgets.IntSlider(readout=False, continuous_update=False, layout=layout, style=_LABEL)
        self.menu = ipywidgets.Dropdown(layout={"width": "120px"})
        super().__init__([self.slider, self.menu], layout={"margin": "0 14px 0 0"})
        self.add_class(f"isogloss-{name}")
        self.offer(name, options, value)
        ipywidgets.link((self.menu, "index"), (self.slider, "value"))

    @property
    def value(self) -> object:
        """The option that is chosen."""
        return self.menu.value

    def offer(self, name: str, options: Sequence, value: object) -> None:
        """Give the knob this name and these options or (label, option) pairs, and set it to one of them."""
        self.slider.description, self.menu.options = name, options
        self.slider.max = max(1, len(options) - 1)
        self.slider.disabled = self.menu.disabled = len(options) == 1
        self.menu.value = value


def rested(steps: Sequence[Callable[[], None]], pause: float = 0.5) -> Callable[[dict], None]:
    """Return an observer that takes the steps one by one once `pause` seconds have passed without a new value.

    A value that arrives between two steps starts them over, so that slow steps hold the hand up for one of them at
    most. Without a pause they are taken once the messages at hand are read; where no loop runs, at once.
    """
    waiting: list[asyncio.Task] = []

    async def take() -> None:
        await asyncio.sleep(pause)
        for step in steps:
            step()
            await asyncio.sleep(_BREATH)

    def observe(_: dict) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            for step in steps:
                step()
        else:
            for task in waiting:
                task.cancel()
            waiting[:] = [loop.create_task(take())]

    return observe


def kept(name: str, box: ipywidgets.Box) -> ipywidgets.Box:
    """Return the box, and close the one that stood under that name before, which the kernel would keep for ever."""
    left = [_boxes.pop(name)] if name in _boxes else []
    while left:
        widget = left.pop()
        left += getattr(widget, "children", ())
        widget.close()
    _boxes[name] = box
    return box


def _sentence(points: pd.DataFrame, metrics: pd.DataFrame, by: str, strength: float) -> str:
    """What the two maps show, in words and numbers, for those who do not see them."""
    count = (points["strength"] == 0).sum()
    shown = f"Two maps of {count:,} points in {points[by].nunique()} groups by {by}: untouched, and at {strength:.2f}."
    near = metrics["strength"].iloc[(metrics["strength"] - strength).abs().argmin()]
    said = (f"{row.metric} {row.value:.3g}" for row in metrics[metrics["strength"] == near].itertuples())
    return f"{shown} Measured at {near:g}: {', '.join(said)}."
