"""Retrieval, distances, centring and projection against loops over pairs of sentences, their invariances."""

import numpy as np
import oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

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


def test_retrieval_equals_the_loops_on_every_ordered_pair():
    e = space()
    e[1, 3] = e[1, 4]
    found = retrieval.correct(e)
    assert found.shape == (3, 3, 9)
    for p, q in np.argwhere(~np.eye(3, dtype=bool)):
        np.testing.assert_allclose(found[p, q], oracles.top1(e[p], e[q]))
        assert found[p, q].mean() == pytest.approx(retrieval.top1(e[p], e[q]))


def test_mixed_retrieval_takes_candidates_from_the_other_array(monkeypatch):
    e, steered = space(), space(seed=3)
    monkeypatch.setattr(retrieval, "_BLOCK", {"cpu": 100})
    found = retrieval.correct(e, candidates=steered)
    for p in range(3):
        for q in range(3):
            np.testing.assert_allclose(found[p, q], oracles.top1(e[p], steered[q]))


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


def test_top1_of_a_sentence_is_its_mean_over_ordered_pairs_of_languages():
    found = retrieval.correct(space(noise=1))
    pairs = [found[p, q] for p in range(3) for q in range(3) if p != q]
    np.testing.assert_allclose(retrieval.per_sentence(found), np.mean(pairs, axis=0))


@pytest.mark.parametrize("sentences", [7, 30])  # fewer and more than the neighbours of the margin
def test_five_scores_equal_those_of_centred_copies(sentences, monkeypatch):
    e = space(sentences=sentences, offset=1, noise=1) + 3
    e[1, 3] = e[1, 4]  # a tie
    expected = oracles.five_scores(e)
    found = retrieval.scores(e)
    assert list(found) == list(retrieval.SCORES) == list(expected)
    for name, hits in expected.items():
        np.testing.assert_allclose(found[name], hits, err_msg=name)
    monkeypatch.setattr(retrieval, "_BLOCK", {"cpu": 2 * sentences**2})
    some = retrieval.scores(torch.tensor(e), ["margin", "global"])
    assert list(some) == ["margin", "global"] and all((some[name] == found[name]).all() for name in some)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_each_score_is_blind_to_what_it_rules_out(seed):
    """A constant moves none of the centred scores and no distance; offsets of languages move not the centred one."""
    rng, e = np.random.default_rng(seed), space(seed=seed, offset=1)
    constant, offsets = 5 * rng.standard_normal(5), 5 * rng.standard_normal((3, 1, 5))
    plain, moved = retrieval.scores(e), retrieval.scores(e + constant)
    for name in ("global", "centred", "euclidean"):
        np.testing.assert_allclose(moved[name], plain[name])
    np.testing.assert_allclose(retrieval.scores(e + offsets, ["centred"])["centred"], plain["centred"])


def test_half_precision_of_an_offset_far_larger_than_what_differs():
    """Products are of what is left of the language means, so that a mean a thousand times as long costs no digits."""
    e = space(sentences=40, hidden=16)
    far = torch.tensor(e + 1000.0, dtype=torch.float32)
    found, expected = retrieval.scores(far, ["global", "centred"]), retrieval.scores(e, ["global", "centred"])
    assert all(np.abs(found[name] - expected[name]).mean() < 0.005 for name in found)


def test_states_that_are_all_one_are_tied_by_every_score():
    found = retrieval.scores(np.ones((3, 4, 5), np.float32))
    assert all((hits == 1 / 4).all() for hits in found.values())


def test_means_of_other_sentences_may_centre():
    e, other = space(offset=1, noise=1), space(seed=5, offset=1).mean(1)
    found = retrieval.scores(e, ["global", "centred", "euclidean"], means=other)
    np.testing.assert_allclose(found["centred"], retrieval.correct(e - other[:, None]))
    np.testing.assert_allclose(found["global"], retrieval.correct(e - other.mean(0)))
    np.testing.assert_allclose(found["euclidean"], retrieval.scores(e, ["euclidean"])["euclidean"])


def test_moves_equal_retrieval_of_what_is_moved(monkeypatch):
    e, rng = space(noise=1), np.random.default_rng(1)
    constants, offsets = rng.standard_normal((4, 1, 5)), rng.standard_normal((4, 3, 5))
    for moves in (constants, offsets):
        expected = [retrieval.per_sentence(retrieval.correct(e + move[:, None])) for move in moves]
        np.testing.assert_allclose(retrieval.moved(e, moves), expected)
        monkeypatch.setattr(retrieval, "_HITS", 1)
        np.testing.assert_allclose(retrieval.moved(e, moves), expected)


def test_distances_equal_the_loops_in_every_sense():
    e = space(offset=1)
    table = retrieval.distances(e, NAMES)
    assert not table.duplicated(["statistic", "language", "other"]).any()
    found = table.set_index(["statistic", "language", "other"])["distance"]
    for p, q in ((0, 1), (1, 0), (2, 1)):
        for sense in ("matched", "all"):
            expected = oracles.mean_distance(e[p], e[q], sense == "matched")
            assert found["pairs_" + sense, NAMES[p], NAMES[q]] == pytest.approx(expected)
    means = e.mean(axis=1)
    apart = np.array([[1 - oracles.cosine(a, b) for b in means] for a in means])
    medoid = NAMES[apart.sum(axis=1).argmin()]
    np.testing.assert_allclose(found["medoid"].xs(medoid, level="other")[NAMES], apart[NAMES.index(medoid)], atol=1e-12)
    for q, name in enumerate(NAMES):
        found = retrieval.distances(e, NAMES, medoid=name).query("statistic == 'medoid'")
        assert set(found.other) == {name}
        np.testing.assert_allclose(found.distance, apart[:, q], atol=1e-12)
    with pytest.raises(LookupError, match="no language 'C1'; did you mean"):
        retrieval.distances(e, NAMES, medoid="C1")


def test_projection_removes_language_and_lifts_retrieval():
    e = torch.tensor(space(languages=4, sentences=60, hidden=20, noise=0.3, offset=3))
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
    with pytest.raises(ValueError, match=r"2 of 27 sentences are zero, NaN or infinite: .* \[1, 2\], \[2, 0\]; drop"):
        retrieval.correct(e)
    e[1, 2, 0] = np.nan
    with pytest.raises(ValueError, match=r"1 of 9 sentences are zero, NaN or infinite: .* \[0, 2\]; drop"):
        retrieval.top1(e[1], e[1])


def test_shapes_that_do_not_fit_are_refused_with_both():
    e = space()
    with pytest.raises(ValueError, match=r"\(1, 9, 5\) queries but \(1, 8, 5\) candidates"):
        retrieval.top1(e[0], e[0, :8])
    with pytest.raises(ValueError, match=r"\(3, 9, 5\) queries but \(2, 9, 5\) candidates"):
        retrieval.correct(e, candidates=e[:2])
    with pytest.raises(ValueError, match="2 axes but 3 are needed"):
        retrieval.correct(e[0])
    with pytest.raises(ValueError, match="3 languages in the array but 2 names"):
        retrieval.distances(e, NAMES[:2])
    with pytest.raises(LookupError, match="no score 'cosine'; did you mean"):
        retrieval.scores(e, ["cosine"])
    with pytest.raises(LookupError, match="no subspace 'all'"):
        retrieval.subspace(e, kind="all")


def test_input_is_left_alone():
    e = torch.tensor(space(offset=1))
    before = e.clone()
    for call in (retrieval.correct, retrieval.scores, retrieval.subspace):
        call(e)
    retrieval.distances(e, NAMES)
    retrieval.project(e, retrieval.subspace(e))
    assert torch.equal(e, before)
