"""What an Explorer answers, against slow and obvious ways to the same number."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import tiny
from scipy.spatial.distance import cosine

from helpers.embeddings import activations, projection
from helpers.exploring.explorer import Explorer, Setting
from helpers.steering import generation, hooks, methods
from helpers.steering.fitting import Fitting
from helpers.world import planted

WIRED, WIRED_TABLE = planted.wired()
CURE = Setting("loud", "erase", 1, 1)
SENTENCES = [*tiny.SENTENCES, "a small bird sings in the village .", "the dog reads the house ."]


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    """Nine made-up meanings in three languages, which are the sentence forwards, backwards and without its vowels."""
    ways = {"ab": str, "ba": lambda text: " ".join(text.split()[::-1]), "bb": lambda text: text.translate(VOWELS)}
    rows = [(name, f"s{i}", way(text)) for name, way in ways.items() for i, text in enumerate(SENTENCES)]
    return pd.DataFrame(rows, columns=["language", "sentence", "text"])


VOWELS = str.maketrans("", "", "aeiouαειουаеиоу")
LEXICON = pd.DataFrame({"language": ["ab", "ba", "ba"], "form": ["the", "the", "bird"]})


@pytest.fixture(scope="module")
def ask(table) -> Explorer:
    lm = tiny.language_model("llama")
    options = dict(ks=[2, 5], strengths=(0.0, 1.0), projection="pca", lexicon=LEXICON, samples=6)
    return Explorer(lm, Fitting(lm, table), table, **options)


SETTING = Setting("ba", "overwrite", 5, 2)


def _state(ask: Explorer, setting: Setting, strength: float, language: str, sentence: str) -> np.ndarray:
    """The layer of one sentence, embedded by itself."""
    row = ask.table[(ask.table.language == language) & (ask.table.sentence == sentence)]
    with hooks.steered(ask.lm, ask.edits(setting), strength):
        return activations.embed(ask.lm, row, [setting.layer]).values[0, 0].double().numpy()


def test_erasing_the_planted_direction_makes_every_translation_the_nearest():
    case = Explorer(WIRED, Fitting(WIRED, WIRED_TABLE), WIRED_TABLE, projection="pca", samples=0)
    found = case.effects(CURE, 1.0).set_index("metric")
    assert len(found) == 2 and case.texts(CURE, 1.0).empty, "no samples, no price"
    assert found.after["top-1 retrieval"] == 1 and found.after["distance of translations"] < 1e-5
    assert found.before["top-1 retrieval"] < 0.9 and found.low["top-1 retrieval"] > 0
    near = case.neighbours(CURE, 1.0, "quiet", "s3").query("rank == 1").set_index("when")
    assert near.sentence["after"] == "s3" and near.translation["after"] and near.language["after"] == "loud"
    assert case.found(CURE, 1.0, "quiet", "s3").after.tolist() == [1.0]


@pytest.mark.parametrize("setting", [SETTING, Setting("ab", "diffmean", 0, 1)])
def test_neighbours_are_those_of_a_loop_over_single_sentences(ask, setting):
    found = ask.neighbours(setting, 0.7, "bb", "s4")
    for when, strength in {"before": 0.0, "after": 0.7}.items():
        own = _state(ask, setting, strength, "bb", "s4")
        others = ask.table[ask.table.language != "bb"][["language", "sentence"]].itertuples(index=False)
        near = sorted((cosine(own, _state(ask, setting, strength, *other)), *other) for other in others)[:5]
        part = found[found.when == when]
        assert list(zip(part.language, part.sentence)) == [(language, sentence) for _, language, sentence in near]
        np.testing.assert_allclose(part.cosine, [1 - distance for distance, *_ in near], atol=1e-5)
        assert (part.translation == (part.sentence == "s4")).all() and part["rank"].tolist() == [1, 2, 3, 4, 5]


def test_a_translation_is_found_when_no_other_row_of_its_language_is_nearer(ask):
    for sentence in ("s0", "s4"):
        found = ask.found(SETTING, 1.0, "ab", sentence).set_index("language")
        assert list(found.index) == ["ba", "bb"]
        for language in found.index:
            for when, strength in {"before": 0.0, "after": 1.0}.items():
                own, names = _state(ask, SETTING, strength, "ab", sentence), ask.table.sentence.unique()
                apart = [cosine(own, _state(ask, SETTING, strength, language, other)) for other in names]
                assert found.loc[language, when] == float(names[np.argmin(apart)] == sentence)


def test_retrieval_is_the_mean_of_what_is_found(ask):
    rows = ask.table[["language", "sentence"]].itertuples(index=False)
    each = pd.concat([ask.found(SETTING, 1.0, *row) for row in rows])
    measured = ask.effects(SETTING, 1.0).set_index("metric").loc["top-1 retrieval"]
    assert (measured.before, measured.after) == pytest.approx((each.before.mean(), each.after.mean()))


def test_the_price_is_the_perplexity_and_the_share_under_the_edit(ask):
    price, few = ask.effects(SETTING, 1.0).set_index("metric"), ask.table[ask.table.sentence < "s5"]
    with hooks.steered(ask.lm, ask.edits(SETTING), 1.0):
        cost = generation.perplexity(ask.lm, few).perplexity
        texts = generation.sample(ask.lm, 6, max_tokens=20).text.tolist()
    assert price.after["perplexity"] == pytest.approx(cost.prod() ** (1 / 3))
    weights = {"the": 0.5, "bird": 1.0}  # of ba: one of the two languages that have "the"
    words = [[weights.get(word, 0.0) for word in text.split()] for text in texts]
    share = np.mean([np.mean(word) if word else 0.0 for word in words])
    assert price.after["share of text in ba"] == pytest.approx(share)
    assert ask.texts(SETTING, 1.0).after.tolist() == texts
    assert ask.texts(SETTING, 1.0).before.tolist() == generation.sample(ask.lm, 6, max_tokens=20).text.tolist()


def test_the_map_is_that_of_the_states_at_every_strength(ask):
    points = ask.points(SETTING)
    states = {}
    for strength in (0.0, 1.0):
        with hooks.steered(ask.lm, ask.edits(SETTING), strength):
            states[strength] = activations.embed(ask.lm, ask.table, [2]).layer(2).numpy()
    expected = projection.maps(states, ask.table, method="pca")
    pd.testing.assert_frame_equal(points, expected, atol=1e-4)


def test_edits_are_those_of_methods_and_directions_follow_the_layer(ask):
    fitted = methods.fit("erase", ask.fitting, block=1, rank=2)
    (edit,) = ask.edits(Setting("ab", "erase", 2, 2))
    assert edit.site == fitted[0].site and np.allclose(edit.A, fitted[0].A)
    assert ask.edits(Setting("ba", "erase", 2, 2))[0] is edit  # it favours no language
    assert ask.edits(Setting("ba", "erase", 2, 3))[0].site != edit.site
    assert sum(len(edit.units) for edit in ask.edits(SETTING)) == 5
    assert ask.edits(SETTING._replace(layer=3)) is ask.edits(SETTING)  # units are edited in every block


def test_sizes_and_titles_say_what_a_method_takes(ask):
    assert ask.sizes("overwrite") == ("k", [2, 5]) and ask.sizes("mean_transport") == ("k", [2, 5, 0])
    assert ask.sizes("erase") == ("rank", [1, 2]) and ask.sizes("leace") == ("", [0])
    assert ask.title(SETTING) == "overwrite toward ba, k = 5, layer 2"
    assert ask.title(Setting("ba", "mean_transport", 0, 1)) == "mean transport toward ba, all units, layer 1"
    assert ask.title(Setting("ba", "erase", 2, 1)) == "erase, rank = 2, layer 1"
    for method in methods.METHODS:
        for size in ask.sizes(method)[1]:
            if method != "lape":  # a random model has no such units
                assert ask.edits(Setting("ab", method, size, 1)), method


def test_an_answer_is_made_once_and_old_ones_go(ask, monkeypatch):
    ask.effects(SETTING, 1.0)
    monkeypatch.setattr(activations, "embed", lambda *_: pytest.fail("embedded again"))
    ask.effects(SETTING, 1.0), ask.neighbours(SETTING, 0.0, "ab", "s0")
    other = replace(ask)
    for number in range(200):
        other._once((number,), lambda number=number: number)
        other._once((0,), lambda: pytest.fail("thrown away although it was in use"))
    assert len(other._made) == 64 and (199,) in other._made


def test_at_strength_zero_nothing_changes(ask):
    found = ask.effects(SETTING, 0.0)
    assert len(found) == 4 and (found.before == found.after).all() and not found.change.any()
    assert set(ask.neighbours(SETTING, 0.0, "ab", "s0").when) == {"before", "after"}


def test_maps_at_other_strengths_share_all_but_the_map(ask, monkeypatch):
    ask.points(SETTING)
    assert ask.points(SETTING).strength.unique().tolist() == [0.0, 1.0]
    monkeypatch.setattr(activations, "embed", lambda *_: pytest.fail("embedded again"))
    assert ask.points(SETTING, (1.0,)).strength.unique().tolist() == [1.0]


def test_explorers_of_another_table_model_fitting_or_lexicon_share_no_answers(ask, table):
    ask.effects(SETTING, 1.0)
    few, other = table[table.sentence < "s6"].reset_index(drop=True), tiny.language_model("llama", seed=1)
    changed = dict(table=few, lm=other, fitting=Fitting(ask.lm, few), lexicon=LEXICON[1:], samples=9)
    for name, value in changed.items():
        made = replace(ask, **{name: value})
        fresh = Explorer(made.lm, made.fitting, made.table, ask.ks, ask.strengths, "pca", made.lexicon, made.samples)
        pd.testing.assert_frame_equal(made.effects(SETTING, 1.0), fresh.effects(SETTING, 1.0))
        pd.testing.assert_frame_equal(made.texts(SETTING, 1.0), fresh.texts(SETTING, 1.0))


def test_a_language_that_the_identifier_does_not_know_has_no_share(ask, table):
    wolof = table.assign(language=table.language.map({"ab": "fra_Latn", "ba": "wol_Latn", "bb": "deu_Latn"}))
    other = replace(ask, table=wolof, fitting=Fitting(ask.lm, wolof), lexicon=None)
    with pytest.warns(UserWarning, match="no share of generated text: .*wol_Latn"):
        found = other.effects(Setting("wol_Latn", "overwrite", 5, 2), 1.0).set_index("metric")
    assert np.isnan(found.after["share of text in wol_Latn"]) and found.after["perplexity"] > 1


def test_an_encoder_has_no_price_and_no_text(table):
    lm = tiny.language_model("bert")
    mute = Explorer(lm, Fitting(lm, table), table, ks=[2], projection="pca", strengths=(0.0, 1.0))
    setting = Setting("ab", "overwrite", 2, 1)
    assert not mute.writes and mute.texts(setting, 1.0).empty
    assert mute.effects(setting, 1.0).metric.tolist() == ["top-1 retrieval", "distance of translations"]


@pytest.mark.parametrize(
    "setting, message",
    [
        (Setting("xx", "overwrite", 2, 1), "no sentences in 'xx'"),
        (Setting("ab", "overrite", 2, 1), "no method 'overrite'; did you mean overwrite"),
        (Setting("ab", "overwrite", 2, 0), "no layer that an edit reaches 0"),
    ],
)
def test_what_is_not_there_is_named(ask, setting, message):
    with pytest.raises(LookupError, match=message):
        ask.effects(setting, 1.0)


def test_a_sentence_that_is_not_there_is_named(ask):
    with pytest.raises(LookupError, match="no sentence 's99'"):
        ask.neighbours(SETTING, 1.0, "ab", "s99")


def test_sentences_follow_from_the_intervals(ask, monkeypatch):
    rows = [("top-1 retrieval", 0.2, 0.3, 0.1, 0.05, 0.15), ("perplexity", 4.0, 8.0, 4.0, np.nan, np.nan)]
    table = pd.DataFrame(rows, columns=["metric", "before", "after", "change", "low", "high"])
    monkeypatch.setattr(Explorer, "effects", lambda *_: table)
    said = ask.moved(SETTING, 1.0)
    assert said == "**Top-1 retrieval goes from 0.2 to 0.3 (+0.10 [+0.05, +0.15], above 0).**"
    table["low"] = -0.05
    assert "not distinguishable from 0" in ask.moved(SETTING, 1.0)
    found = pd.DataFrame({"language": ["ba", "bb"], "before": [0.5, 0.0], "after": [1.0, 1.0]})
    monkeypatch.setattr(Explorer, "found", lambda *_: found)
    said = ask.translated(SETTING, 1.0, "ab", "s0")
    assert said == "Its translation comes first in 0.5 of 2 languages before, in **2** after."


def test_a_setting_starts_in_the_middle_with_the_first_language(ask):
    assert ask.setting("", "erase", 1, 0) == Setting("ab", "erase", 1, len(ask.layers) // 2 + 1)
    assert ask.setting("ba", "erase", 1, 2) == Setting("ba", "erase", 1, 2)
