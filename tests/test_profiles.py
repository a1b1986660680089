"""Profiles against what `scoring` and `retrieval` say of the same states."""

import weakref
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import oracles
import pandas as pd
import pytest
import tiny
import torch

from helpers import corpora, models
from helpers.abx import findings, profiles, scoring, variance
from helpers.common import store
from helpers.embeddings import activations, retrieval
from helpers.embeddings.activations import Activations
from helpers.models.loading import LanguageModel
from helpers.steering.hooks import Edit
from helpers.world import mini, planted, recipes

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
    conflict = scoring.scores(values, NAMES, ["conflict"]).set_index(["p", "q"]).accuracy
    assert one["conflict", "A2", "B1"] == pytest.approx(conflict["A2", "B1"])
    assert one["top1", "A2", "B1"] == pytest.approx(retrieval.top1(values[2], values[1]))
    mean = found[found.pairs != "one"].set_index(["layer", "variant", "pairs"])
    shares = {name: values[0] for name, values in variance.shares(values).items()}
    assert mean.accuracy[1][list(shares)].droplevel("pairs").to_dict() == pytest.approx(shares)
    for variant in ("meaning", "form", "conflict", "top1"):
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


def test_controls_have_a_row_each_and_the_layer_is_chosen_on_dev():
    layer, wide, _ = profiles.controls(states(0.0, 0.8, 0.2), STATES, GROUPS, n=2)
    assert layer == 1, "layer 1 is best on dev, and 0 is never asked"
    wide = wide.set_index("variant")
    form = scoring.form(STATES.parallel(1), NAMES).stack().mean()
    assert wide.loc["form", "all"] == pytest.approx(form) and len(wide) == 11
    assert wide.loc["form, centred by language", "all"] < 0.6
    assert wide.loc["meaning, translations shuffled", "all"] == pytest.approx(0.5, abs=0.02)


def written(*weights: float, sentences: int = 40) -> Activations:
    """`states` with texts of 21 to 40 letters, as long in every language, but in letters of its own."""
    made, rng = states(*weights, sentences=sentences), np.random.default_rng(1)
    words = [rng.choice(8, size) for size in rng.integers(21, 41, sentences)]
    texts = ["".join(chr(ord("a") + 8 * i + letter) for letter in word) for i in range(len(NAMES)) for word in words]
    return replace(made, table=made.table.assign(text=texts))


def test_a_lead_is_a_difference_of_accuracies_of_the_same_triples():
    made = written(0.2, 0.6)
    found = profiles.leads(made, 1, n=30).set_index(["triples", "baseline"])
    lengths = np.array([len(text) for text in made.table.text[:40]])
    alike = lengths[:, None] == lengths
    for layer, column in ((0, "accuracy"), (1, "best")):
        values = oracles.meaning_wins(made.parallel(layer).numpy().astype(float))  # [p, q, i, j]
        kept = alike & ~np.eye(40, dtype=bool)
        off = ~np.eye(4, dtype=bool)
        expected = {"all": values[off][:, ~np.eye(40, dtype=bool)].mean(), "of one length": values[off][:, kept].mean()}
        for triples, accuracy in expected.items():
            row = found.loc[triples, "layer 0"]
            assert row.accuracy + (row.lead if column == "best" else 0) == pytest.approx(accuracy, abs=1e-6)
    length = found.xs("length of the text", level="baseline").accuracy
    assert length["all"] > 0.95 and length["of one length"] == 0.5, "what length tells is gone"


def test_a_layer_goes_beyond_its_embeddings_and_the_surface_or_does_not():
    assert findings.beyond(leads_of(written(0.3, 0.9)))[0].startswith("m: yes, layer 1 less")
    said, table = findings.beyond(leads_of(written(0.9, 0.3)))
    assert said.startswith("m: no, layer 1 less layer 0") and not table.yes[0] and table.high[0] < 0
    said, table = findings.beyond(leads_of(written(0.2, 0.3)))  # above its embeddings, but not above length
    assert said.startswith("m: no, layer 1 less length of the text (all)")
    grams = replace(written(0.3, 0.5), table=written(0.3, 0.5).table.assign(text=lambda x: x.sentence + " is said"))
    assert "no, layer 1 less 3-grams" in findings.beyond(leads_of(grams))[0], "translations of one spelling"


def leads_of(made: Activations) -> pd.DataFrame:
    return profiles.leads(made, 1, n=50).assign(model="m")


@pytest.mark.parametrize("encoder", [False, True])
def test_a_random_model_does_not_go_beyond_its_embeddings(encoder):
    made = replace(recipes.recipe("mini-encoder" if encoder else "mini"), vocabulary=400, seed=3)
    lm = LanguageModel(mini.untrained(made), mini.tokenizer(made), "random", "")
    names = corpora.load("world").language.unique()[:6]
    both = [activations.embed(lm, corpora.first(corpora.load("world", names, split), 60)) for split in ("dev", "test")]
    layer, _, leads = profiles.controls(*both, dict.fromkeys(names, "one"), n=50)
    said, table = findings.beyond(leads.assign(model="random"))
    assert layer > 0 and said.startswith("random: no") and not table.yes[0]


@pytest.mark.slow
def test_counts_agree_with_closed_forms():
    closed, slid = profiles.closed_forms()
    assert len(closed) == 9 and (closed.expected - closed.counted).abs().max() < 0.02
    shares = slid.dropna()
    assert len(shares) == 33 and (shares.expected - shares.counted).abs().max() < 0.01
    conflict = slid[slid.variant == "conflict"].set_index("weight").counted
    assert conflict[0] == 0 and conflict[0.5] == pytest.approx(0.5, abs=0.05) and conflict[1] > 0.999


def course(*shares: list[float], half: float = 0.02) -> pd.DataFrame:
    """Curves of language's share, a list of its values at steps 0, 10, 20 ... for each layer."""
    rows = [(layer, 10 * i, value) for layer, values in enumerate(shares) for i, value in enumerate(values)]
    table = pd.DataFrame(rows, columns=["layer", "step", "accuracy"]).assign(model="m", variant="by language")
    return table.assign(low=table.accuracy - half, high=table.accuracy + half)


def test_language_declines_where_the_last_interval_lies_below_that_of_the_peak():
    said, table = findings.declines(course([0.5, 0.8, 0.7], [0.4, 0.8, 0.5], [0.3, 0.8, 0.2]))
    assert said == (
        "Language's share of variance falls from its peak in 3 of 3 layers of m, and at the end is largest in low ones."
    )
    row = table.iloc[1]
    assert (row.peak, row["at"], row["last"], row.fall) == (0.8, 10, 0.5, pytest.approx(0.3))
    assert (row.low, row.high) == (pytest.approx(0.26), pytest.approx(0.34))
    rising = course([0.1, 0.2, 0.3], [0.1, 0.4, 0.38], [0.1, 0.5, 0.6])
    said, table = findings.declines(rising)
    assert "falls from its peak in 0 of 3 layers of m, and at the end is largest in deep ones" in said
    assert not table.falls.any(), "0.02 below a peak is within both intervals"
    assert "in no clear part" in findings.declines(course([0.8, 0.5], [0.8, 0.51]))[0]


def test_two_models_of_different_depth_share_a_sentence():
    deep, flat = course([0.9, 0.6], [0.9, 0.4], [0.9, 0.3]), course([0.4, 0.5], [0.5, 0.9]).assign(model="n")
    said, table = findings.declines(pd.concat([deep, flat, flat.assign(variant="by meaning")], ignore_index=True))
    assert "3 of 3 layers of m, and at the end is largest in low ones; in 0 of 2 layers of n" in said
    assert len(said.split()) <= 40 and list(table.model) == ["m"] * 3 + ["n"] * 2
