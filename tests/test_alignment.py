"""Retrieval, distances, hubness, centring and projection against loops over pairs of sentences, their invariances."""

import numpy as np
import oracles
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.common import stats
from helpers.embeddings import retrieval

NAMES = ["A1", "A2", "B1"]


def space(languages=3, sentences=9, hidden=5, seed=0, noise=0.7, offset=0.0):
    """Meanings shared by all languages, noise, and a steady offset of each language."""
    rng = np.random.default_rng(seed)
    shift = offset * rng.standard_normal((languages, 1, hidden))
    return (
        rng.standard_normal((sentences, hidden)) + noise * rng.standard_normal((languages, sentences, hidden)) + shift
    )


def test_top1_of_known_cases():
    eye = np.eye(4)
    assert retrieval.top1(eye, eye) == 1
    assert retrieval.top1(eye, eye[[1, 0, 2, 3]]) == 0.5
    assert retrieval.top1(np.ones((8, 3), np.float32) * np.arange(1, 9)[:, None], np.ones((8, 3), np.float32)) == 1 / 8
    assert retrieval.top1(eye, eye[[0, 0, 2, 3]]) == pytest.approx((0.5 + 0.25 + 2) / 4)


@pytest.mark.parametrize("margin", [None, 4])
def test_retrieval_equals_the_loops_on_every_ordered_pair(margin):
    e = space()
    e[1, 3] = e[1, 4]
    table = retrieval.retrieval(e, NAMES, margin=margin)
    assert len(table) == 6 and not table.duplicated(["query", "candidate"]).any()
    for row in table.itertuples():
        query, candidates = e[NAMES.index(row.query)], e[NAMES.index(row.candidate)]
        assert row.top1 == pytest.approx(oracles.top1(query, candidates).mean())
        assert row.top1 == pytest.approx(retrieval.top1(query, candidates))
        if margin is not None:
            assert row.margin == pytest.approx(oracles.top1(query, candidates, margin).mean())


def test_mixed_retrieval_takes_candidates_from_the_other_array(monkeypatch):
    e, steered = space(), space(seed=3)
    monkeypatch.setattr(retrieval, "_BLOCK", {"cpu": 100})
    found = retrieval.correct(e, candidates=steered, margin=3)
    for p in range(3):
        for q in range(3):
            np.testing.assert_allclose(found[p, q], oracles.top1(e[p], steered[q], 3))


def test_both_directions_come_from_one_gram_matrix_and_blocks_do_not_matter(monkeypatch):
    e = space(languages=5, noise=1)
    whole, full = retrieval.correct(e), retrieval.correct(e, candidates=e)
    np.testing.assert_array_equal(whole, full)
    monkeypatch.setattr(retrieval, "_BLOCK", {"cpu": 2 * e.shape[1] ** 2})
    np.testing.assert_array_equal(retrieval.correct(torch.tensor(e)), whole)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_top1_does_not_change_under_rotation_scale_or_the_order_of_languages(seed):
    rng, e = np.random.default_rng(seed), space(seed=seed)
    turn, order = np.linalg.qr(rng.standard_normal((5, 5)))[0], rng.permutation(3)
    expected = retrieval.correct(e)
    np.testing.assert_allclose(retrieval.correct(e @ turn * rng.uniform(0.1, 10, (3, 9, 1))), expected)
    np.testing.assert_allclose(retrieval.correct(e[order]), expected[np.ix_(order, order)])


def test_intervals_resample_sentences_alike_in_all_pairs():
    found = retrieval.correct(space(noise=1))
    table = retrieval.intervals(found, NAMES, n=200)
    row = table[(table["query"] == "A2") & (table["candidate"] == "B1")].iloc[0]
    assert tuple(row[["top1", "low", "high"]]) == pytest.approx(tuple(stats.mean_interval(found[1, 2], n=200)))
    assert retrieval.per_sentence(found).mean() == pytest.approx(table["top1"].mean())


def test_hubness_equals_the_counts_of_neighbours():
    e = space()
    for row in retrieval.hubness(e, NAMES, k=3).itertuples():
        count = oracles.k_occurrence(e[NAMES.index(row.query)], e[NAMES.index(row.candidate)], 3)
        assert row.antihubs == pytest.approx((count == 0).mean())
        assert row.skewness == pytest.approx(pd.Series(count).sub(3).pow(3).mean() / count.std() ** 3)
    everyone = retrieval.hubness(np.stack([np.eye(4)] * 2), ["A1", "A2"], k=1)
    assert (everyone[["skewness", "antihubs"]] == 0).all(axis=None)


def test_distances_equal_the_loops_in_every_sense():
    e = space(offset=1)
    table = retrieval.distances(e, NAMES, toward="A2")
    assert not table.duplicated(["statistic", "language", "other"]).any()
    found = table.set_index(["statistic", "language", "other"])["distance"]
    for p, q in ((0, 1), (1, 0), (2, 1)):
        for sense in ("matched", "all"):
            expected = oracles.mean_distance(e[p], e[q], sense == "matched")
            assert found["pairs_" + sense, NAMES[p], NAMES[q]] == pytest.approx(expected)
            if q == 1:
                assert found["toward_" + sense, NAMES[p], "A2"] == pytest.approx(expected)
    means = e.mean(axis=1)
    apart = np.array([[1 - oracles.cosine(a, b) for b in means] for a in means])
    medoid = NAMES[apart.sum(axis=1).argmin()]
    np.testing.assert_allclose(found["medoid"].xs(medoid, level="other")[NAMES], apart[NAMES.index(medoid)], atol=1e-12)
    with pytest.raises(LookupError, match="no language 'C1' to measure toward"):
        retrieval.distances(e, NAMES, toward="C1")


def test_centring_takes_means_from_the_fit_set():
    e, fit = space(offset=2), space(seed=1, offset=2)
    np.testing.assert_allclose(retrieval.centre(e, "language").mean(axis=1), 0, atol=1e-12)
    np.testing.assert_allclose(retrieval.centre(e, "global", fit=fit), e - fit.mean(axis=(0, 1)))
    np.testing.assert_allclose(retrieval.centre(e, "language", fit=fit), e - fit.mean(axis=1, keepdims=True))
    assert retrieval.centre(e, "none") is e
    tensor = torch.tensor(e, dtype=torch.bfloat16)
    assert retrieval.centre(tensor).dtype == torch.bfloat16
    with pytest.raises(ValueError, match="3 languages but 2 in `fit`"):
        retrieval.centre(e, fit=fit[:2])


def test_projection_removes_language_and_lifts_retrieval():
    e = space(languages=4, sentences=60, hidden=20, noise=0.3, offset=3)
    fit, test = e[:, :30], e[:, 30:]
    removed = retrieval.project(fit, retrieval.subspace(fit))
    np.testing.assert_allclose(removed.mean(axis=1) - fit.mean(axis=(0, 1)), 0, atol=1e-9)
    space_of_means = retrieval.subspace(fit)
    again = retrieval.project(removed, space_of_means)
    np.testing.assert_allclose(again, removed, atol=1e-9)
    before, after = (
        retrieval.per_sentence(retrieval.correct(x)).mean() for x in (test, retrieval.project(test, space_of_means))
    )
    chance = retrieval.project(test, retrieval.subspace(fit, kind="random"))
    assert after > 0.9 > before and after > retrieval.per_sentence(retrieval.correct(chance)).mean() + 0.2


@pytest.mark.parametrize("kind", retrieval.SUBSPACES)
def test_subspaces_are_orthonormal_and_of_the_rank_asked_for(kind):
    fit = space(hidden=7)
    basis = retrieval.subspace(fit, kind=kind).basis.numpy()
    assert basis.shape == (7, 2)
    np.testing.assert_allclose(basis.T @ basis, np.eye(2), atol=1e-9)
    assert retrieval.subspace(fit, rank=1, kind=kind).basis.shape == (7, 1)
    with pytest.raises(ValueError, match="rank 9 but 3 languages of width 7"):
        retrieval.subspace(fit, rank=9, kind=kind)


def test_a_low_rank_subspace_of_means_holds_their_strongest_direction():
    fit = space(sentences=50, noise=0)
    fit[0, :, 0] += 50
    assert abs(retrieval.subspace(fit, rank=1).basis[0, 0]) > 0.99


def test_bad_vectors_are_refused_by_name():
    e = space()
    e[1, 2], e[2, 0] = 0, 0
    with pytest.raises(ValueError, match=r"2 of 27 sentences hold a zero vector \(language/sentence 1/2, 2/0\)"):
        retrieval.retrieval(e, NAMES)
    e[1, 2, 0] = np.nan
    with pytest.raises(ValueError, match=r"1 of 9 sentences hold NaN or infinite values \(2\)"):
        retrieval.top1(e[1], e[1])


def test_shapes_that_do_not_fit_are_refused_with_both():
    e = space()
    with pytest.raises(ValueError, match=r"\(9, 5\) queries but \(8, 5\) candidates"):
        retrieval.top1(e[0], e[0, :8])
    with pytest.raises(ValueError, match=r"\(3, 9, 5\) queries but \(2, 9, 5\) candidates"):
        retrieval.correct(e, candidates=e[:2])
    with pytest.raises(ValueError, match="2 axes but 3 are needed"):
        retrieval.correct(e[0])
    with pytest.raises(ValueError, match="3 languages in the array but 2 names"):
        retrieval.distances(e, NAMES[:2])
    with pytest.raises(ValueError, match="10 nearest neighbours of 9 sentences"):
        retrieval.hubness(e, NAMES)
    with pytest.raises(LookupError, match="unknown centring"):
        retrieval.centre(e, "all")
    with pytest.raises(LookupError, match="unknown subspace"):
        retrieval.subspace(e, kind="all")


def test_input_is_left_alone():
    e = space(offset=1)
    before = e.copy()
    for call in (retrieval.correct, retrieval.centre, retrieval.subspace):
        call(e)
    retrieval.distances(e, NAMES)
    retrieval.project(e, retrieval.subspace(e))
    np.testing.assert_array_equal(e, before)
