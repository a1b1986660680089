"""The dashboard, with its callbacks run at once: each control changes what it says, and nothing else."""

import asyncio
import re
from dataclasses import replace
from types import SimpleNamespace

import ipywidgets
import pandas as pd
import pytest

from helpers.exploring import dashboard, widgets
from helpers.exploring.explorer import Explorer, Setting
from helpers.steering.fitting import Fitting
from helpers.world import planted

START = Setting("loud", "overwrite", 2, 1)
LM, TABLE = planted.wired(sentences=30)


@pytest.fixture(scope="module")
def ask() -> Explorer:
    glossed = TABLE.assign(gloss=TABLE.text.str.replace(r"[a-z]+", "word ", regex=True), topic=TABLE.sentence.str[-1])
    return Explorer(
        LM,
        Fitting(LM, TABLE),
        glossed,
        ks=[2, 4],
        strengths=(0.0, 1.0),
        projection="pca",
        lexicon=_lexicon(),
        samples=3,
    )


def _lexicon() -> pd.DataFrame:
    forms = [(row.language, word) for row in TABLE.itertuples() for word in row.text.split()]
    return pd.DataFrame(forms, columns=["language", "form"]).drop_duplicates()


def _parts(box) -> SimpleNamespace:
    """Widgets by the class that names them."""
    found, left = {}, [box]
    while left:
        widget = left.pop()
        left += getattr(widget, "children", ())
        found |= {name.removeprefix("isogloss-"): widget for name in getattr(widget, "_dom_classes", ())}
    return SimpleNamespace(**found)


@pytest.fixture
def parts(ask) -> SimpleNamespace:
    return _parts(dashboard.explore(ask, START))


def _seen(parts: SimpleNamespace) -> dict:
    names = ("before", "after", "status", "key", "metrics", "chosen", "neighbours", "texts")
    return {name: getattr(parts, name).value for name in names}


def _changed(parts: SimpleNamespace, knob: str, value: object) -> set[str]:
    before, control = _seen(parts), getattr(parts, knob)
    (control.menu if hasattr(control, "menu") else control.children[0]).value = value
    return {name for name, shown in _seen(parts).items() if shown != before[name]}


def test_each_control_changes_what_it_says_and_nothing_else(parts):
    assert _changed(parts, "strength", 0.5) == {"after", "status", "metrics", "neighbours", "texts"}
    assert "strength 0.50" in parts.metrics.value and "after, strength 0.50" in parts.neighbours.value
    assert {"after", "before", "status", "metrics"} <= _changed(parts, "method", "erase")
    assert "erase, rank = 1, layer 1" in parts.status.value and parts.size.slider.description == "rank"
    assert _changed(parts, "colour", "topic") == {"before", "after", "key"}
    assert re.search("topic:.*●&nbsp;0", parts.key.value)
    assert _changed(parts, "language", "loud") == {"before", "after", "chosen", "neighbours"}
    assert "loud: loud" in parts.chosen.value
    assert _changed(parts, "sentence", "s7") == {"before", "after", "chosen", "neighbours"}
    assert parts.chosen.value.count(TABLE.query("language == 'loud' and sentence == 's7'").text.iloc[0]) == 1
    assert _changed(parts, "method", "overwrite") >= {"status", "metrics"} and parts.size.value == 4
    assert _changed(parts, "size", 2) >= {"before", "after", "status", "metrics"}
    assert "overwrite toward loud, k = 2" in parts.status.value
    assert "share of text in quiet" not in parts.metrics.value
    assert _changed(parts, "toward", "quiet") >= {"status", "metrics", "texts"}
    assert "share of text in quiet" in parts.metrics.value


def test_what_is_shown_are_the_answers_of_the_explorer(parts, ask):
    for row in ask.effects(START, 1.0).itertuples():
        assert f">{row.metric}<" in parts.metrics.value and f">{row.after:.3g}<" in parts.metrics.value
    near = ask.neighbours(START, 1.0, "quiet", "s0")
    assert all(row.text in parts.neighbours.value for row in near.itertuples())
    assert parts.neighbours.value.count("✓") == near.translation.sum()
    assert all(text[:60] in parts.texts.value for text in ask.texts(START, 1.0).after)


def test_a_knob_is_a_slider_beside_a_menu_of_the_same_options():
    knob = widgets.Knob("fruit", [("Apple", 1), ("Pear", 2), ("Plum", 3)], 2)
    assert (knob.value, knob.slider.value, knob.slider.max, knob.slider.description) == (2, 1, 2, "fruit")
    knob.slider.value = 2
    assert knob.value == 3 and knob.menu.label == "Plum"
    knob.menu.value = 1
    assert knob.slider.value == 0
    knob.offer("nut", ["hazel"], "hazel")
    assert knob.value == "hazel" and knob.slider.disabled and knob.menu.disabled
    knob.offer("nut", ["hazel", "wal", "pea", "chest"], "chest")
    assert knob.value == "chest" and knob.slider.value == 3 and not knob.slider.disabled


def test_a_setting_that_is_refused_is_told_and_the_maps_stay(parts, ask, monkeypatch):
    before = _seen(parts)
    monkeypatch.setattr(Explorer, "points", lambda *_: (_ for _ in ()).throw(ValueError("0 units fire <here>")))
    parts.toward.menu.value = "quiet"
    assert "role='alert'" in parts.status.value and "0 units fire &lt;here&gt;" in parts.status.value
    assert parts.after.value == before["after"]


def test_text_of_a_corpus_is_escaped(ask):
    bad = ask.table.assign(text=ask.table.text + " <b>", gloss="<i>")
    lexicon = ask.lexicon.assign(form=ask.lexicon.form)
    told = _parts(dashboard.explore(Explorer(LM, Fitting(LM, TABLE), bad, ks=[2], projection="pca", lexicon=lexicon,
                                           strengths=(0.0, 1.0), samples=2), START))  # fmt: skip
    assert "&lt;b&gt;" in told.chosen.value and "<b>" not in told.chosen.value + told.neighbours.value
    assert "&lt;i&gt;" in told.neighbours.value and "<i>" not in told.neighbours.value


def test_only_colours_that_tell_something_are_offered(ask):
    assert _parts(dashboard.explore(ask, START)).colour.menu.options == ("language", "topic")
    same = replace(ask, table=ask.table.assign(topic="one"))
    assert _parts(dashboard.explore(same, START)).colour.menu.options == ("language",)


def test_building_again_closes_the_earlier_dashboard(ask):
    first = dashboard.explore(ask, START)
    images = [_parts(first).before, _parts(first).after]
    dashboard.explore(ask, START)
    assert first.comm is None and all(image.comm is None for image in images)


def test_steps_at_rest_are_taken_once_the_hand_rests_and_start_over_when_it_moves():
    slider, taken = ipywidgets.FloatSlider(), []
    slider.observe(widgets.rested([lambda: taken.append("a"), lambda: taken.append("b")], pause=0.05), "value")

    async def hand() -> None:
        for value in (0.1, 0.2, 0.3):
            slider.value = value
            await asyncio.sleep(0.01)
        assert taken == []
        while taken != ["a"]:
            await asyncio.sleep(0.001)
        slider.value = 0.4  # between two steps
        await asyncio.sleep(0.3)

    asyncio.run(asyncio.wait_for(hand(), 20))
    assert taken == ["a", "a", "b"]
    slider.value = 0.5  # no loop runs: at once
    assert taken == ["a", "a", "b", "a", "b"]
