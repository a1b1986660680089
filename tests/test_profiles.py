"""Profiles against what `scoring` and `retrieval` say of the same states."""

import weakref
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import tiny
import torch

from helpers import models
from helpers.abx import findings, profiles, scoring
from helpers.common import store
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
    return profiles.profile(STATES, GROUPS, n=30)


def test_pairs_and_means_are_those_of_scoring_and_retrieval(found):
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
    assert not found.duplicated(["layer", "variant", "pairs", "p", "q"]).any()


def test_intervals_lie_around_the_estimate(found):
    mean = found[found.pairs != "one"]
    assert (mean.low <= mean.accuracy + 0.02).all() and (mean.high >= mean.accuracy - 0.02).all()
    assert found[found.pairs == "one"].low.isna().all()


def test_without_two_groups_there_is_nothing_across():
    found = profiles.profile(states(0.5, sentences=8), dict.fromkeys(NAMES, "one"), n=5)
    assert set(found.pairs) == {"one", "all", "within"}
    with pytest.raises(LookupError, match=r"1 languages have no group: \['B2'\]"):
        profiles.profile(states(0.5, sentences=8), dict.fromkeys(NAMES[:3], "one"), n=5)


def test_a_change_is_named_by_the_far_ends_of_both_intervals():
    rows = [(0, 0.5, 0.4, 0.6), (9, 0.9, 0.8, 1.0), (4, 0.1, 0.0, 0.2)]
    table = pd.DataFrame(rows, columns=["step", "accuracy", "low", "high"]).assign(variant="form")
    row = findings.changes(table).iloc[0]
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
    found = profiles.profile_model(lm, table, {"quiet": "a", "loud": "b"}, n=10)
    last = profiles.profile(activations.embed(lm, table, pool="last"), {"quiet": "a", "loud": "b"}, n=10)
    assert set(found["pool"]) == {"mean", "last"}
    pd.testing.assert_frame_equal(found[found["pool"] == "last"].drop(columns="pool").reset_index(drop=True), last)


def test_overwriting_the_planted_unit_gives_meaning_and_leaves_form_to_a_whisper():
    lm, table = planted.wired()
    before = activations.embed(lm, table)
    plans = {"cure": [Edit(planted.SITE, [planted.UNIT], 0.0, 0.0)], "none": []}
    found = profiles.effects(lm, before, plans, {"quiet": "a", "loud": "b"}, n=20)
    found = found.set_index(["edit", "variant", "pairs"])
    cured = found.loc["cure"].xs("across", level="pairs")
    assert cured.after["meaning"] > 0.99 and cured.low["meaning"] > 0 and cured.low["top1"] > 0
    assert cured.before["form"] < 0.9 and cured.after["form"] > 0.99  # the steadier the offset, the better it is told
    assert (found.loc["none"].change == 0).all()
    assert profiles.effects(lm, before, {}, {"quiet": "a", "loud": "b"}).empty


@pytest.fixture
def three(tmp_path, monkeypatch):
    """A series of three checkpoints, and the models that were loaded; each one must be gone before the next comes."""
    lm, loaded = planted.wired(sentences=6)[0], []
    series = pd.DataFrame({"step": [0, 5, 9], "revision": ["a", "b", "c"], "subfolder": ""})

    def load(name, revision, subfolder, **options):
        assert sum(model() is not None for model in loaded) == 0, "an earlier model is still in memory"
        made = replace(lm, revision=revision)
        loaded.append(weakref.ref(made))
        return made

    monkeypatch.setattr(store, "DATA", tmp_path)
    monkeypatch.setattr(
        profiles, "models", SimpleNamespace(checkpoints=lambda name: series, load=load, identity=models.identity)
    )
    return lm


def test_a_stopped_series_goes_on_at_the_next_checkpoint_and_holds_one_model_at_a_time(three):
    scored = []

    def score(lm):
        scored.append(lm.revision)
        if len(scored) == 2:
            raise KeyboardInterrupt
        return pd.DataFrame({"layer": [0], "accuracy": [0.5]})

    with pytest.raises(KeyboardInterrupt):
        profiles.over_checkpoints(score, {"n": 3}, "x", "", 0)
    found = profiles.over_checkpoints(score, {"n": 3}, "x", "", 0)
    assert scored == ["a", "b", "b", "c"] and list(found.step) == [0, 5, 9]
    assert found.weights.nunique() == 1


def test_scores_are_computed_again_when_data_weights_or_code_have_changed(three, monkeypatch):
    scored = []

    def score(lm):
        scored.append(lm.revision)
        return pd.DataFrame({"layer": [0], "accuracy": [0.5]})

    def again(plan):
        before = len(scored)
        profiles.over_checkpoints(score, plan, "x", "", 0)
        return len(scored) - before

    assert again({"n": 3}) == 3 and again({"n": 3}) == 0 and again({"n": 4}) == 3
    monkeypatch.setattr(store, "code", lambda *rooms: f"a fix in {rooms}")
    assert again({"n": 3}) == 3, "numbers of other code were read"
    next(three.model.parameters()).data.add_(1)
    assert again({"n": 3}) == 3, "numbers of other weights were read"


def test_a_profile_of_other_sentences_or_groups_is_another(three):
    table, ways = planted.wired(sentences=6)[1], {"quiet": "a", "loud": "b"}
    at = dict(model="x", revision="a", most=0, n=5)
    one = profiles.profile_series(table, ways, **at)
    assert len(list(store.DATA.glob("cache/abx/*.parquet"))) == 1 and set(one.step) == {0}
    profiles.profile_series(table, ways, **at)
    assert len(list(store.DATA.glob("cache/abx/*.parquet"))) == 1
    profiles.profile_series(table, {"quiet": "a", "loud": "a"}, **at)
    profiles.profile_series(table.assign(text=table.text + " quiet1"), ways, **at)
    assert len(list(store.DATA.glob("cache/abx/*.parquet"))) == 3


def test_one_edit_of_each_kind():
    names = ["overwrite k=5", "overwrite k=20", "AurA all", "erase block 0, rank 4", "erase block 2", "damp k=3"]
    kept = profiles.one_of_each({name: [] for name in names})
    assert list(kept) == ["overwrite k=20", "AurA all", "erase block 2", "damp k=3"]


def test_controls_have_a_row_each():
    wide = profiles.controls(STATES, GROUPS, 1, n=2)[0].set_index("variant")
    form = scoring.form(STATES.parallel(1), NAMES).stack().mean()
    assert wide.loc["form", "all"] == pytest.approx(form) and len(wide) == 11
    assert wide.loc["form, centred by language", "all"] < 0.6
    assert wide.loc["meaning, translations shuffled", "all"] == pytest.approx(0.5, abs=0.02)
    lm, table = planted.wired(sentences=10)
    found = profiles.controls(activations.embed(lm, table), {"quiet": "a", "loud": "b"}, 1, n=10)[1]
    found = found.set_index(["baseline", "variant", "pairs"])
    assert found.accuracy["3-grams of characters", "form", "all"] > 0.9 and len(found) == 8


@pytest.mark.slow
def test_counts_agree_with_closed_forms():
    closed = profiles.closed_forms()
    assert len(closed) == 9 and (closed.expected - closed.counted).abs().max() < 0.02


def curve(values: dict) -> pd.DataFrame:
    """A table of curves in one layer from {(variant, pairs): (first, last)}, intervals of .02 on either side."""
    rows = [(step, 2, *key, v) for key, ends in values.items() for step, v in zip((0, 50), ends)]
    table = pd.DataFrame(rows, columns=["step", "layer", "variant", "pairs", "accuracy"])
    return table.assign(low=table.accuracy - 0.02, high=table.accuracy + 0.02)


def test_a_trade_is_called_so_only_where_form_falls():
    up = curve({("meaning", "within"): (0.5, 0.95), ("form", "within"): (0.6, 0.99)}).assign(pool="mean")
    said, table = findings.trade_off(up, "pool")
    assert said == "meaning is added to form, not traded for it (mean)."
    row = table.set_index("variant").loc["form"]
    assert (row.cases, row.rises, row.falls, row.sinks) == (1, 1, 0, 0)
    assert (row["first"], row["last"]) == (pytest.approx(0.6), pytest.approx(0.99))
    down = curve({("meaning", "within"): (0.5, 0.95), ("form", "within"): (0.99, 0.6)}).assign(pool="mean")
    assert findings.trade_off(down, "pool")[0] == "form is given up in most places (mean)."
    partly = pd.concat([down, up.assign(layer=3), up.assign(layer=4)])
    assert findings.trade_off(partly, "pool")[0] == "form is given up in some places (mean)."
    still = curve({("meaning", "within"): (0.7, 0.7), ("form", "within"): (0.9, 0.9)}).assign(pool="mean")
    assert findings.trade_off(still, "pool")[0] == "neither does meaning rise nor form fall (mean)."
    later = pd.concat([up, down[down.step == 50].assign(step=90)])
    said, table = findings.trade_off(later, "pool")
    assert said == "form is told early and then lost in most places (mean)."
    assert table.set_index("variant").sinks["form"] == 1
    both = pd.concat([up.assign(corpus="a"), down.assign(corpus="b")])
    said, table = findings.trade_off(both, "corpus")
    assert said == "meaning is added to form, not traded for it (a); form is given up in most places (b)."
    assert len(table) == 4


def test_pairs_of_all_kinds_together_are_no_case_and_one_step_is_read_over_its_layers():
    rows = curve({("meaning", "within"): (0.5, 0.95), ("form", "within"): (0.99, 0.7), ("form", "all"): (1, 0.2)})
    one = rows.assign(layer=rows.step, step=0, pool="mean")
    said, table = findings.trade_off(one, "pool")
    assert said == "form is given up in most places (mean)." and set(table.cases) == {1}
    change = findings.changes(one).set_index(["variant", "pairs"]).loc[("form", "within")]
    assert (change.low, change.high) == (pytest.approx(-0.33), pytest.approx(-0.25))
    assert change.sunk == pytest.approx(0.25)
