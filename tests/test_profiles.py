"""Profiles against what `abx` and `alignment` say of the same states."""

import weakref
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import tiny
import torch

from helpers.abx import findings, profiles, scoring
from helpers.embeddings import activations, retrieval
from helpers.embeddings.activations import Activations
from helpers.steering.hooks import Edit
from helpers.world import planted

NAMES = ["A1", "A2", "B1", "B2"]
GROUPS = {name: name[0] for name in NAMES}


def states(*weights: float, sentences: int = 30) -> Activations:
    """A layer for each weight of meaning in `planted.sliding`."""
    layers = [planted.sliding(w, languages=4, sentences=sentences, seed=3).reshape(-1, 32) for w in weights]
    rows = [(name, f"s{i}", "x") for name in NAMES for i in range(sentences)]
    table = pd.DataFrame(rows, columns=["language", "sentence", "text"])
    return Activations(torch.from_numpy(np.stack(layers, 1)).float(), table, list(range(len(weights))))


STATES = states(0.2, 0.8)


@pytest.fixture(scope="module")
def found():
    return profiles.measure(STATES, GROUPS, n=30)


def test_pairs_and_means_are_those_of_abx_and_alignment(found):
    values = STATES.parallel(1)
    one = found[(found.layer == 1) & (found.pairs == "one")].set_index(["variant", "p", "q"]).accuracy
    assert one["meaning", "A2", "B1"] == pytest.approx(scoring.meaning(values, NAMES).loc["A2", "B1"])
    assert one["form", "A2", "B1"] == pytest.approx(scoring.form(values, NAMES).loc["A2", "B1"])
    assert one["top1", "A2", "B1"] == pytest.approx(retrieval.top1(values[2], values[1]))
    mean = found[found.pairs != "one"].set_index(["layer", "variant", "pairs"])
    for variant in ("meaning", "form", "top1"):
        kin = [p[0] == q[0] for p, q in one[variant].index]
        assert mean.accuracy[1, variant, "all"] == pytest.approx(one[variant].mean())
        assert mean.accuracy[1, variant, "within"] == pytest.approx(one[variant][kin].mean())
        assert mean.accuracy[1, variant, "across"] == pytest.approx(one[variant][~np.array(kin)].mean())
    assert not found.duplicated(profiles.KEYS).any()


def test_intervals_lie_around_the_estimate(found):
    mean = found[found.pairs != "one"]
    assert (mean.low <= mean.accuracy + 0.02).all() and (mean.high >= mean.accuracy - 0.02).all()
    assert found[found.pairs == "one"].low.isna().all()


def test_without_two_groups_there_is_nothing_across():
    found = profiles.measure(states(0.5, sentences=8), dict.fromkeys(NAMES, "one"), n=5)
    assert set(found.pairs) == {"one", "all", "within"}


def test_a_change_is_named_by_the_far_ends_of_both_intervals():
    rows = [(0, 0.5, 0.4, 0.6), (9, 0.9, 0.8, 1.0), (4, 0.1, 0.0, 0.2)]
    table = pd.DataFrame(rows, columns=["step", "accuracy", "low", "high"]).assign(variant="form")
    row = profiles.change(table, ["variant"]).iloc[0]
    assert (row["first"], row["last"], row.change) == (0.5, 0.9, pytest.approx(0.4))
    assert (row.low, row.high) == (pytest.approx(0.2), pytest.approx(0.6))


def test_a_series_is_thinned_and_keeps_its_ends(monkeypatch):
    steps = pd.DataFrame({"step": range(10), "revision": [f"step{i}" for i in range(10)], "subfolder": "", "phase": ""})
    monkeypatch.setattr(profiles.models, "checkpoints", lambda name: steps)
    assert list(profiles.series("x", most=4).step) == [0, 3, 6, 9] and len(profiles.series("x")) == 10
    assert profiles.series("x", "step5").revision.tolist() == ["step5"]
    assert list(profiles.series("x", most=1).step) == [9]


def test_a_model_without_a_series_is_one_checkpoint(tmp_path):
    tiny.save(tiny.language_model(), tmp_path)
    assert profiles.series(str(tmp_path)).to_dict("records") == [{"step": 0, "revision": "", "subfolder": ""}]


def test_both_ways_of_pooling_are_profiled():
    lm, table = planted.wired(sentences=12)
    found = profiles.of_model(lm, table, {"quiet": "a", "loud": "b"}, n=10)
    last = profiles.measure(activations.embed(lm, table, pool="last"), {"quiet": "a", "loud": "b"}, n=10)
    assert set(found["pool"]) == {"mean", "last"}
    pd.testing.assert_frame_equal(found[found["pool"] == "last"].drop(columns="pool").reset_index(drop=True), last)


def test_overwriting_the_planted_unit_gives_meaning_and_leaves_form_to_a_whisper():
    lm, table = planted.wired()
    before = activations.embed(lm, table)
    plans = {"cure": [Edit(planted.SITE, [planted.UNIT], 0.0, 0.0)], "none": []}
    found = profiles.edited(lm, before, plans, {"quiet": "a", "loud": "b"}, n=20)
    found = found.set_index(["edit", "variant", "pairs"])
    cured = found.loc["cure"].xs("across", level="pairs")
    assert cured.after["meaning"] > 0.99 and cured.low["meaning"] > 0 and cured.low["top1"] > 0
    assert cured.before["form"] < 0.9 and cured.after["form"] > 0.99  # the steadier the offset, the better it is told
    assert (found.loc["none"].change == 0).all()
    assert profiles.edited(lm, before, {}, {"quiet": "a", "loud": "b"}).empty


def test_a_stopped_series_goes_on_at_the_next_checkpoint_and_holds_one_model_at_a_time():
    lm = planted.wired(sentences=6)[0]
    series = pd.DataFrame({"step": [0, 5, 9], "revision": ["a", "b", "c"], "subfolder": ""})
    kept, loaded, scored = {}, [], []

    def load(revision, subfolder):
        assert sum(model() is not None for model in loaded) == 0, "an earlier model is still in memory"
        made = replace(lm, revision=revision)
        loaded.append(weakref.ref(made))
        return made

    def keep(about, compute):
        key = about["revision"], about["n"]
        kept[key] = kept[key] if key in kept else compute()
        return kept[key]

    def score(lm):
        scored.append(lm.revision)
        if len(scored) == 2:
            raise KeyboardInterrupt
        return pd.DataFrame({"layer": [0], "accuracy": [0.5]})

    with pytest.raises(KeyboardInterrupt):
        profiles.over(series, load, score, keep, {"n": 3})
    found = profiles.over(series, load, score, keep, {"n": 3})
    assert scored == ["a", "b", "b", "c"] and list(found.step) == [0, 5, 9]
    assert found.weights.nunique() == 1


def test_one_edit_of_each_kind():
    names = ["overwrite k=5", "overwrite k=20", "AurA all", "erase block 0, rank 4", "erase block 2", "damp k=3"]
    kept = profiles.one_of_each({name: [] for name in names})
    assert list(kept) == ["overwrite k=20", "AurA all", "erase block 2", "damp k=3"]


def test_variants_and_surface_have_a_row_each():
    wide = profiles.variants(STATES, GROUPS, 1).set_index("variant")
    form = scoring.form(STATES.parallel(1), NAMES).stack().mean()
    assert wide.loc["form", "all"] == pytest.approx(form) and len(wide) == 10
    assert wide.loc["form, centred by language", "all"] < 0.6
    _, table = planted.wired(sentences=10)
    found = profiles.surface(table, {"quiet": "a", "loud": "b"}, n=10).set_index(["baseline", "variant", "pairs"])
    assert found.accuracy["3-grams of characters", "form", "all"] > 0.9 and len(found) == 8


def curve(values: dict) -> pd.DataFrame:
    """A table of curves in one layer from {(variant, pairs): (first, last)}, intervals of .02 on either side."""
    rows = [(step, 2, *key, v) for key, ends in values.items() for step, v in zip((0, 50), ends)]
    table = pd.DataFrame(rows, columns=["step", "layer", "variant", "pairs", "accuracy"])
    return table.assign(low=table.accuracy - 0.02, high=table.accuracy + 0.02)


def test_readings_say_what_the_intervals_allow():
    rows = curve({("meaning", "within"): (0.5, 0.95), ("form", "within"): (0.99, 0.7), ("form", "across"): (1, 0.97)})
    text = findings.training(rows, "mean")
    assert "**meaning**, pairs within groups: rises in 1 and falls in 0 of 1 layers" in text
    assert "**form**, pairs within groups: rises in 0 and falls in 1" in text and "0.99 to **0.70**" in text
    assert "(-0.29 [-0.33, -0.25]); below an earlier peak in layer 2" in text
    assert "**form**, pairs across groups: rises in 0 and falls in 0" in text and text.endswith("no fall from a peak")
    rows = curve({("meaning", "all"): (0.5, 0.95)})
    assert "step **50**, in layer 2: 0.95" in findings.reached(rows)
    assert findings.reached(rows, 0.94) == "Meaning is not above 0.94 at any step."
    both = pd.concat([rows[rows.step == 0].assign(layer=1), rows[rows.step == 50]])
    assert "highest in layer 2, 0.95 [0.93, 0.97], above its lowest, 0.50 in layer 1" in findings.layers(both, "mean")


def test_a_trade_is_called_so_only_where_form_falls():
    up = curve({("meaning", "within"): (0.5, 0.95), ("form", "within"): (0.6, 0.99)}).assign(pool="mean")
    assert "form falls in **0**" in findings.trade_off(up) and "added to form" in findings.trade_off(up)
    down = curve({("meaning", "within"): (0.5, 0.95), ("form", "within"): (0.99, 0.6)}).assign(pool="mean")
    assert "given up in most places" in findings.trade_off(down)
    still = curve({("meaning", "within"): (0.7, 0.7), ("form", "within"): (0.9, 0.9)}).assign(pool="mean")
    assert findings.trade_off(still).endswith("Meaning does not rise here, and form does not fall.")
    later = pd.concat([up, down[down.step == 50].assign(step=90)])
    assert "below an earlier peak in **1**" in findings.trade_off(later)
    assert "told early and then lost in most places" in findings.trade_off(later)


def test_edits_and_probes_are_read_by_their_intervals():
    rows = [("erase", "form", -0.4), ("erase", "meaning", 0.02), ("damp", "form", -0.005), ("damp", "meaning", 0.0)]
    table = pd.DataFrame(rows, columns=["edit", "variant", "change"]).assign(pairs="all")
    text = findings.edits(table.assign(low=table.change - 0.001, high=table.change + 0.001))
    assert "- 1 of 2 lower **form** by more than 0.01: erase (-0.40)" in text
    assert "- 1 of 2 raise **meaning** by more than 0.01: erase (+0.02)" in text and "0 of 2 raise **form**" in text
    found = pd.DataFrame({"task": "POS", "layer": [0, 1], "seen": False, "accuracy": [0.5, 0.8], "baseline": 0.3})
    assert "POS **0.80** in layer 1 (0.30 by the most frequent label)" in findings.probing(found, ["A1"])
    assert "no labels to read" in findings.probing(found.iloc[:0], ["A1"])


def test_correlations_are_read_with_both_kinds():
    found = pd.DataFrame({"x": "meaning", "y": "POS", "kind": ["raw", "partial"], "r": [0.9, 0.1]})
    text = findings.correlations(found.assign(low=found.r - 0.2, high=found.r + 0.2))
    assert text.startswith("POS with meaning: +0.90 [+0.70, +1.10] raw, **+0.10** [-0.10, +0.30]")
    assert text.endswith("not distinguishable from 0.")
