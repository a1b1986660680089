"""Pairs of languages: one orientation everywhere, and every number as the slow and obvious version has it."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

from helpers.abx import scoring
from helpers.embeddings import activations, retrieval
from helpers.embeddings.activations import Activations
from helpers.steering import experts
from helpers.steering.hooks import Edit
from helpers.synthesis import causes, dyads
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


def test_told_is_abx_with_p_as_source_and_q_as_target(states):
    found = dyads.told(states, ("meaning", "form")).set_index(["quantity", "source", "target"]).value
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
    cube = {name: np.full((3, 3, 2), i) for i, name in enumerate(NAMES[:2])}
    found = dyads.own(cube, NAMES)
    assert (found[0] == 0).all() and (found[1] == 1).all() and np.isnan(found[2]).all()
    assert set(dyads.retrieved(found, NAMES, "after").source) == {"a", "b"}


def test_steered_hits_are_those_of_the_steered_model_and_nothing_stays():
    lm, table = planted.wired()
    before = dyads.hits(activations.embed(lm, table, [1]), 1)
    overwritten = Edit(planted.SITE, [planted.UNIT], 0.0, 0.0)
    found = dyads.steered_hits(lm, table, {"loud": [overwritten], "quiet": []}, 1)
    assert np.array_equal(found["quiet"], before) and before[0, 1].mean() < 0.9
    assert found["loud"][0, 1].mean() == 1, "the planted unit carries the language"
    assert np.array_equal(dyads.hits(activations.embed(lm, table, [1]), 1), before)


def test_a_language_that_meets_itself_has_the_values_that_need_no_measuring():
    rng = np.random.default_rng(1)
    once = rng.normal(size=(1, 20, 1, 6))
    states = made(np.concatenate([once, once, rng.normal(size=once.shape)]))
    told = dyads.told(states, ("meaning", "form")).set_index(["quantity", "source", "target"]).value
    assert told["meaning@0", "a", "b"] == causes.ITSELF["meaning"]
    assert told["form@0", "a", "b"] == causes.ITSELF["form"]
    assert dyads.hits(states, 0)[0, 1].mean() == causes.ITSELF["retrieval"]
    labels, units = np.repeat(["a", "b"], 20), rng.normal(size=(20, 7))
    twice = np.concatenate([units, units])
    found = dyads.told_apart(twice, twice, labels, labels, [("a", "b")], 3)
    assert found.value[0] == causes.ITSELF["auroc"]


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
        found = dyads.told_apart(fit, test, labels, labels, [(source, target)], k)
        assert found.value[0] == pytest.approx(expected)
    noise = dyads.told_apart(fit, test, labels, labels, [("b", "c")], k).value[0]
    clear = dyads.told_apart(fit, test, labels, labels, [("a", "c")], k).value[0]
    assert abs(noise - 0.5) < 0.2 and clear > 0.8 and experts.auroc(fit, labels).shape == (3, 10)
