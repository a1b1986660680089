import asyncio
from io import BytesIO

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from helpers.drawing import maps
from helpers.exploring import widgets


@pytest.fixture
def points() -> pd.DataFrame:
    """Two families of two languages that move to the right by 10 for each unit of strength."""
    labels = pd.DataFrame({"language": ["A1", "A2", "B1", "B2"], "family": ["A", "A", "<b>", "<b>"]})
    places = labels.assign(x=[0.0, 1, 2, 3], y=[0.0, 1, 0, 1])
    tables = [places.assign(strength=strength, x=places["x"] + 10 * strength) for strength in (0.0, 0.5, 1.0)]
    return pd.concat(tables, ignore_index=True)


@pytest.fixture
def metrics() -> pd.DataFrame:
    rows = [(strength, name, value + strength) for strength in (0.0, 0.5, 1.0) for name, value in (("top-1", 0.25),)]
    return pd.DataFrame(rows, columns=["strength", "metric", "value"])


def _parts(box):
    (slider, field), (left, right), words = (getattr(part, "children", part) for part in box.children)
    return slider, field, left, right, words


def test_a_move_changes_the_right_picture_alone(points, metrics):
    slider, field, left, right, words = _parts(widgets.strength_slider(points, metrics))
    before, after = left.value, right.value
    slider.value = 0.5
    assert left.value == before and right.value != after and field.value == 0.5
    assert plt.imread(BytesIO(right.value)).shape == plt.imread(BytesIO(left.value)).shape
    assert "4 points in 2 groups by family: untouched, and at 0.50. Measured at 0.5: top-1 0.75." in words.value
    field.value = 0.0
    assert right.value == after and "at 0.00. Measured at 0: top-1 0.25." in words.value


def test_metrics_are_those_of_the_nearest_strength_measured(points, metrics):
    slider, *_, words = _parts(widgets.strength_slider(points, metrics))
    slider.value = 0.85
    assert "at 0.85. Measured at 1: top-1 1.25." in words.value


def test_groups_can_be_languages_in_the_colours_of_families(points, metrics):
    *_, words = _parts(widgets.strength_slider(points, metrics, by="language", shade="family"))
    assert "4 groups by language: untouched, and at 0.00." in words.value


def test_text_from_the_tables_is_escaped(points, metrics):
    *_, words = _parts(widgets.strength_slider(points, metrics.assign(metric="<img src=x>")))
    assert "<img" not in words.value and "&lt;img src=x&gt;" in words.value


def test_the_keyboard_field_and_the_limits_follow_the_points(points, metrics):
    slider, field, *_ = _parts(widgets.strength_slider(points, metrics))
    for control in (slider, field):
        assert (control.min, control.max, control.step) == (0, 1, 0.05) and control.description == "strength"
    assert slider.continuous_update and not slider.readout


def test_building_again_closes_the_earlier_box_and_no_other(points, metrics):
    first, other = widgets.strength_slider(points, metrics), widgets.kept("another", ipywidgets.VBox())
    kept = [*first.children, *_parts(first)]
    second = widgets.strength_slider(points, metrics)
    assert all(widget.comm is None for widget in [first, *kept])
    assert second.comm is not None and other.comm is not None and not plt.get_fignums()


def test_the_tables_are_not_touched(points, metrics):
    copies = points.copy(), metrics.copy()
    _parts(widgets.strength_slider(points, metrics))[0].value = 0.3
    pd.testing.assert_frame_equal(points, copies[0])
    pd.testing.assert_frame_equal(metrics, copies[1])


def test_points_without_the_untouched_state_are_refused(points, metrics):
    with pytest.raises(ValueError, match=r"2 strengths from 0.5 to 1 but none at 0; add them"):
        widgets.strength_slider(points[points["strength"] > 0], metrics)


def test_values_that_arrive_together_are_drawn_once_and_the_newest_wins():
    slider, drawn = ipywidgets.FloatSlider(), []
    slider.observe(widgets.rested([lambda: drawn.append(slider.value)], pause=0), "value")

    async def hand() -> None:
        for burst in ((0.1, 0.2, 0.3), (0.4,)):
            for value in burst:
                slider.value = value
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    asyncio.run(hand())
    assert drawn == [0.3, 0.4]
    slider.value = 0.5  # no loop runs: at once
    assert drawn == [0.3, 0.4, 0.5]


def test_a_map_is_one_line_a_group_and_moves_in_place(points):
    figure, ax = plt.subplots()
    maps.map_points(points, ax, by="language", shade="family")
    lines, limits = list(ax.lines), ax.get_xlim()
    assert [line.get_label() for line in lines] == ["A1", "A2", "B1", "B2"] and not len(ax.get_xticks())
    assert lines[0].get_color() == lines[1].get_color() != lines[2].get_color()
    assert lines[0].get_marker() != lines[2].get_marker()
    maps.move_points(points[points["strength"] == 1], ax, by="language")
    assert ax.lines[:] == lines and ax.get_xlim() == limits
    np.testing.assert_array_equal(lines[3].get_xydata(), [[13, 1]])
    assert [text.get_text() for text in ax.texts] == ["A1", "A2", "B1", "B2"] and ax.texts[3].get_position() == (13, 1)
    plt.close(figure)
