"""A dashboard: two linked maps, with the chosen sentence, the metrics and the text beside them.

The map follows the slider at once, between strengths that are already laid out; what takes a pass through the model
(metrics, neighbours, text) is measured at exactly that strength when the hand rests. Nothing is computed here: an
`Explorer` answers, and this module lays its answers out.
"""

from collections.abc import Callable
from functools import partial
from html import escape

import ipywidgets
import pandas as pd

from helpers.drawing import charts
from helpers.exploring.explorer import Explorer, Setting
from helpers.exploring.widgets import Knob, Maps, kept, rested
from helpers.steering import methods

GLYPHS = dict(zip(charts.MARKERS, "●■▲◆▼✚✖★"))
COLOURS = ("family", "language", "topic", "script")  # columns offered, where they are there and vary
_INCHES = (3.1, 3.3)
_TEXTS = 4  # texts shown
_TOLD = ("status", "key", "metrics", "chosen", "neighbours", "texts")  # classes, for styles and tests
_LONG = 90  # characters of a sentence in a menu or a table


def explore(explorer: Explorer, start: Setting, *, strength: float = 1.0) -> ipywidgets.VBox:
    """Return a box of controls, two maps, the metrics, the chosen sentence's neighbours and what the model writes.

    It starts at a setting and strength of the explorer. All controls take the keyboard: Tab goes on, the arrow keys
    turn a slider. A setting that a method refuses is told in words, and the maps stay. A box built earlier is closed.
    """
    return kept("explore", _Dashboard(explorer, start, strength).box)


class _Dashboard:
    """The widgets, the two maps, and what each change of a control draws and measures anew."""

    def __init__(self, explorer: Explorer, start: Setting, strength: float) -> None:
        self.explorer, self.maps = explorer, Maps(strength, explorer.strengths, _INCHES)
        self.maps.rings, self.slider, self.shown = self._rings, self.maps.slider, (None, None)
        self.told = {name: ipywidgets.HTML() for name in _TOLD}
        for name, part in self.told.items():
            part.add_class(f"isogloss-{name}")
        self.knobs = {name: Knob(name, *choice) for name, choice in self._choices(start).items()}
        self.knobs["sentence"].menu.layout.width = "460px"
        self._offer_sizes(start.size)
        steps = [partial(self._guarded, x) for x in (self._draw, self._numbers, self._neighbours, self._write)]
        for step in (self._draw, *steps[1:]):
            step()
        self._observe(rested(steps[:1], pause=0), rested(steps[1:]), rested(steps[2:3], pause=0.05))

    def _choices(self, start: Setting) -> dict[str, tuple]:
        """The options of each control, and the one that it starts with."""
        table, heads = self.explorer.table, self.explorer.table.drop_duplicates("sentence")
        colours = [name for name in COLOURS if name in table and table[name].nunique() > 1] or ["language"]
        read = heads["gloss"].where(heads["gloss"] != "", heads["text"]).map(_short)
        return {
            "toward": (self.explorer.fitting.languages, start.toward),
            "method": ([(name.replace("_", " "), name) for name in methods.METHODS], start.method),
            "size": ([start.size], start.size),
            "layer": (self.explorer.layers, start.layer),
            "colour": (colours, colours[0]),
            "language": (list(table["language"].unique()), table["language"][0]),
            "sentence": (list(zip(read, heads["sentence"])), table["sentence"][0]),
        }

    def _offer_sizes(self, wanted: int | None = None) -> None:
        """Offer the sizes of the method: the one wanted, or the middle one, is chosen."""
        name, sizes = self.explorer.sizes(self.knobs["method"].value)
        options = [(str(size) if size else "all units" if name else "none", size) for size in sizes]
        self.knobs["size"].offer(name or "k", options, wanted if wanted in sizes else sizes[len(sizes) // 2])

    def _observe(self, draw: Callable, measured: Callable, reread: Callable) -> None:
        menus = {name: knob.menu for name, knob in self.knobs.items()}
        menus["method"].observe(lambda _: self._offer_sizes(), "value")
        for control in (self.slider, *menus.values()):
            control.observe(draw, "value")
        for control in (self.slider, *(menus[name] for name in Setting._fields)):
            control.observe(measured, "value")
        for name in ("language", "sentence"):
            menus[name].observe(reread, "value")

    @property
    def box(self) -> ipywidgets.VBox:
        """All parts, laid out in rows that wrap."""
        *knobs, language, sentence = self.knobs.values()
        status, key, metrics, *below = self.told.values()
        metrics.layout = {"max_width": "400px", "margin": "4px 0 12px 0"}  # beside the maps where there is room
        maps = ipywidgets.VBox([ipywidgets.HBox(self.maps.images), key])
        middle = ipywidgets.HBox([maps, metrics], layout={"flex_flow": "row wrap", "grid_gap": "0 20px"})
        row = partial(ipywidgets.HBox, layout={"flex_flow": "row wrap", "align_items": "center"})
        return ipywidgets.VBox([row([*knobs, self.maps.control]), status, middle, row([language, sentence]), *below])

    @property
    def setting(self) -> Setting:
        """What the controls ask for now."""
        return Setting(*(self.knobs[name].value for name in Setting._fields))

    def _guarded(self, draw: Callable[[], None]) -> None:
        """Draw; an error is told here, since JupyterLab shows nowhere what goes wrong in a callback."""
        try:
            draw()
        except (ValueError, LookupError, RuntimeError) as error:
            self._tell("status", f"{self.explorer.title(self.setting)}: {error}", "alert")

    def _tell(self, name: str, text: str, role: str = "status") -> None:
        self.told[name].value = f"<p role='{role}'>{escape(text)}</p>"

    def _draw(self) -> None:
        """Show the maps again: both anew where the points or groups are others, the right one where it only moves."""
        staged, ringed = ((*self.setting, self.knobs["colour"].value), self._chosen())
        title = self.explorer.title(self.setting)
        if staged != self.shown[0]:
            self._tell("status", f"{title}: being laid out.")
            self._stage(self.explorer.points(self.setting), staged[-1])
        else:
            self.maps.show(*([1] if ringed == self.shown[1] else [0, 1]))
        self.shown = staged, ringed
        maps = f"Two maps: untouched, and at strength {self.slider.value:.2f}"
        self._tell("status", f"{title}. {maps}. Rings: the chosen sentence, large, and its translations.")

    def _stage(self, points: pd.DataFrame, by: str) -> None:
        few = points[[*dict.fromkeys(["strength", "language", "sentence", by, "x", "y"])]]  # few columns move quickly
        self.maps.stage(few, by, names=by == "language")
        marks = (f"<span style='color:{c};white-space:nowrap'>{GLYPHS[m]}&nbsp;{escape(str(name))}</span>"
                 for name, (c, m) in charts.looks(points[by]).items())  # fmt: skip
        self.told["key"].value = f"<p style='max-width:680px;line-height:1.5'>{by}: {' &ensp; '.join(marks)}</p>"

    def _chosen(self) -> tuple:
        return self.knobs["language"].value, self.knobs["sentence"].value

    def _rings(self, points: pd.DataFrame) -> pd.DataFrame:
        """The chosen sentence first, and its translations."""
        language, sentence = self._chosen()
        same = points[points["sentence"] == sentence]
        return same.sort_values("language", key=lambda names: names != language, kind="stable")

    def _numbers(self) -> None:
        setting, strength = self.setting, self.slider.value
        mute = "" if self.explorer.writes else "<p>This model writes nothing: no perplexity and no sample.</p>"
        head = f"<b>{escape(self.explorer.title(setting))}, strength {strength:.2f}</b>"
        self.told["metrics"].value = f"{head}{_table(self.explorer.effects(setting, strength))}{mute}"

    def _neighbours(self) -> None:
        language, sentence = self._chosen()
        asked = self.setting, self.slider.value, language, sentence
        text = self.explorer.table.set_index(["language", "sentence"])["text"][language, sentence]
        counts = self.explorer.translated(*asked).replace("**", "").replace("translation", "translation (✓)", 1)
        self._tell("chosen", f"{language}: {text}. {counts}")
        near = self.explorer.neighbours(*asked)
        near["shown"] = [_described(row) for row in near.itertuples()]
        sides = near.pivot(index="rank", columns="when", values="shown").reset_index()[["rank", "before", "after"]]
        self.told["neighbours"].value = _table(sides.rename(columns={"after": f"after, strength {asked[1]:.2f}"}))

    def _write(self) -> None:
        texts = self.explorer.texts(self.setting, self.slider.value).head(_TEXTS)
        head = "<b>What it writes</b>, from the same draws"
        self.told["texts"].value = f"{head}{_table(texts.map(_short))}" if len(texts) else ""


def _described(row: object) -> str:
    """A neighbour: whether it is the translation, its language, its text and what it means."""
    means = f" ({_short(row.gloss)})" if row.gloss not in ("", row.text) else ""
    return f"{'✓' if row.translation else '·'} {row.language}  {_short(row.text)}{means}"


def _short(text: str) -> str:
    return text if len(text) <= _LONG else f"{text[: _LONG - 1]}…"


def _table(shown: pd.DataFrame) -> str:
    """A plain HTML table, all text escaped and whole."""
    with pd.option_context("display.max_colwidth", None):
        table = shown.to_html(index=False, border=0, justify="left", na_rep="", float_format="{:.3g}".format)
    return f"<div style='text-align:left'>{table}</div>"
