"""Twins inside a model: effects by hand, verdicts, and one whole measurement of a tiny training."""

import numpy as np
import pandas as pd
import pytest

from helpers.common import stats
from helpers.models import hub
from helpers.synthesis import findings, twins
from helpers.world import mini, recipes, worlds

TWINS = {"A1-script": ("A1", "script", 1.0), "A1-order-0.5": ("A1", "order", 0.5)}


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A recipe of a few steps with two twins, in a folder of the test's own."""
    monkeypatch.setitem(worlds.NAMED, "small", worlds.Options(families=2, per_family=3))
    made = recipes.Recipe(
        world="small", steps=4, checkpoints=2, batch=8, hidden=16, layers=2, heads=2, mlp=24, vocabulary=400,
        twins=tuple(TWINS.values()),
    )  # fmt: skip
    monkeypatch.setitem(recipes.RECIPES, "mini-small", made)
    monkeypatch.setattr(mini, "CHUNK", 4)
    monkeypatch.setattr(twins, "SENTENCES", 8)
    for module in (mini, hub, twins.store):
        monkeypatch.setattr(module, "DATA", tmp_path)
    return "mini-small"


@pytest.mark.slow
def test_everything_is_measured_of_every_pair_that_is_asked_about(small):
    found = twins.kept(small, k=3, layer=1)
    assert not found.duplicated(["outcome", "source", "target"]).any() and found.value.notna().all()
    sizes = found.groupby("outcome").size()
    natural, other = 30, 2 * 3  # six languages; each twin with the three of its family
    assert dict(sizes) == dict.fromkeys(twins.ITSELF, natural + other) | dict.fromkeys(["topics", "pos"], 37)
    assert not found.source.isin(TWINS).any(), "twins are targets"
    plain, changed = twins._split(small, found)
    assert len(plain) == 8 * natural and not plain.target.isin(TWINS).any() and set(plain.trained) == {small}
    assert len(changed) == 8 * 2 * 2 and set(changed.kin) == {"itself", "sibling"}
    row = changed.set_index(["outcome", "kin", "change"]).loc[("retrieval", "sibling", "script")]
    value = found.set_index(["outcome", "source", "target"]).value["retrieval"]
    assert row.after == pytest.approx(np.mean([value["A2", "A1-script"], value["A3", "A1-script"]]))
    assert row.before == pytest.approx(np.mean([value["A2", "A1"], value["A3", "A1"]]))


def test_a_model_without_twins_is_refused():
    with pytest.raises(ValueError, match="mini was trained without twins"):
        twins.kept("mini", k=5, layer=1)


def test_the_recipe_has_every_twin_that_the_names_say():
    made = recipes.recipe("mini-twins-seed2")
    known = twins.originals(made)
    assert made.seed == 2 and len(known) == 36
    for name, (original, change, dose) in known.items():
        assert name == f"{original}-{change}" + (f"-{dose:g}" if dose < 1 else "")


def test_effects_start_from_what_a_language_has_with_itself():
    rows = [("form", "A1", "A1-script", 0.9), ("form", "A2", "A1-script", 0.8), ("form", "A2", "A1", 0.7)]
    rows += [("form", "A3", "A1-script", 0.6), ("form", "A3", "A1", 0.4)]
    rows += [("topics", "A1", "A1-script", 0.5), ("topics", "A1", "A1", 0.95)]
    found = pd.DataFrame(rows, columns=["outcome", "source", "target", "value"])
    table = twins.effects(found, TWINS).set_index(["outcome", "kin"])
    assert table.effect["form", "itself"] == pytest.approx(0.9 - 0.5)
    assert table.effect["form", "sibling"] == pytest.approx((0.8 - 0.7 + 0.6 - 0.4) / 2)
    assert table.effect["topics", "itself"] == pytest.approx(0.5 - 0.95)


def effects(cells: dict) -> pd.DataFrame:
    """Effects of (change, dose) -> [training, original], for one outcome and both kinds of kin."""
    rows = [
        ("meaning", kin, f"A{j}", change, dose, x, f"m{i}")
        for kin in ("sibling", "itself")
        for (change, dose), values in cells.items()
        for (i, j), x in np.ndenumerate(np.array(values))
    ]
    return pd.DataFrame(rows, columns=["outcome", "kin", "original", "change", "dose", "effect", "trained"])


def test_the_summary_speaks_of_trainings_and_originals_alike():
    cells = np.random.default_rng(0).normal(size=(4, 5))
    row = twins.summary(effects({("script", 1.0): cells})).query("dose == 1").iloc[0]
    assert (row.effect, row.low, row.high) == stats.crossed_interval(cells) and row.n == 20
    one = twins.summary(effects({("script", 1.0): cells[:1]})).query("dose == 1").iloc[0]
    assert (one.low, one.high) == stats.few_interval(cells[0])[1:], "one training: its originals alone"


def test_the_start_of_a_curve_is_no_effect():
    table = twins.summary(effects({("script", 0.5): [[1.0]], ("script", 1.0): [[2.0]]}))
    curve = table[table.kin == "sibling"].sort_values("dose")
    assert list(curve.dose) == [0, 0.5, 1] and list(curve.effect) == [0, 1, 2]


def test_verdicts_compare_claims_with_causes_and_ranks_go_by_size():
    noise = np.random.default_rng(0).normal(scale=0.01, size=(3, 3))
    down, up, none = noise - 0.4, noise + 0.3, noise - noise.mean()
    table = twins.summary(
        effects({("script", 1.0): down, ("lexicon", 1.0): none, ("order", 1.0): down, ("morphology", 1.0): up})
    )
    told = pd.DataFrame(
        [("meaning", "script", 0.5, 0.01), ("meaning", "lexicon", 0.9, 0.01), ("meaning", "order", 0.1, 0.8)]
        + [("meaning", "morphology", 0.3, 0.01)],
        columns=["outcome", "change", "r", "holm"],
    ).assign(partial_r=0.0, r_low=lambda t: t.r - 0.05, r_high=lambda t: t.r + 0.05, p=1.0)  # fmt: skip
    found = twins.compared(table, told)
    near = found[found.kin == "sibling"].set_index("change")
    said = {"script": "agree: it matters", "lexicon": "misleads: no effect found"}
    assert near.verdict.to_dict() == said | {"order": "missed", "morphology": "opposed"}
    assert near.r_rank["lexicon"] == 1 and near.cause_rank["lexicon"] == 4 and near.cause_rank["script"] == 1.5
    ranks = twins.ranks(found)
    assert len(ranks) == 12 and not ranks[(ranks.by == "correlation") & (ranks.change == "order")].significant.iloc[0]
    said, first = findings.causes(found)
    first = first.set_index("kin").loc["sibling"]
    assert first.r == "lexicon +0.90" and {x.split()[0] for x in first.effect.split(", ")} == {"script", "order"}
    assert "1 of 3 where the source is a sibling, 1 of 3 where the source is the original" in said
    none, _ = findings.causes(found.assign(r_significant=False))
    assert "none is significant" in none


def test_an_outcome_that_is_one_similarity_is_told_so():
    similar = worlds.build().similarity()
    lexical = similar[(similar.measure == "lexical") & (similar.source != similar.target)]
    lexical = lexical.assign(value=lexical.value + 1e-3 * np.random.default_rng(0).normal(size=len(lexical)))
    found = lexical.rename(columns={"measure": "outcome"}).assign(outcome="shared", trained="m")
    table = twins.correlations(found, permutations=19).set_index("change")
    assert table.r["lexicon"] == pytest.approx(1, abs=0.01) and table.partial_r["lexicon"] > 0.95
    assert table.partial_r.drop("lexicon").abs().max() < 0.3 and set(table.index) == set(worlds.CHANGES)


def test_what_is_kept_of_a_training_belongs_to_its_code_weights_and_parameters(small, monkeypatch):
    made = []

    def measured(lm, **options):
        made.append(options)
        return pd.DataFrame({"value": [float(len(made))]})

    monkeypatch.setattr(twins, "measured", measured)
    assert [twins.kept(small, k=3, layer=1).value[0] for _ in range(2)] == [1, 1]
    assert twins.kept(small, k=4, layer=1).value[0] == 2
    monkeypatch.setattr(twins.store, "code", lambda *_: "other code")
    assert twins.kept(small, k=3, layer=1).value[0] == 3, "the code has changed"
    identity = twins.models.identity
    monkeypatch.setattr(twins.models, "identity", lambda lm: identity(lm) | {"weights": "others"})
    assert twins.kept(small, k=3, layer=1).value[0] == 4, "the model was trained anew"
