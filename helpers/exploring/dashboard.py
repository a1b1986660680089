"""A surface to explore on: two linked maps under the hand, with the sentence, the metrics and the text beside them.

One idea: the hand comes first. The map follows the slider at once, between strengths that are already laid out; what
takes a pass through the model (metrics, neighbours, text) is measured at exactly that strength when the hand rests.
Nothing is known here: an `Explorer` answers, and this module lays its answers out.
"""

from collections.abc import Callable, Sequence
from functools import partial
from html import escape

import ipywidgets
import pandas as pd
from matplotlib.axes import Axes

from helpers.drawing import charts
from helpers.embeddings.projection import interpolated
from helpers.exploring import findings
from helpers.exploring.explorer import Explorer, Setting
from helpers.exploring.widgets import LABEL, Knob, encoded, image, kept, newest, rested, stage
from helpers.steering import methods

GLYPHS = dict(zip(charts.MARKERS, "●■▲◆▼✚✖★"))
_NEAR = 5  # neighbours shown
_TEXTS = 4  # texts shown
_TOLD = ("status", "key", "metrics", "chosen", "neighbours", "texts")  # classes, for styles and tests
_LONG = 90  # characters of a sentence in a menu or a table


def explore(
    explorer: Explorer,
    start: Setting,
    *,
    strength: float = 1.0,
    colours: Sequence[str] = ("family", "language", "topic", "script"),
    inches: tuple[float, float] = (3.1, 3.3),
    name: str = "explore",
) -> ipywidgets.VBox:
    """A box of controls, two maps, and beside them the metrics, the chosen sentence's neighbours and what is written.

    It starts at a setting and strength of the explorer; `colours` are columns of its table, of which those with one
    value only are left out. All controls take the keyboard: Tab goes on, the arrow keys turn a slider. A setting that
    a method refuses is told in words, and the maps stay. A box of the same `name` built earlier is closed.
    """
    told = [colour for colour in colours if explorer.table[colour].nunique() > 1] or ["language"]
    return kept(name, _Surface(explorer, start, strength, told, inches).box)


class _Surface:
    """The widgets, the two axes, and what each change of a control draws and measures anew."""

    def __init__(self, explorer: Explorer, start: Setting, strength: float, colours: list[str], inches: tuple) -> None:
        self.explorer, self.inches = explorer, inches
        self._controls(start, strength, colours)
        told = [ipywidgets.HTML() for _ in _TOLD]
        self.status, self.key, self.metrics, self.about, self.near, self.texts = told
        self._stage()
        self.images = [image(ax.figure) for ax in self.axes]
        for part, kind in zip((*self.images, *told), ("before", "after", *_TOLD)):
            part.add_class(f"isogloss-{kind}")
        self._measure(self._numbers, self._neighbours, self._write)
        self._observe()
        self._lay_out()

    # --- controls -----------------------------------------------------------------------------------------------------

    def _controls(self, start: Setting, strength: float, colours: list[str]) -> None:
        table, explorer = self.explorer.table, self.explorer
        self.toward = Knob("toward", explorer.fitting.languages, start.toward)
        self.method = Knob("method", [(name.replace("_", " "), name) for name in methods.METHODS], start.method)
        self.size = Knob("size", [start.size], start.size)
        self._offer_sizes(start.size)
        self.layer = Knob("layer", explorer.layers, start.layer)
        self.colour = Knob("colour", colours, colours[0])
        self.language = Knob("language", list(table["language"].unique()), table["language"][0])
        heads = table.drop_duplicates("sentence")
        readable = heads["gloss"].where(heads["gloss"] != "", heads["text"]) if "gloss" in table else heads["text"]
        named = [(_short(text), sentence) for text, sentence in zip(readable, heads["sentence"])]
        self.chosen = Knob("sentence", named, named[0][1], width="460px")
        grid = explorer.strengths
        control = dict(value=strength, min=min(grid), max=max(grid), step=0.05)
        layout = {"width": "200px"}
        self.slider = ipywidgets.FloatSlider(
            **control, readout=False, description="strength", layout=layout, style=LABEL
        )
        self.field = ipywidgets.BoundedFloatText(**control, layout={"width": "120px"})
        ipywidgets.link((self.slider, "value"), (self.field, "value"))

    def _offer_sizes(self, wanted: int | None = None) -> None:
        """The sizes of the method: the one wanted, or the middle one, is chosen."""
        name, sizes = self.explorer.sizes(self.method.value)
        options = [(str(size) if size else "all units" if name else "none", size) for size in sizes]
        self.size.offer(name or "k", options, wanted if wanted in sizes else sizes[len(sizes) // 2])

    def _observe(self) -> None:
        measured = rested([partial(self._measure, part) for part in (self._numbers, self._neighbours, self._write)])
        reread = rested([partial(self._measure, self._neighbours)], pause=0.05)
        restage, recolour, move, ring = (
            newest(partial(self._guarded, draw)) for draw in (self._restage, self._recolour, self._move, self._ring)
        )
        self.method.menu.observe(lambda _: self._offer_sizes(), "value")
        for knob in (self.toward, self.method, self.size, self.layer):
            knob.menu.observe(restage, "value")
            knob.menu.observe(measured, "value")
        self.colour.menu.observe(recolour, "value")
        self.slider.observe(move, "value")
        self.slider.observe(measured, "value")
        for knob in (self.language, self.chosen):
            knob.menu.observe(ring, "value")
            knob.menu.observe(reread, "value")

    def _lay_out(self) -> None:
        row = partial(ipywidgets.Box, layout={"display": "flex", "flex_flow": "row wrap", "align_items": "center"})
        top = {"display": "flex", "flex_flow": "row wrap", "align_items": "flex-start", "grid_gap": "0 20px"}
        self.metrics.layout = {"max_width": "350px", "margin": "4px 0 12px 0"}  # beside the maps where there is room
        strength = ipywidgets.HBox([self.slider, self.field], layout={"margin": "0 14px 0 0"})
        strength.add_class("isogloss-strength")
        self.box = ipywidgets.VBox([
            row([self.toward, self.method, self.size, self.layer, self.colour, strength]),
            self.status,
            ipywidgets.Box([ipywidgets.VBox([ipywidgets.HBox(self.images), self.key]), self.metrics], layout=top),
            row([self.language, self.chosen]),
            self.about,
            self.near,
            self.texts,
        ])  # fmt: skip

    # --- what changes -------------------------------------------------------------------------------------------------

    @property
    def setting(self) -> Setting:
        """What the controls ask for now."""
        return Setting(self.toward.value, self.method.value, self.size.value, self.layer.value)

    def _guarded(self, draw: Callable[[], None], *_: object) -> None:
        """What goes wrong in a callback is shown nowhere in JupyterLab, so it is told here."""
        try:
            draw()
        except (ValueError, LookupError, RuntimeError) as error:
            self.status.value = _paragraph(f"{self.explorer.title(self.setting)}: {error}", "alert")

    def _restage(self) -> None:
        self.status.value = _paragraph(f"{self.explorer.title(self.setting)}: being laid out.")
        self.explorer.points(self.setting)
        self._recolour()

    def _recolour(self) -> None:
        self._stage()
        for shown, ax in zip(self.images, self.axes):
            shown.value = encoded(ax.figure)

    def _stage(self) -> None:
        """Both maps anew: other points, or other groups."""
        points, by = self.explorer.points(self.setting), self.colour.value
        self.points = points[[*dict.fromkeys(["strength", "language", "sentence", by, "x", "y"])]]  # few move quickly
        frame = dict(points=self.points, by=by, shade=by, inches=self.inches, names=by == "language")
        self.axes = [stage(**frame, title=title) for title in ("before", "")]
        marks = (f"<span style='color:{c};white-space:nowrap'>{GLYPHS[m]}&nbsp;{escape(str(name))}</span>"
                 for name, (c, m) in charts.looks(points[by]).items())  # fmt: skip
        width = f"{round(2 * self.inches[0] * 110)}px"
        self.key.value = f"<p style='max-width:{width};line-height:1.5'>{by}: {' &ensp; '.join(marks)}</p>"
        self._place(0.0, self.axes[0])
        self._place(self.slider.value, self.axes[1])
        self._tell()

    def _place(self, strength: float, ax: Axes) -> None:
        """The points and rings of an axis at a strength, without encoding anything."""
        points = interpolated(self.points, strength)
        charts.move_points(points, ax, by=self.colour.value)
        same = points[points["sentence"] == self.chosen.value]
        charts.mark_points(same.sort_values("language", key=lambda x: x != self.language.value, kind="stable"), ax)
        if ax is self.axes[1]:
            ax.set_title(f"after: strength {strength:.2f}")

    def _tell(self) -> None:
        count = f"{self.points.groupby('strength').size().iloc[0]:,} sentences"
        maps = f"Two maps of {count}: untouched, and at strength {self.slider.value:.2f}."
        rings = "Rings: the chosen sentence, large, and its translations."
        self.status.value = _paragraph(f"{self.explorer.title(self.setting)}. {maps} {rings}")

    def _move(self) -> None:
        self._place(self.slider.value, self.axes[1])
        self.images[1].value = encoded(self.axes[1].figure)
        self._tell()

    def _ring(self) -> None:
        for shown, ax, strength in zip(self.images, self.axes, (0.0, self.slider.value)):
            self._place(strength, ax)
            shown.value = encoded(ax.figure)

    # --- what is measured at rest -------------------------------------------------------------------------------------

    def _measure(self, *parts: Callable[[], None]) -> None:
        for part in parts:
            self._guarded(part)

    def _numbers(self) -> None:
        asked = self.setting, self.slider.value
        measured, price = self.explorer.measured(*asked), self.explorer.price(*asked)
        rows = pd.concat([part for part in (measured, price) if len(part)])
        cells = [(row.metric, f"{row.before:.3g}", f"{row.after:.3g}", _interval(row)) for row in rows.itertuples()]
        table = _table(("", "before", "after", "change\n[95\u00a0%]"), cells)
        mute = "" if self.explorer.writes else "An encoder reads but cannot write: no perplexity and no sample."
        head = f"<b>{escape(self.explorer.title(asked[0]))}, strength {asked[1]:.2f}</b>"
        self.metrics.value = f"{head}{table}{_paragraph(mute)}"

    def _neighbours(self) -> None:
        asked = self.setting, self.slider.value, self.language.value, self.chosen.value
        near, found = self.explorer.neighbours(*asked, k=_NEAR), self.explorer.found(*asked)
        own = self.explorer.table.query("language == @asked[2] and sentence == @asked[3]").iloc[0]
        counts = findings.translated(found).replace("**", "").replace("translation", "translation (✓)", 1)
        self.about.value = _paragraph(f"{own['language']}: {own['text']}. {counts}")
        sides = [[_described(row) for row in part.itertuples()] for _, part in near.groupby("when", sort=False)]
        rows = [(str(rank), *both) for rank, both in enumerate(zip(*sides), 1)]
        self.near.value = _table(("nearest", "before", f"after, strength {asked[1]:.2f}"), rows)

    def _write(self) -> None:
        asked = self.setting, self.slider.value
        texts = self.explorer.texts(*asked).head(_TEXTS)
        rows = [(_short(row.before), _short(row.after)) for row in texts.itertuples()]
        head = "<b>What it writes</b>, from the same draws"
        self.texts.value = f"{head}{_table(('before', 'after'), rows)}" if rows else ""


def _paragraph(text: str, role: str = "status") -> str:
    return f"<p role='{role}'>{escape(text)}</p>" if text else ""


def _interval(row: object) -> str:
    return f"{row.change:+.2f}" + (f"\n[{row.low:+.2f},\u00a0{row.high:+.2f}]" if row.low == row.low else "")


def _described(row: object) -> str:
    """A neighbour: whether it is the translation, its language, its text and what it means."""
    gloss = getattr(row, "gloss", "")
    means = f" ({_short(gloss)})" if gloss and gloss != row.text else ""
    return f"{'✓' if row.translation else '·'} {row.language}  {_short(row.text)}{means}"


def _short(text: str) -> str:
    return text if len(text) <= _LONG else f"{text[: _LONG - 1]}…"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A plain HTML table, all text escaped."""
    cell = "style='text-align:left;padding:1px 14px 1px 0;line-height:1.45;vertical-align:top;white-space:pre-line'"
    lines = [f"<tr>{''.join(f'<th scope=col {cell}>{escape(name)}</th>' for name in head)}</tr>"]
    lines += [f"<tr>{''.join(f'<td {cell}>{escape(text)}</td>' for text in row)}</tr>" for row in rows]
    return f"<table style='border-collapse:collapse'>{''.join(lines)}</table>"
