"""What edits do, measured where the answer is known: a model wired so that one unit carries the language."""

import warnings
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import tiny
import torch

from helpers.embeddings import activations, retrieval
from helpers.embeddings.activations import Activations
from helpers.steering import comparison, experts, findings, generation, hooks, measuring, methods
from helpers.steering.fitting import Fitting
from helpers.steering.hooks import Edit
from helpers.world import planted

LM, TABLE = planted.wired()
BEFORE = activations.embed(LM, TABLE)
CURE = [Edit(planted.SITE, [planted.UNIT], 0.0, 0.0)]


def top1(queries, **options):
    return retrieval.per_sentence(retrieval.correct(queries, **options)).mean()


@pytest.fixture(scope="module")
def measured():
    plans = {("cure",): CURE, ("placebo",): [Edit(planted.SITE, [planted.UNIT + 1], 0.0, 0.0)]}
    return measuring.effects(LM, TABLE, plans, names=["plan"]).set_index(["plan", "layer", "metric"])


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


def test_the_medoid_is_one_language_before_and_after_an_edit():
    """The edit turns one language's sentences away, and another language becomes the middle."""
    angles = {"A": 0.0, "B": 0.4, "C": 1.0}
    table = pd.DataFrame({"language": [*angles] * 2, "sentence": np.repeat([0, 1], 3), "text": ""})
    turned = {when: angles | change for when, change in (("before", {}), ("after", {"B": 2.0}))}
    states = {
        when: Activations(torch.tensor([[[np.cos(a), np.sin(a)]] for a in new.values()] * 2), table, [1])
        for when, new in turned.items()
    }
    middle = {when: retrieval.distances(s.parallel(1), s.languages).other.iloc[-1] for when, s in states.items()}
    assert middle == {"before": "B", "after": "C"}
    row = measuring.changes(**states, metrics=["medoid"]).iloc[0]
    assert row.before == pytest.approx(np.mean([1 - np.cos(0.4 - a) for a in turned["before"].values()]))
    assert row.after == pytest.approx(np.mean([1 - np.cos(2.0 - a) for a in turned["after"].values()]))


def test_numbers_are_those_of_alignment(measured):
    state = BEFORE.parallel(1)
    assert measured.before["cure", 1, "top1"] == pytest.approx(retrieval.per_sentence(retrieval.correct(state)).mean())
    centred = retrieval.per_sentence(retrieval.correct(state - state.mean(1, keepdim=True))).mean()
    assert measured.before["cure", 1, "centred"] == pytest.approx(centred)


def test_mixed_retrieval_takes_its_candidates_from_the_steered_model(measured):
    with hooks.steered(LM, CURE):
        after = activations.embed(LM, TABLE).parallel(1)
    mixed = retrieval.per_sentence(retrieval.correct(BEFORE.parallel(1), candidates=after)).mean()
    assert measured.after["cure", 1, "mixed"] == pytest.approx(mixed)


def test_posthoc_projection_equals_projecting_each_layer_and_leaves_its_input():
    values = BEFORE.values.clone()
    out = Fitting(LM, TABLE).posthoc(BEFORE)
    space = retrieval.subspace(BEFORE.parallel(1))
    np.testing.assert_allclose(out.layer(1), retrieval.project(BEFORE.layer(1), space), atol=1e-6)
    assert (BEFORE.values == values).all()


def test_leaving_out_a_group_that_leaves_one_language_is_skipped():
    assert Fitting(LM, TABLE).left_out(BEFORE, {"quiet": "a", "loud": "b"}).empty


def test_states_over_strengths_start_untouched_and_end_with_the_edit():
    states, metrics = measuring.along(LM, TABLE, CURE, [0.0, 1.0], layer=1)
    np.testing.assert_array_equal(states[0.0], BEFORE.layer(1).numpy())
    metrics = metrics.set_index(["strength", "metric"]).value
    assert metrics[1.0, "top-1 retrieval"] == 1 and metrics[1.0, "distance"] < metrics[0.0, "distance"]


# --- of a gain, how much is offset ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def planted_parts():
    """The changes at layer 2 of the two wired models, their unit overwritten with its mean of maxima."""
    found = {}
    for case in ("offset", "selector"):
        lm, table = planted.wired(case)
        fitting = Fitting(lm, table)
        answers = fitting.responses("max")[planted.SITE][fitting.own("loud"), planted.UNIT]
        edits = [Edit(planted.SITE, [planted.UNIT], 0.0, answers.mean())]
        found[case] = measuring.effects(lm, table, {case: edits}, names=["case"], layers=[2]).set_index("metric")
    return found


@pytest.mark.parametrize("case", ["offset", "selector"])
def test_the_parts_sum_to_the_gain_and_lie_end_to_end(planted_parts, case):
    rows = planted_parts[case]
    parts = rows.loc[[*measuring.PARTS]]
    assert parts.change.sum() == pytest.approx(rows.change["top1"], abs=1e-12)
    assert parts.before.tolist()[1:] == parts.after.tolist()[:-1] and parts.before.iloc[0] == rows.before["top1"]
    assert parts.after.iloc[-1] == rows.after["top1"]


def test_a_gain_that_is_all_offset_dies_under_every_control(planted_parts):
    rows = planted_parts["offset"]
    assert rows.low["top1"] > 0.2 and rows.change["offset"] == pytest.approx(rows.change["top1"], abs=0.01)
    assert rows.change[["language", "left", "global", "centred", "euclidean"]].abs().max() < 0.01
    assert not (rows.low[["left", "global", "centred"]] > 0).any()


def test_a_gain_that_a_selector_makes_survives_every_control(planted_parts):
    rows = planted_parts["selector"]
    assert rows.before["top1"] < 0.05 and rows.after["top1"] > 0.95
    assert (rows.low[["left", "global", "centred", "euclidean", "margin"]] > 0.8).all()
    assert rows.change[["offset", "language"]].abs().max() < 0.05


def test_steps_equal_retrieval_of_states_that_are_moved():
    rng = np.random.default_rng(0)
    before = torch.from_numpy(rng.normal(size=(3, 12, 6)))
    after = before + torch.from_numpy(rng.normal(size=(3, 1, 6)) + 0.3 * rng.normal(size=(3, 12, 6)))
    shift = (after - before).mean(1, keepdim=True)
    first, second = measuring.steps(before, after, seed=4)
    np.testing.assert_allclose(second, retrieval.per_sentence(retrieval.correct(before + shift)))
    drawn = np.random.default_rng(4).normal(size=(20, 6))
    drawn *= float(shift.mean(0).norm()) / np.linalg.norm(drawn, axis=1, keepdims=True)
    moved = [retrieval.per_sentence(retrieval.correct(before.numpy() + one)) for one in drawn]
    np.testing.assert_allclose(first, np.mean(moved, axis=0))


def test_of_several_languages_steered_to_the_mean_is_taken_before_sentences_are_resampled():
    lm, table = planted.wired("selector", sentences=20)
    before, afters = activations.embed(lm, table), []
    for value in (0.0, 1.0):
        with hooks.steered(lm, [Edit(planted.SITE, [planted.UNIT], 0.0, value)]):
            afters.append(activations.embed(lm, table))
    both = measuring.changes(before, afters, metrics=["top1", "left", "pairs_all"])
    single = [measuring.changes(before, after, metrics=["top1", "left", "pairs_all"]) for after in afters]
    np.testing.assert_allclose(both.change, (single[0].change + single[1].change) / 2)


@pytest.fixture(scope="module")
def compared():
    """The carrier's cure beside an erasure and an edit of another unit, steered to both languages."""
    fitting = Fitting(LM, TABLE)
    plans = {("overwrite", "k=1"): CURE, ("erase", "block 0"): methods.fit("erase", fitting, block=0)}
    plans |= {("overwrite, random units", "k=1"): [Edit(planted.SITE, [planted.UNIT + 1], 0.0, 0.0)]}
    options = dict(texts=TABLE, posthoc=fitting.posthoc(BEFORE), samples=0)
    return comparison.compare(LM, [TABLE, TABLE], dict.fromkeys(("loud", "quiet"), plans), **options)


def test_methods_stand_beside_the_untouched_model_with_their_price(compared):
    assert compared.method.tolist() == ["untouched", "overwrite", "erase", "overwrite, random units"]
    untouched, cured, _, placebo = (compared.iloc[i] for i in range(4))
    assert untouched.gain_top1 == placebo.gain_top1 == 0 and cured["global"] == 1 and cured.low_global > 0
    parts = [f"gain_{part}" for part in measuring.PARTS]
    np.testing.assert_allclose(compared[parts].sum(axis=1), compared.gain_top1, atol=1e-12)
    assert untouched.neighbours == placebo.neighbours == 1 and 0 < cured.neighbours <= 1
    assert (compared.perplexity > 0).all() and compared.share.isna().all() and compared.frontier.any()


def test_the_method_is_chosen_on_dev_and_set_against_posthoc_projection_paired(compared):
    assert compared.chosen.sum() == 1 and compared.on_dev[1:].max() == compared.on_dev[compared.chosen].iloc[0]
    best = compared[compared.chosen].iloc[0]
    centred = retrieval.scores(Fitting(LM, TABLE).posthoc(BEFORE).parallel(1), ["global"])["global"]
    assert best["global"] - best.over_posthoc == pytest.approx(retrieval.per_sentence(centred).mean())
    assert best.low_posthoc <= best.over_posthoc <= best.high_posthoc


def test_the_frontier_keeps_what_nothing_else_beats():
    price, found = pd.Series([4.0, 3.0, 2.0, 1.0]), pd.Series([0.5, 0.5, 0.1, 0.2])
    assert comparison.frontier(price, found).tolist() == [False, True, False, True]


def test_neighbours_that_stay_are_counted_within_a_language():
    table = pd.DataFrame({"language": np.repeat(["A", "B"], 12), "sentence": [*range(12)] * 2, "text": ""})
    before = Activations(torch.randn(24, 1, 4, generator=torch.Generator().manual_seed(0)), table, [1])
    assert comparison.kept(before, before) == 1
    after = Activations(before.values.flip(0), table, [1])
    expected = []
    for states in zip(before.parallel(1), after.parallel(1)):
        for i in range(12):
            near = []
            for x in states:
                cosine = torch.nn.functional.cosine_similarity(x[i], x, dim=1)
                cosine[i] = -2
                near.append({*cosine.argsort(descending=True)[:10].tolist()})
            expected.append(len(near[0] & near[1]) / 10)
    assert comparison.kept(before, after) == pytest.approx(np.mean(expected))


def test_pseudo_perplexity_masks_each_token_in_turn():
    lm = tiny.language_model("bert")
    table = pd.DataFrame({"language": ["a", "a", "b"], "text": [tiny.SENTENCES[0], "a dog", "der mann"]})
    losses = {"a": [], "b": []}
    for row in table.itertuples():
        ids = lm.tokenizer(row.text, return_tensors="pt", return_special_tokens_mask=True)
        for place in (ids["special_tokens_mask"][0] == 0).nonzero()[:, 0].tolist():
            masked = ids["input_ids"].clone()
            masked[0, place] = lm.tokenizer.mask_token_id
            with torch.no_grad():
                scores = lm.model(input_ids=masked).logits[0, place].log_softmax(-1)
            losses[row.language].append(-scores[ids["input_ids"][0, place]].item())
    expected = np.exp(np.mean([np.mean(part) for part in losses.values()]))
    assert generation.price(lm, table) == generation.pseudo_perplexity(lm, table) == pytest.approx(expected, rel=1e-4)
    assert generation.price(LM, TABLE) > 1


def answer(*asked):
    said, table = findings.answer(*asked)
    assert said.startswith("**") and said.endswith("**") and len(said.split()) <= 40
    return said[2:-2], table


def test_the_two_planted_cases_get_opposite_verdicts(planted_parts):
    rows = pd.concat(part.reset_index().assign(case=case) for case, part in planted_parts.items())
    text, table = answer("planted", rows)
    first, second = text.split("; selector: ")
    assert first.count("+0.00 (not distinguishable from 0)") == 2 and "above" not in first
    assert second.count("(above 0)") == 2 and "not distinguishable" not in second
    assert table.loc["offset", "globally centred"] == pytest.approx(0, abs=0.01)


def test_what_survives_is_said_from_the_intervals(planted_parts):
    rows = planted_parts["offset"].reset_index()
    text, table = answer("survives", rows, "5 experts at layer 2")
    assert text.startswith("5 experts at layer 2: of the gain of +0.392 in plain top-1, a constant gives +0.39")
    assert table.index.tolist() == [*findings.SHOWN.values()]
    text, _ = answer("survives", rows.assign(low=-1.0), "5 experts")
    assert text.endswith("by +0.392, not distinguishable from zero: there is no gain to explain.")
    assert "without an interval" in answer("survives", rows.assign(low=np.nan, high=np.nan), "5 experts")[0]
    assert "of the loss of -0.392" in answer("survives", rows.assign(change=-rows.change, low=-1, high=-0.1), "x")[0]


def test_findings_take_their_verdicts_from_the_intervals(compared):
    gain = pd.DataFrame(
        [("experts", 1, 0.1, 0.05, 0.2), ("experts", 2, -0.1, -0.2, -0.05), ("random", 1, 0.1, -0.1, 0.2)]
        + [("experts less random", 1, 0.1, 0.05, 0.2), ("experts less matched", 1, 0.1, -0.1, 0.2)],
        columns=["units", "layer", "change", "low", "high"],
    )
    gain = pd.concat([gain.assign(metric=metric) for metric in ("top1", "global", "centred")])
    text, table = answer("gain", gain, 5)
    assert text == (
        "5 experts raise top-1 plain at layer 1, globally centred at layer 1, language-centred at layer 1; "
        "globally centred more than random at layer 1, than matched at no layer."
    )
    assert table.loc[("plain", "experts"), 2] == -0.1
    alone, _ = answer("gain", gain.assign(low=np.nan, high=np.nan), 5)
    assert "what 5 experts change cannot be judged" in alone
    text, table = answer("price", compared, 0.5)
    assert (
        text.startswith("Chosen on dev, ") and "times the perplexity" in text and "post-hoc projection (0.50)" in text
    )
    assert table.survives.iloc[0] == "" and table.survives[compared.chosen].iloc[0] == "++"
    assert "of neighbours stay" in answer("price", compared.assign(perplexity=np.nan), 0.5)[0]
    shares = pd.DataFrame({"layer": 1, "component": ["embeddings", "MLPs", "all"], "share": [0.2, 0.8, 1.0]})
    text, _ = answer("headroom", shares.assign(change=0.1), 1)
    assert "embeddings 20% (+0.100), MLPs 80% (+0.100); all of it gives +0.100." in text
    with pytest.raises(LookupError, match="no question 'prize'; did you mean price"):
        findings.answer("prize", compared, 0.5)


def test_findings_of_what_is_left_out_and_of_k_name_the_numbers():
    rows = [("fitted with it", 0, 0.1, 0.1, 0.1), ("fitted with it", 1, 0.4, 0.3, 0.5)]
    rows += [("fitted without it", 0, 0.3, 0.2, 0.4), ("fitted without it", 1, 0.1, 0.05, 0.15)]
    table = pd.DataFrame(rows, columns=["fit", "layer", "gain", "low", "high"]).assign(left_out="family")
    text, shown = answer("left_out", pd.concat([table, table.assign(left_out="language", low=0.0)], ignore_index=True))
    assert "without the family +0.100, above zero, against +0.400 with it (layer 1)" in text
    assert "the language +0.100, not distinguishable from zero" in text and set(shown.layer) == {1}
    assert "none can be left out" in answer("left_out", table[:0])[0]
    written = pd.DataFrame({"k": [0, 5, 20], "share": [0.1, 0.4, 0.9], "own": [5.0, 8.0, 50.0], "others": 9.0})
    assert "of A1 is 5: 0.40 of the text is in A1, against 0.10 untouched." in answer("written", written, "A1")[0]
    assert "is 0: 0.10 of the text" in answer("written", written.assign(own=[1, 3, 9]), "A1")[0]
    assert "writes nothing" in answer("written", written[:0], "A1")[0]


def test_a_plan_that_cannot_be_fitted_is_left_out_with_a_warning():
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        made = comparison.catalogue(Fitting(LM, TABLE), "loud", [1, 2, 10**9], [0])
    assert any(f"overwrite k={10**9} is left out: k = {10**9} but" in str(warning.message) for warning in told)
    assert ("overwrite", "k=2") in made and ("erase", "block 0, rank 1") in made
    assert all(setting != f"k={10**9}" for _, setting in made)


def test_what_is_written_has_its_share_and_its_price():
    written = comparison.written(LM, TABLE, {0: [], 1: CURE}, "loud", samples=0)
    cost = generation.perplexity(LM, TABLE).set_index("language").perplexity
    assert written.share.isna().all() and written.k.tolist() == [0, 1]
    assert written.own[0] == pytest.approx(cost["loud"]) and written.others[0] == pytest.approx(cost["quiet"])
    encoder = tiny.language_model("xlm_roberta")
    assert comparison.written(encoder, TABLE, {0: []}, "loud", samples=2).empty


def test_a_sentence_finds_its_paraphrase_among_those_of_its_language():
    twice = TABLE.assign(text=[" ".join(reversed(text.split())) for text in TABLE.text])
    world = SimpleNamespace(sentences=lambda *_, **__: twice)
    found = comparison.paraphrased(LM, TABLE, {"untouched": [], "cured": CURE}, world)
    assert (found.top1 == 1).all() and len(found) == 2 * 2 * 2  # plans, languages, layers; word order changes nothing
    assert comparison.paraphrased(LM, TABLE, {"untouched": []}, None).empty


def test_a_language_that_no_identifier_knows_has_no_share_and_a_warning():
    lm = tiny.language_model("llama")
    table = pd.DataFrame({"language": ["aaa_Latn"], "sentence": ["s"], "text": tiny.SENTENCES[:1]})
    with pytest.warns(UserWarning, match="no share of generated text"):
        assert np.isnan(comparison._share(lm, table, "aaa_Latn", 2, None, 0))
