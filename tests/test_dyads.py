"""Pairs of languages: one orientation everywhere, and every number as the slow and obvious version has it."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

from helpers.abx import scoring
from helpers.embeddings import activations, retrieval
from helpers.embeddings.activations import Activations
from helpers.steering import experts, methods
from helpers.steering.fitting import Fitting
from helpers.steering.hooks import Edit
from helpers.synthesis import dyads, twins
from helpers.world import planted

NAMES = ["a", "b", "c"]


def made(values, layers=(0,)) -> Activations:
    """Activations of values [language, sentence, layer, hidden]."""
    table = pd.DataFrame(
        [(p, f"s{i}") for p in NAMES for i in range(values.shape[1])], columns=["language", "sentence"]
    )
    return Activations(torch.as_tensor(values).flatten(0, 1).float(), table.assign(text="x"), list(layers))


@pytest.fixture
def states():
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(1, 12, 2, 5))
    return made(shared + 1.5 * rng.normal(size=(3, 12, 2, 5)), (2, 4))


def test_scores_are_abx_with_p_as_source_and_q_as_target(states):
    found = dyads.abx_scores(states, ("meaning", "form")).set_index(["quantity", "source", "target"]).value
    for layer in (2, 4):
        values = states.parallel(layer)
        for variant, matrix in (("meaning", scoring.meaning(values, NAMES)), ("form", scoring.form(values, NAMES))):
            for p, q in [("a", "b"), ("b", "a"), ("c", "a")]:
                assert found[f"{variant}@{layer}", p, q] == pytest.approx(matrix.loc[p, q])


def test_hits_ask_in_the_target_and_search_the_source(states):
    values, found = states.parallel(2), dyads.hits(states, 2)
    for s, t in [(0, 1), (1, 0), (2, 0)]:
        assert found[s, t].mean() == pytest.approx(retrieval.top1(values[t], values[s]))
    table = dyads.retrieved(found, NAMES, "before").set_index(["source", "target"]).value
    assert len(table) == 6 and table["a", "c"] == pytest.approx(found[0, 2].mean())


def test_a_pair_is_steered_to_its_own_source():
    cube = np.stack([np.full((3, 3, 2), i) for i in range(2)])
    found = dyads.to_source(cube)
    assert found.shape == (2, 3, 2) and (found[0] == 0).all() and (found[1] == 1).all()
    table = dyads.retrieved(found, NAMES, "after")
    assert set(table.source) == {"a", "b"} and len(table) == 4 and (table.source != table.target).all()


def test_steered_hits_are_those_of_the_steered_model_and_nothing_stays():
    lm, table = planted.wired()
    before = dyads.hits(activations.embed(lm, table, [1]), 1)
    overwritten = Edit(planted.SITE, [planted.UNIT], 0.0, 0.0)
    found = dyads.steered_hits(lm, table, {"loud": [overwritten], "quiet": []}, 1)
    assert np.array_equal(found[1], before) and before[0, 1].mean() < 0.9
    assert found[0][0, 1].mean() == 1, "the planted unit carries the language"
    assert np.array_equal(dyads.hits(activations.embed(lm, table, [1]), 1), before)


def test_a_language_that_meets_itself_has_the_values_that_need_no_measuring():
    rng = np.random.default_rng(1)
    once = rng.normal(size=(1, 20, 1, 6))
    states = made(np.concatenate([once, once, rng.normal(size=once.shape)]))
    told = dyads.abx_scores(states, ("meaning", "form")).set_index(["quantity", "source", "target"]).value
    assert told["meaning@0", "a", "b"] == twins.ITSELF["meaning"]
    assert told["form@0", "a", "b"] == twins.ITSELF["form"]
    assert dyads.hits(states, 0)[0, 1].mean() == twins.ITSELF["retrieval"]
    labels, units = np.repeat(["a", "b"], 20), rng.normal(size=(20, 7))
    twice = np.concatenate([units, units])
    found = dyads.separated(twice, twice, labels, labels, [("a", "b")], 3)
    assert found.value[0] == twins.ITSELF["auroc"]


def test_shared_experts_are_counted_by_hand():
    found = pd.DataFrame(dict(language=list("aabb"), site=["x", "x", "x", "y"], unit=[1, 2, 2, 1]))
    table = dyads.shared(found).set_index(["source", "target"])
    assert table.value["a", "b"] == 0.5 and set(table.quantity) == {"shared"}


def test_units_are_chosen_on_one_half_and_judged_on_the_other():
    rng, k = np.random.default_rng(2), 4
    labels = np.repeat(["a", "b", "c"], 30)
    fit, test = (rng.normal(size=(90, 10)) + (labels == "a")[:, None] * np.linspace(-2, 2, 10) for _ in range(2))
    for source, target in [("a", "b"), ("b", "a"), ("b", "c")]:
        rows = np.isin(labels, (source, target))
        truth = labels[rows] == source
        first = np.array([roc_auc_score(truth, column) for column in fit[rows].T]) - 0.5
        again = np.array([roc_auc_score(truth, column) for column in test[rows].T]) - 0.5
        best = np.argsort(-np.abs(first))[:k]
        expected = 0.5 + np.mean(np.sign(first[best]) * again[best])
        found = dyads.separated(fit, test, labels, labels, [(source, target)], k)
        assert found.value[0] == pytest.approx(expected)
    noise = dyads.separated(fit, test, labels, labels, [("b", "c")], k).value[0]
    clear = dyads.separated(fit, test, labels, labels, [("a", "c")], k).value[0]
    assert abs(noise - 0.5) < 0.2 and clear > 0.8 and experts.auroc(fit, labels).shape == (3, 10)


def test_views_are_measured_on_the_sentences_that_they_name():
    lm, table = planted.wired()
    splits = {name: table[table.sentence.isin([f"s{i}" for i in range(start, start + 20)])].reset_index(drop=True)
              for name, start in (("fit", 0), ("dev", 20), ("test", 40))}  # fmt: skip
    found = dyads.views(lm, splits, k=1, layer=1)
    seen, again = (activations.embed(lm, splits[name], [1]) for name in ("dev", "test"))
    assert sorted(found.languages) == ["loud", "quiet"] and found.last == 1
    expected = [dyads.abx_scores(seen), dyads.retrieved(dyads.hits(seen, 1), found.languages, "before, on dev")]
    pd.testing.assert_frame_equal(found.predictors, pd.concat(expected))
    assert list(found.outcomes.quantity.unique()) == ["before", "after, experts", "after, random units"]
    assert np.array_equal(found.before, dyads.hits(again, 1))
    for units, control in {"experts": "none", "random units": "random"}.items():
        for i, name in enumerate(found.languages):
            edits = methods.fit("overwrite", Fitting(lm, splits["fit"]), name, k=1, control=control, seed=i)
            expected = dyads.steered_hits(lm, splits["test"], {name: edits}, 1)[0]
            assert np.array_equal(found.cubes[units][i], expected)
    assert set(found.reliability.quantity) == {f"{variant}@1" for variant in dyads.VARIANTS}


def test_reliability_is_the_correlation_of_two_measurements():
    table, _, _ = planted.pairs_case(languages=8, kin=2)
    assert np.allclose(dyads.reliability(table, table).r, 1)
    noise = table.assign(value=np.random.default_rng(0).normal(size=len(table)))
    assert dyads.reliability(table, noise).r.abs().max() < 0.5
