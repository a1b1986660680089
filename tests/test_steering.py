"""What edits do, measured where the answer is known: a model wired so that one unit carries the language."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import tiny

from helpers.embeddings import activations, retrieval
from helpers.steering import comparison, effects, experts, findings, hooks, methods
from helpers.steering.fitting import Fitting
from helpers.steering.hooks import Edit
from helpers.world import planted

LM, TABLE = planted.wired()
BEFORE = activations.embed(LM, TABLE)
CURE = [Edit(planted.SITE, [planted.UNIT], 0.0, 0.0)]


@pytest.fixture(scope="module")
def measured():
    plans = {("cure",): CURE, ("placebo",): [Edit(planted.SITE, [planted.UNIT + 1], 0.0, 0.0)]}
    return effects.grid(LM, TABLE, plans, names=["plan"], before=BEFORE).set_index(["plan", "layer", "metric"])


def test_overwriting_the_planted_unit_brings_distance_to_0_and_retrieval_to_1(measured):
    assert measured.before["cure", 1, "top1"] < 0.9 and measured.before["cure", 1, "pairs_matched"] > 0.3
    assert measured.after["cure", 1, "top1"] == 1 and measured.after["cure", 1, "pairs_matched"] < 1e-5
    assert measured.low["cure", 1, "top1"] > 0


def test_another_unit_changes_nothing_and_the_layer_before_the_edit_neither(measured):
    assert (measured.change["placebo"].fillna(0) == 0).all()
    assert measured.change["cure", 0].drop("mixed").abs().max() == 0


def test_the_expert_that_is_found_is_the_planted_one():
    fitting = Fitting(LM, TABLE)
    best = experts.top(1, {planted.SITE: fitting.responses("max")[planted.SITE]}, fitting.labels)
    assert best.set_index("language").unit["loud"] == planted.UNIT


def test_numbers_are_those_of_alignment(measured):
    state = BEFORE.parallel(1)
    assert measured.before["cure", 1, "top1"] == pytest.approx(retrieval.retrieval(state, BEFORE.languages).top1.mean())
    centred = retrieval.retrieval(retrieval.centre(state), BEFORE.languages).top1.mean()
    assert measured.before["cure", 1, "centred"] == pytest.approx(centred)


def test_mixed_retrieval_takes_its_candidates_from_the_steered_model(measured):
    with hooks.steered(LM, CURE):
        after = activations.embed(LM, TABLE).parallel(1)
    mixed = retrieval.retrieval(BEFORE.parallel(1), BEFORE.languages, candidates=after).top1.mean()
    assert measured.after["cure", 1, "mixed"] == pytest.approx(mixed)


def test_posthoc_projection_equals_projecting_each_layer_and_leaves_its_input():
    values = BEFORE.values.clone()
    out = effects.posthoc(BEFORE, BEFORE)
    space = retrieval.subspace(BEFORE.parallel(1))
    np.testing.assert_allclose(out.layer(1), retrieval.project(BEFORE.layer(1), space), atol=1e-6)
    assert (BEFORE.values == values).all()


def test_leaving_out_a_group_that_leaves_one_language_is_skipped():
    assert effects.left_out(BEFORE, BEFORE, {"quiet": "a", "loud": "b"}).empty


def test_states_over_strengths_start_untouched_and_end_with_the_edit():
    states = effects.over(LM, TABLE, CURE, [0.0, 1.0], layer=1)
    np.testing.assert_array_equal(states[0.0], BEFORE.layer(1).numpy())
    metrics = effects.by_strength(states, TABLE).set_index(["strength", "metric"]).value
    assert metrics[1.0, "top-1 retrieval"] == 1 and metrics[1.0, "distance"] < metrics[0.0, "distance"]


def test_a_summary_resamples_whole_groups():
    table = pd.DataFrame({"k": [5, 5, 5, 5], "toward": list("aabb"), "change": [0.0, 0.0, 1.0, 1.0]})
    row = effects.summary(table, ["k"], over="toward").iloc[0]
    assert (row.change, row.low, row.high) == (0.5, 0.0, 1.0)


@pytest.fixture(scope="module")
def compared():
    fitting = Fitting(LM, TABLE)
    plans = {("overwrite", "k=1"): CURE, ("erase", "block 0"): methods.fit("erase", fitting, block=0)}
    return comparison.compare(LM, TABLE, plans, before=BEFORE)


def test_methods_stand_beside_the_untouched_model_with_their_price(compared):
    assert compared.method.tolist() == ["untouched", "overwrite", "overwrite", "erase", "erase"]
    untouched, cured = compared.iloc[0], compared.iloc[2]
    assert untouched.gain == 0 and untouched.cost == 1 and cured.top1 > untouched.top1
    assert compared[["perplexity", "cost"]].gt(0).all().all()


def test_the_frontier_keeps_what_nothing_else_beats():
    table = pd.DataFrame({"perplexity": [1.0, 2.0, 3.0, 4.0], "top1": [0.2, 0.1, 0.5, 0.5]})
    assert comparison.frontier(table).perplexity.tolist() == [1.0, 3.0]


def test_readings_take_their_verdicts_from_the_intervals(compared):
    gain = pd.DataFrame(
        [("experts", 1, 0.1, 0.05, 0.2), ("experts", 2, -0.1, -0.2, -0.05), ("random", 1, 0.1, -0.1, 0.2)]
        + [("experts less random", 1, 0.1, 0.05, 0.2), ("experts less matched", 1, 0.1, -0.1, 0.2)],
        columns=["units", "layer", "change", "low", "high"],
    ).assign(k=5)
    text = findings.steering_gain(pd.concat([gain, gain.assign(k=20)]), 5, "Mean over 6")
    told, table = text.split("\n\n")
    assert told.startswith("Mean over 6, retrieval when 5 units are overwritten: **experts** raise it at layer 1 and ")
    assert "lower it at layer 2; **random** are told apart from no change at no layer" in told
    assert "experts gain more at layer 1 than **random**" in told
    assert told.endswith("experts and **matched** are told apart at no layer.")
    assert table.splitlines()[0] == "| change of top-1 | layer 1 | layer 2 |"
    assert table.splitlines()[2] == "| experts | **+0.100** [+0.050, +0.200] | **-0.100** [-0.200, -0.050] |"
    assert table.splitlines()[3] == "| random | +0.100 [-0.100, +0.200] |  |"
    alone = findings.steering_gain(gain.assign(low=np.nan, high=np.nan), 5, "One")
    assert "**experts** cannot be judged, with one language steered to" in alone and "+0.100 [no interval]" in alone
    with pytest.raises(LookupError, match="no k 80; did you mean 5"):
        findings.steering_gain(gain, 80, "Mean over 6")
    assert "is above post-hoc" in findings.trade(compared, 0.5)
    assert "is below post-hoc" in findings.trade(compared, 1.1)
    assert "is not distinguishable from post-hoc" in findings.trade(compared.assign(low=-1, high=1), 0.8)


def test_readings_of_what_is_left_out_and_of_k_name_the_numbers():
    rows = [("A", 1, 0.2, 0.6, 0.3), ("B", 1, 0.2, 0.6, 0.3), ("A", 0, 0.2, 0.3, 0.3), ("B", 0, 0.2, 0.3, 0.3)]
    table = pd.DataFrame(rows, columns=["group", "layer", "untouched", "seen", "unseen"]).assign(left_out="family")
    text = findings.left_out(table)
    assert "**family** the gain at layer 1, the best after erasure, is +0.100 [+0.100, +0.100] against +0.400" in text
    assert text.endswith("or of one group, to leave a group out.")
    assert "nothing left to fit on" in findings.left_out(table[:0])
    written = pd.DataFrame({"k": [0, 5, 20], "share": [0.1, 0.4, 0.9], "own": [5.0, 8.0, 50.0], "others": 9.0})
    assert "k = 20: 0.90 at 10.0 x. The largest k within 2 x is **5**" in findings.choice(written, "A1")
    assert "No k stays within 1.1 x" in findings.choice(written, "A1", limit=1.1)


def test_a_plan_that_cannot_be_fitted_is_left_out_with_a_warning():
    plans = {("overwrite", "k=1"): dict(name="overwrite", k=1), ("overwrite", "many"): dict(name="overwrite", k=10**9)}
    with pytest.warns(UserWarning, match="overwrite many is left out"):
        assert list(comparison.fitted(Fitting(LM, TABLE), plans, "loud")) == [("overwrite", "k=1")]


def test_a_sentence_finds_its_paraphrase_among_those_of_its_language(monkeypatch):
    twice = TABLE.assign(text=[" ".join(reversed(text.split())) for text in TABLE.text])
    monkeypatch.setattr(comparison.world, "build", lambda _: SimpleNamespace(sentences=lambda *_, **__: twice))
    found = comparison.paraphrased(LM, TABLE, {("untouched",): [], ("cured",): CURE}, "world")
    assert (found.top1 == 1).all() and len(found) == 2 * 2 * 2  # plans, languages, layers; word order changes nothing
    assert comparison.paraphrased(LM, TABLE, {("untouched",): []}, "sib200").empty


def test_a_language_that_no_identifier_knows_has_no_share_and_a_warning():
    lm = tiny.language_model("llama")
    table = pd.DataFrame({"language": ["aaa_Latn"], "sentence": ["s"], "text": tiny.SENTENCES[:1]})
    with pytest.warns(UserWarning, match="no share of generated text"):
        assert np.isnan(comparison._share(lm, table, "aaa_Latn", 2, None, 0))
