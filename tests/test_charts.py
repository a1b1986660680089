"""Figures are asked for their texts, ticks and values, never compared as pixels."""

import itertools

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from helpers.drawing import charts, maps
from helpers.world import worlds

TABLE = pd.DataFrame(
    {"source": list("aabb"), "target": list("abab"), "score": [1.0, 0.25, np.nan, 0.5]},
)


@pytest.fixture
def ax():
    return plt.subplots()[1]


def _texts(ax):
    return [text.get_text() for text in ax.texts]


def test_a_heatmap_writes_its_numbers_keeps_the_order_and_hatches_the_unknown(ax):
    charts.heatmap(TABLE, ax, rows="source", columns="target", value="score")
    assert sorted(_texts(ax)) == [".25", ".50", "1"]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["a", "b"]
    assert ax.patch.get_hatch() and np.ma.is_masked(ax.collections[0].get_array()[1, 0])


def test_a_large_heatmap_has_neither_numbers_nor_names(ax):
    names = [f"l{i:03d}" for i in range(70)]
    table = pd.DataFrame([(p, q, 0.5) for p in names for q in names], columns=["source", "target", "score"])
    charts.heatmap(table, ax, rows="source", columns="target", value="score", limits=(0, 1))
    assert not ax.texts and not len(ax.get_xticks())


def test_a_heatmap_rules_off_its_groups(ax):
    charts.heatmap(TABLE, ax, rows="source", columns="target", value="score", groups={"a": "A", "b": "B"})
    assert len(ax.lines) == 2


def test_a_heatmap_greys_what_is_not_significant(ax):
    table = TABLE.assign(p=[0.01, 0.05, np.nan, 0.049])
    charts.heatmap(table, ax, rows="source", columns="target", value="score", limits=(-1, 1), p="p")
    drawn, grey = (~np.ma.getmaskarray(part.get_array()) for part in ax.collections[:2])
    assert drawn.tolist() == [[True, False], [False, True]] and grey.tolist() == [[False, True], [False, False]]
    assert {text.get_text(): text.get_color() for text in ax.texts}["+.25"] == "#777777"
    assert set(_texts(ax)) == {"+1", "+.25", "+.50"}


def test_numbers_stand_out_from_their_cells(ax):
    table = TABLE.assign(score=[1.0, 0.0, 0.5, 0.2])
    charts.heatmap(table, ax, rows="source", columns="target", value="score", cmap="Greys")
    assert [(text.get_text(), text.get_color()) for text in ax.texts] == [
        ("1", "white"), (".00", "#262626"), (".50", "#262626"), (".20", "#262626"),
    ]  # fmt: skip


def test_numbers_keep_their_sign_and_their_ones(ax):
    table = TABLE.assign(score=[-0.25, 1.0, -1.0, 10.0][0:4])
    charts.heatmap(table.assign(score=[-0.25, 1.0, -1.0, 0.0]), ax, rows="source", columns="target", value="score")
    assert set(_texts(ax)) == {"-.25", "1", "-1", ".00"}


def test_curves_name_their_lines_and_draw_chance(ax):
    table = pd.DataFrame({"step": [0, 1, 0, 1], "layer": [0, 0, 1, 1], "top1": [0.0, 0.2, 0.1, 0.4]})
    charts.curves(table, ax, x="step", y="top1", by="layer", chance=0.05)
    assert set(_texts(ax)) == {"chance", "0", "1"}
    assert [line.get_ydata()[-1] for line in ax.lines[:2]] == [0.2, 0.4]


def test_end_labels_never_cover_each_other(ax):
    rows = [(x, name, 0.5) for name in "abcdef" for x in (0, 1)]
    charts.curves(pd.DataFrame(rows, columns=["x", "name", "y"]), ax, x="x", y="y", by="name")
    heights = sorted(text.get_position()[1] for text in ax.texts)
    assert min(np.diff(heights)) > 0.05


def test_a_tree_has_a_leaf_for_every_language(ax):
    charts.tree(worlds.build().languages, ax)
    assert _texts(ax) == worlds.build().languages.language.tolist()


def test_strips_put_the_highlighted_rows_in_colour(ax):
    table = pd.DataFrame({"language": list("aab"), "response": [1.0, 2.0, 3.0], "highlight": [True, False, True]})
    charts.strips(table, ax, x="language", y="response")
    (dots,) = ax.collections
    assert list(dots.get_offsets()[:, 1]) == [2.0, 1.0, 3.0], "those in colour last, in front"
    assert [mpl.colors.to_hex(shade).upper() for shade in dots.get_facecolor()] == [charts.GREY] + [
        charts.COLOURS[1]
    ] * 2


def test_dots_show_every_value_in_its_colour_and_mark(ax):
    table = pd.DataFrame({"language": list("abab"), "level": list("xxyy"), "auroc": [0.5, 0.6, 0.7, 0.8]})
    charts.dots(table, ax, x="language", y="auroc", by="level", chance=0.5)
    assert [list(line.get_ydata()) for line in ax.lines[:2]] == [[0.5, 0.6], [0.7, 0.8]]
    assert [(line.get_color(), line.get_marker()) for line in ax.lines[:2]] == list(
        zip(charts.COLOURS, charts.MARKERS)
    )[:2]
    assert [text.get_text() for text in ax.get_legend().texts] == ["x", "y"]


def test_short_sites_keep_the_block_and_the_linear():
    sites = ["model.layers.0.mlp.up_proj", "transformer.h.11.mlp.c_fc", "encoder.layer.3.output.dense", "odd"]
    assert charts.short_sites(sites) == ["0 up_proj", "11 c_fc", "3 output.dense", "odd"]


def test_drawing_leaves_the_table_as_it_was(ax):
    before = TABLE.copy()
    charts.heatmap(TABLE, ax, rows="source", columns="target", value="score")
    pd.testing.assert_frame_equal(TABLE, before)


def test_panels_are_named_at_the_edges_and_drawn_from_their_own_rows():
    table = pd.DataFrame({"task": list("aabb"), "pool": list("xyxy"), "v": [1, 2, 3, 4]})
    _, axes = plt.subplots(2, 2)
    charts.panels(table, axes, rows="task", columns="pool", draw=lambda part, ax: ax.plot([0], part.v, "o"))
    assert [ax.lines[0].get_ydata()[0] for ax in axes.flat] == [1, 2, 3, 4]
    assert [ax.get_title(loc="left") or ax.get_title() for ax in axes[0]] == ["x", "y"]
    assert axes[1, 0].get_ylabel().startswith("b") and axes[1, 1].get_ylabel() == ""


def test_estimates_have_a_mark_an_interval_and_a_number_each():
    table = pd.DataFrame({"edit": ["one", "two"] * 2, "kind": list("rrpp"), "r": [0.5, -0.25, 0.0, 0.1]})
    ax = charts.estimates(
        table.assign(low=table.r - 0.1, high=table.r + 0.1), plt.figure().add_subplot(), y="edit", x="r", by="kind"
    )
    assert [label.get_text() for label in ax.get_yticklabels()] == ["one", "two"]
    assert {text.get_text() for text in ax.texts} == {"+0.50", "-0.25", "0", "+0.10"}
    intervals, marks = ax.collections[:2]
    assert len(intervals.get_segments()) == len(marks.get_offsets()) == 2 and len(ax.collections) == 4


def test_estimates_that_are_not_significant_are_grey_and_hollow_and_families_thin(ax):
    table = pd.DataFrame({"outcome": ["one", "two"], "r": [0.5, -0.25], "clear": [True, False]})
    ends = dict(low=table.r - 0.1, high=table.r + 0.1, low_family=table.r - 0.2, high_family=table.r + 0.2)
    charts.estimates(table.assign(**ends), ax, y="outcome", x="r", significant="clear")
    *lines, marks = ax.collections
    assert [mpl.colors.to_hex(shade).upper() for shade in marks.get_edgecolor()] == [charts.COLOURS[0], charts.GREY]
    assert [mpl.colors.to_hex(shade).upper() for shade in marks.get_facecolor()] == [charts.COLOURS[0], "#FFFFFF"]
    assert [line.get_linewidth()[0] for line in lines] == [0.8, 2.4]


def test_ranks_fill_what_is_significant_and_part_tied_names(ax):
    rows = [(by, name, rank, by == "one") for by in ("one", "two") for name, rank in (("a", 1), ("b", 2.5), ("c", 2.5))]
    table = pd.DataFrame(rows, columns=["by", "change", "rank", "clear"])
    charts.ranks(table, ax, x="by", y="rank", name="change", significant="clear")
    assert _texts(ax) == ["a", "b", "c"] and len({text.get_position()[1] for text in ax.texts}) == 3
    assert all(np.isfinite(filled.get_ydata()).tolist() == [True, False] for filled in ax.lines[-3:])


def test_a_legend_stands_beside_an_axis_or_above_a_figure(ax):
    charts.legend(ax, charts.colours("ab"))
    charts.legend(ax.figure, charts.colours("ab"), loc="outside upper left")
    keys = [ax.get_legend(), *ax.figure.legends]
    assert [[text.get_text() for text in key.texts] for key in keys] == [["a", "b"]] * 2


def test_looks_are_all_different_and_keep_their_order():
    found = charts.looks([f"g{i}" for i in range(64)] + ["g3"])
    assert len(set(found.values())) == 64 and list(found)[:2] == ["g0", "g1"]
    assert list(found.values())[:8] == list(zip(charts.COLOURS, charts.MARKERS))


def test_no_name_on_a_map_covers_another(ax):
    table = pd.DataFrame(
        {"language": ["eng_Latn", "deu_Latn", "fra_Latn", "jpn_Jpan"], "x": [0, 0.01, 0, 9.0], "y": 1.0}
    )
    maps.map_points(pd.concat([table, table.assign(x=table.x + 9, y=5.0)]), ax, by="language")
    ax.figure.canvas.draw()
    boxes = [text.get_window_extent().padded(-1) for text in ax.texts]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    maps.move_points(table, ax, by="language")
    assert [text.get_position()[0] for text in ax.texts] == pytest.approx(list(table.x))


def test_rings_stand_around_their_rows_and_move(ax):
    table = pd.DataFrame({"language": list("abc"), "x": [0.0, 1, 2], "y": [3.0, 4, 5]})
    maps.map_points(table, ax, by="language")
    for rows in (table, table[1:].assign(x=7.0)):
        maps.mark_points(rows, ax)
        (rings,) = ax.collections
        np.testing.assert_array_equal(rings.get_offsets(), rows[["x", "y"]])
        assert len(rings.get_sizes()) == len(rows) and rings.get_sizes()[0] > rings.get_sizes()[1:].max()
