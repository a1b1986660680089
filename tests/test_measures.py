"""Measures against hand-computed and slow values, unknown stays unknown, and every wrong name is answered."""

from importlib.util import find_spec

import numpy as np
import oracles
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.corpora import typology
from helpers.transfer import measures
from helpers.world import worlds

NORDIC = ["swe_Latn", "dan_Latn", "fin_Latn", "jpn_Jpan", "lvs_Latn", "zho_Hans"]
real = pytest.mark.skipif(not find_spec("urielplus"), reason="urielplus is not installed; the extra `typology` has it")


def _value(table, source, target):
    return table.set_index(["source", "target"])["value"][source, target]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_cosine_over_shared_features_equals_the_loop(seed):
    rng = np.random.default_rng(seed)
    features = np.where(rng.random((5, 12)) < 0.4, np.nan, rng.integers(0, 3, (5, 12)) / 2)
    value, coverage = measures.cosine(features, shared=0)
    for i, a in enumerate(features):
        for j, b in enumerate(features):
            np.testing.assert_allclose((value[i, j], coverage[i, j]), oracles.shared_cosine(a, b), atol=1e-12)


def test_agreement_is_the_share_of_equal_values_among_shared_features():
    x, gap = [1, 0, 1, 1, 0, 1, 0, 0], np.nan
    features = np.array([x, [1, 0, 0, 0, gap, gap, gap, gap], [1, gap, gap, gap, gap, gap, gap, gap]])
    value, coverage = measures.agreement(features)
    np.testing.assert_allclose(value, [[1, 0.5, gap], [0.5, 1, gap], [gap, gap, gap]])
    np.testing.assert_allclose(coverage[0], [1, 0.5, 0.125])


def test_a_quarter_of_shared_features_is_enough_and_less_is_unknown():
    features = np.full((3, 8), np.nan)
    features[:, 0] = features[:2, 1] = 1
    value, coverage = measures.cosine(features)
    assert value[0, 1] == 1 and np.isnan(value[0, 2]) and coverage[0, 2] == 1 / 8


def test_great_circle_of_known_distances():
    found = measures.great_circle(np.array([[0, 0], [0, 180], [90, 45], [0, np.nan]]))
    half = np.pi * 6371
    np.testing.assert_allclose(found[:3, :3], half * np.array([[0, 1, 0.5], [1, 0, 0.5], [0.5, 0.5, 0]]), atol=1e-4)
    assert np.isnan(found[3]).all()


def test_script():
    table = measures.measure(["script"], ["deu_Latn", "fra_Latn", "rus_Cyrl", "ell"])
    assert _value(table, "deu_Latn", "fra_Latn") == 1 and _value(table, "deu_Latn", "rus_Cyrl") == 0
    assert np.isnan(_value(table, "deu_Latn", "ell"))


def test_overlap_is_directional_and_reads_source_from_train_and_target_from_test():
    train = pd.DataFrame({"language": ["p", "p", "q"], "text": ["a house", "my dog", "a cat"]})
    test = pd.DataFrame({"language": ["p", "q"], "text": ["my house", "a big house dog"]})
    table = measures.overlap(train, test, ["wor"])
    assert _value(table, "p", "q") == 0.75 and _value(table, "q", "p") == 0 and _value(table, "p", "p") == 1
    both = measures.overlap(train, test, ["chr", "wor"])
    pd.testing.assert_frame_equal(both[both["measure"] == "wor"].reset_index(drop=True), table)
    assert list(both.columns) == ["measure", "source", "target", "value", "coverage"]


def test_a_world_answers_exactly_for_its_own_languages():
    exact = worlds.build().similarity()
    languages = list(exact["source"].unique()[:3])
    table = measures.similarity("world", languages)
    known = table[table["measure"].isin(exact["measure"])]
    assert len(known) == 6 * exact["measure"].nunique() and (table["coverage"] == 1).all()
    assert not table.duplicated(measures.KEYS).any() and (table["source"] != table["target"]).all()
    merged = known.merge(exact, on=measures.KEYS)
    assert len(merged) == len(known) and (merged["value_x"] == merged["value_y"]).all()
    with pytest.raises(LookupError, match="Z99"):
        measures.similarity("world", [*languages, "Z99"])


def test_wrong_names_are_answered():
    with pytest.raises(LookupError, match="'grambnk'; did you mean grambank"):
        measures.measure(["grambnk"], ["deu_Latn"])
    with pytest.raises(ValueError, match="3 languages but only 2 different"):
        measures.measure(["script"], ["a_X", "b_X", "a_X"])


@real
def test_real_measures_put_near_languages_near():
    names = ["syntactic", "phonological", "inventory", "grambank", "genealogical", "geographic", "script"]
    table = measures.measure(names, NORDIC)
    assert len(table) == len(names) * 36 and not table.duplicated(measures.KEYS).any()
    for name in ("syntactic", "grambank", "genealogical", "geographic"):
        group = table[table["measure"] == name]
        assert _value(group, "swe_Latn", "dan_Latn") > _value(group, "swe_Latn", "jpn_Jpan"), name
        assert _value(group, "dan_Latn", "swe_Latn") == pytest.approx(_value(group, "swe_Latn", "dan_Latn"))
    distance = -_value(table[table["measure"] == "geographic"], "swe_Latn", "fin_Latn")
    assert 300 < distance < 1000
    assert table["coverage"].between(0, 1).all()


@real
def test_unknown_is_nan_and_a_second_code_fills_gaps():
    known = measures.measure(["syntactic"], ["lvs_Latn", "est_Latn", "slk_Latn", "eng_Latn"])
    assert _value(known, "lvs_Latn", "eng_Latn") > 0  # URIEL has Latvian features under `lav` alone
    assert np.isnan(_value(known, "slk_Latn", "eng_Latn")) and np.isnan(_value(known, "slk_Latn", "slk_Latn"))
    grambank = measures.measure(["grambank"], ["est_Latn", "zho_Hans", "deu_Latn"])
    assert _value(grambank, "est_Latn", "zho_Hans") > 0  # Grambank has Estonian and Mandarin as `ekk` and `cmn`
    assert np.isnan(_value(grambank, "deu_Latn", "est_Latn"))


@real
def test_languages_come_with_code_family_and_place():
    table = typology.languages(["zho_Hant", "eus_Latn", "epo_Latn", "est"]).set_index("language")
    assert table.loc["zho_Hant", ["glottocode", "family"]].tolist() == ["mand1415", "Sino-Tibetan"]
    assert table.loc["eus_Latn", "family"] == "Basque" and table.loc["epo_Latn", "family"] == ""
    assert 57 < table.loc["est", "latitude"] < 60


@real
def test_unknown_codes_are_named():
    with pytest.raises(LookupError, match=r"2 of 3 languages .* 'xxq_Latn' .* 'german'"):
        measures.measure(["geographic"], ["deu_Latn", "xxq_Latn", "german"])
