"""Twins inside a model: effects by hand, verdicts, and one whole measurement of a tiny training."""

import numpy as np
import pandas as pd
import pytest

from helpers.models import hub
from helpers.synthesis import twins
from helpers.transfer import findings
from helpers.world import mini, recipes, worlds

TWINS = {"A1-script": ("A1", "script", 1.0), "A1-order-0.5": ("A1", "order", 0.5)}


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A recipe of a few steps with two twins, in a folder of the test's own."""
    monkeypatch.setitem(worlds.NAMED, "small", worlds.Options(families=2, per_family=3))
    made = recipes.Recipe(
        world="small", steps=4, checkpoints=2, batch=8, hidden=16, layers=2, heads=2, mlp=24, vocabulary=400,
        twinned=1, changes=(("script", 1.0), ("order", 0.5)),
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
    assert len(changed) == 8 * 2 * 2 and set(changed.kin) == {"itself", "sibling"} and set(changed.world) == {"small"}
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
    assert made.seed == 2 and len(known) == 3 * len(worlds.CHANGES)
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


def test_a_whole_comparison_has_curves_ranks_verdicts_and_power(monkeypatch):
    """One outcome follows words in every training, and correlation and twins have to say so; order has no effect."""
    rng, similar = np.random.default_rng(0), worlds.build().similarity()
    lexical = similar[(similar.measure == "lexical") & (similar.source != similar.target)]
    natural = lexical.rename(columns={"measure": "outcome"}).assign(outcome="shared")
    natural["value"] = 0.5 * natural.value + 1e-3 * rng.normal(size=len(natural))
    keys = [(f"m{i}", kin, f"A{j}", change, dose) for i in range(3) for kin in ("sibling", "itself") for j in range(3)
            for change in worlds.CHANGES for dose in (0.5, 1.0)]  # fmt: skip
    found = pd.DataFrame(keys, columns=["trained", "kin", "original", "change", "dose"]).assign(outcome="shared")
    found["effect"] = -0.4 * found.dose * (found.change == "lexicon") + 1e-3 * rng.normal(size=len(found))
    tables = {"twins-natural": (natural, {}), "twins-effects": (found, {"parameters": {"k": 80, "layer": 3}})}
    monkeypatch.setattr(twins.results, "read_summary", tables.get)
    made = twins.causes([], k=1, layer=1, permutations=199)
    curve = made.curves[(made.curves.kin == "sibling") & (made.curves.change == "lexicon")].sort_values("dose")
    assert list(curve.dose) == [0, 0.5, 1] and curve.effect.to_numpy() == pytest.approx([0, -0.2, -0.4], abs=0.01)
    near = made.compared[made.compared.kin == "sibling"].set_index("change")
    assert near.verdict["lexicon"] == "agree: it matters" and near.verdict["control"] == "agree: none"
    assert (
        near.cause["order"] == "none"
        and (near.smallest < 0.05).all()
        and set(near.k) == {80}
        and set(near["at"]) == {3}
    )
    assert (made.compared[made.compared.kin == "itself"].verdict == "").all(), "beside the original sizes only"
    ranks = made.ranks.set_index(["by", "change"])
    assert (
        len(ranks) == 12
        and ranks["rank"]["twin and\nsibling", "lexicon"] == 1
        and "control" not in set(made.ranks.change)
    )
    assert ranks.significant["correlation", "lexicon"] and not ranks.significant["twin and\nsibling", "order"]
    assert set(made.power.outcome) == {"shared"} and made.power.smallest[0] > 0
    said, _ = findings.answer("cause", made.compared)
    assert "that hold freely" in said and len(said.split()) <= 40


def test_an_outcome_that_is_one_similarity_is_told_so():
    similar = worlds.build().similarity()
    lexical = similar[(similar.measure == "lexical") & (similar.source != similar.target)]
    lexical = lexical.assign(value=lexical.value + 1e-3 * np.random.default_rng(0).normal(size=len(lexical)))
    found = lexical.rename(columns={"measure": "outcome"}).assign(outcome="shared", trained="m")
    table = twins.correlations(found, permutations=19).set_index("change")
    assert table.r["lexicon"] == pytest.approx(1, abs=0.01) and table.partial_r["lexicon"] > 0.95
    assert table.partial_r.drop("lexicon").abs().max() < 0.3 and set(table.index) == {
        "script",
        "lexicon",
        "order",
        "morphology",
    }


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


def test_languages_of_two_worlds_are_two_sets_of_languages():
    natural = []
    for name in ("default", "default-w1"):
        similar = worlds.build(name).similarity()
        similar = similar[(similar.measure == "lexical") & (similar.source != similar.target)].assign(world=name)
        natural.append(similar.rename(columns={"measure": "outcome"}).assign(outcome="shared"))
    natural = pd.concat(natural, ignore_index=True)
    natural["value"] += 1e-3 * np.random.default_rng(0).normal(size=len(natural))
    table = twins.correlations(natural, permutations=19).set_index("change")
    assert table.r["lexicon"] == pytest.approx(1, abs=0.01) and table.holm["lexicon"] < 0.25


def test_nothing_measured_is_nothing_told(monkeypatch):
    def absent(name):
        raise LookupError(name)

    monkeypatch.setattr(twins.results, "read_summary", absent)
    assert twins.causes([], k=1, layer=1) is None
