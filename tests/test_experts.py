"""Experts against scikit-learn and the obvious loops: ties, signs, layouts, choice, controls and bad input."""

import hypothesis.extra.numpy as arrays
import numpy as np
import oracles
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from helpers.steering import experts, sorting

LABELS = np.array(["deu", "eng", "fra"])[np.random.default_rng(5).integers(0, 3, 90)]
KEYS = ["language", "rank"]


def awkward(dtype=np.float32):
    """Columns [sentence, unit]: continuous, rounded, rectified with -0.0, constant, huge, tiny, perfect, reversed."""
    x = np.random.default_rng(0).standard_normal((len(LABELS), 8))
    x[:, 1] = x[:, 1].round(1)
    x[:, 2] = np.where(x[:, 2] > 0, x[:, 2], 0) * np.where(x[:, 0] > 0, 1, -1)
    x[:, 3] = -7
    x[:, 4] *= 1e37
    x[:, 5] *= 1e-42
    x[:, 6] = LABELS == "fra"
    x[:, 7] = -1.0 * (LABELS == "fra")
    return x.astype(dtype)


def model(units=(5, 7), seed=0):
    """Two sites of noise in which unit 3 of each is wired to German."""
    rng = np.random.default_rng(seed)
    sites = {f"block{i}": rng.standard_normal((len(LABELS), width)).astype(np.float32) for i, width in enumerate(units)}
    for array in sites.values():
        array[:, 3] += 10 * (LABELS == "deu")
    return sites


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_both_scores_equal_scikit_learn(dtype):
    x, found = awkward(dtype), experts.scores(awkward(dtype), LABELS)
    for language in np.unique(LABELS):
        for unit in range(x.shape[1]):
            own, response = language == LABELS, x[:, unit].astype(float)
            assert found["auroc"].loc[language, unit] == pytest.approx(roc_auc_score(own, response), abs=1e-12)
            ap = average_precision_score(own, response)
            assert found["average_precision"].loc[language, unit] == pytest.approx(ap, abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(arrays.arrays(np.float32, (12, 2), elements=st.floats(-3, 3, width=16)), st.data())
def test_both_scores_equal_the_obvious_loops(x, data):
    labels = np.array(["a", "b"] + data.draw(st.lists(st.sampled_from("abc"), min_size=10, max_size=10)))
    found = experts.scores(x, labels)
    for language in np.unique(labels):
        for unit in range(2):
            own = labels == language
            assert abs(found["auroc"].loc[language, unit] - oracles.auroc(x[:, unit], own)) < 1e-12
            ap = oracles.average_precision(x[:, unit], own)
            assert abs(found["average_precision"].loc[language, unit] - ap) < 1e-12


def test_known_answers_are_exact():
    found = experts.scores(awkward(), LABELS)
    assert (found["auroc"][3] == 0.5).all()
    np.testing.assert_allclose(
        found["average_precision"][3], pd.Series(LABELS).value_counts(normalize=True)[found["auroc"].index]
    )
    assert found["auroc"].loc["fra", 6] == found["average_precision"].loc["fra", 6] == 1
    assert found["auroc"].loc["fra", 7] == 0


def test_layout_type_and_chunks_do_not_matter(tmp_path, monkeypatch):
    x, expected = awkward(), experts.scores(awkward(), LABELS)
    disk = np.memmap(tmp_path / "responses", np.float32, "w+", shape=x.T.shape)
    disk[:] = x.T
    disk.flush()
    disk = np.memmap(tmp_path / "responses", np.float32, "r", shape=x.T.shape)
    monkeypatch.setattr(sorting, "_CHUNK", 2 * len(x))
    for other in (np.asfortranarray(x), disk.T, torch.tensor(x), torch.tensor(x.T).T, x.astype(np.float64)):
        found = experts.scores(other, LABELS)
        pd.testing.assert_frame_equal(found["auroc"], expected["auroc"])
        pd.testing.assert_frame_equal(found["average_precision"], expected["average_precision"])


def test_input_is_left_alone():
    x = awkward()
    experts.scores(x, LABELS)
    assert x.tobytes() == awkward().tobytes()


def test_bad_input_is_refused_with_numbers():
    x = awkward()
    with pytest.raises(ValueError, match="3 activation rows but 2 label rows; filter both"):
        experts.auroc(x[:3], LABELS[:2])
    with pytest.raises(ValueError, match="1 language"):
        experts.auroc(x, np.full(len(x), "deu"))
    with pytest.raises(ValueError, match="1 of 90 rows have no language"):
        experts.auroc(x, [None, *LABELS[1:]])
    x[4, 1], x[5, 6] = np.nan, np.inf
    for bad in (x, x.astype(float)):
        with pytest.raises(ValueError, match=r"2 of 8 units hold NaN or infinite responses \(units 1, 6\)"):
            experts.auroc(bad, LABELS)


def test_top_finds_the_wired_units_and_agrees_with_a_full_sort():
    sites, found = model(), experts.top(4, model(), LABELS)
    assert not found.duplicated(KEYS).any() and not found.duplicated(["language", "site", "unit"]).any()
    german = found[found["language"] == "deu"]
    assert set(zip(german["site"][:2], german["unit"][:2])) == {("block0", 3), ("block1", 3)}
    everything = pd.concat({site: experts.auroc(array, LABELS).T for site, array in sites.items()})
    for language, part in found.groupby("language"):
        np.testing.assert_array_equal(part["auroc"], everything[language].nlargest(4))
        assert list(part["rank"]) == [1, 2, 3, 4] and (part["ties"] == 1).all()


def test_ties_are_counted_and_broken_by_effect_then_site_then_unit():
    steps = np.array([0.0, 0.0, 1.0, 1.0])
    labels = np.array(["a", "a", "b", "b"])
    wide = np.column_stack([steps, steps, steps + [0, 0.5, 0, 0], steps[::-1]])
    sites = {"early": wide, "late": wide[:, [0, 0]]}
    found = experts.top(3, sites, labels)
    b = found[found["language"] == "b"]
    assert list(zip(b["site"], b["unit"])) == [("early", 0), ("early", 1), ("late", 0)]
    assert (b["ties"] == 5).all() and (b["auroc"] == 1).all()
    assert list(experts.top(5, sites, labels).query("language == 'b'")["unit"]) == [0, 1, 0, 1, 2]


def test_top_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match="k = 13 but the 2 sites hold 12 units"):
        experts.top(13, model(), LABELS)


def test_values_are_those_of_the_own_language():
    sites, chosen = model(), experts.top(2, model(), LABELS)
    table = experts.values(sites, LABELS, chosen)
    for row in table.itertuples():
        own = sites[row.site][row.language == LABELS, row.unit].astype(float)
        expected = (own.mean(), np.median(own), np.percentile(own, 90))
        assert (row.value_mean, row.value_median, row.value_p90) == pytest.approx(expected)
    with pytest.raises(LookupError, match="no sentences in 'fra'"):
        experts.values({site: array[LABELS != "fra"] for site, array in sites.items()}, LABELS[LABELS != "fra"], chosen)


def test_heldout_scores_the_chosen_units_on_other_sentences():
    chosen, fresh = experts.top(6, model(), LABELS), model(seed=1)
    table = experts.heldout(chosen, fresh, LABELS)
    assert len(table) == len(chosen)
    for row in table.itertuples():
        assert row.auroc_heldout == experts.auroc(fresh[row.site], LABELS).loc[row.language, row.unit]
    assert (table.query("language == 'deu' and rank <= 2")["auroc_heldout"] > 0.99).all()


def test_overlap_is_the_share_in_common():
    rows = [("a", "s", 1), ("a", "s", 2), ("b", "s", 2), ("b", "t", 1)]
    table = experts.overlap(pd.DataFrame(rows, columns=["language", "site", "unit"]))
    assert table.to_numpy().tolist() == [["a", "b", 0.5], ["b", "a", 0.5]]


def test_permuted_maximum_is_the_largest_auroc_under_dealt_labels():
    sites = {"block0": awkward(), "block1": awkward()[:, ::-1].copy()}
    table = experts.permuted_maximum(sites, LABELS, n=3, seed=0)
    assert not table.duplicated(["language", "replicate"]).any() and len(table) == 9
    rng = np.random.default_rng(0)
    for replicate in range(3):
        dealt = LABELS[np.argsort(rng.random(len(LABELS)), kind="stable")]
        expected = experts.auroc(awkward(), dealt).max(axis=1)
        found = table[table["replicate"] == replicate].set_index("language")["auroc"]
        pd.testing.assert_series_equal(found.sort_index(), expected.sort_index(), check_names=False)


def test_tested_experts_carry_their_values_their_score_elsewhere_and_luck():
    sites, fresh = model(), model(seed=1)
    found = experts.tested(2, (sites, LABELS), (fresh, LABELS), permutations=3, seed=4)
    expected = experts.heldout(experts.values(sites, LABELS, experts.top(2, sites, LABELS)), fresh, LABELS)
    pd.testing.assert_frame_equal(found.drop(columns="luck"), expected)
    luck = experts.permuted_maximum(sites, LABELS, n=3, seed=4)
    for language, part in found.groupby("language"):
        assert (part["luck"] == luck[luck["language"] == language]["auroc"].max()).all()
