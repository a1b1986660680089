"""Shares of variance: the mean squares of a two-way table, closed forms, chance at zero, and intervals that cover."""

import hypothesis.extra.numpy as arrays
import numpy as np
import oracles
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from helpers.abx import variance
from helpers.common import stats
from helpers.world import planted

spaces = arrays.arrays(
    float,
    st.tuples(st.integers(2, 4), st.integers(2, 6), st.integers(1, 3)),
    elements=st.integers(-8, 8).map(float),
)


def plain(values):
    return np.array([share[0] for share in variance.shares(values).values()])


@settings(max_examples=50, deadline=None)
@given(spaces, st.integers(0, 10**6))
def test_shares_are_the_components_of_a_two_way_table(values, seed):
    parts = oracles.variance_components(values)
    assume(abs(parts.sum()) > 1e-6)
    np.testing.assert_allclose(plain(values), parts / parts.sum(), atol=1e-9)
    rng = np.random.default_rng(seed)
    turned = np.linalg.qr(rng.normal(size=[values.shape[2]] * 2))[0]
    moved = (3 * values @ turned + 1e3)[rng.permutation(len(values))][:, rng.permutation(values.shape[1])]
    np.testing.assert_allclose(plain(moved), plain(values), atol=1e-6)


@pytest.mark.parametrize("weight", [0, 0.3, 0.5, 1])
def test_a_planted_case_has_its_closed_form(weight):
    parts = np.array([(1 - weight) ** 2, weight**2, 0.25])
    found = plain(planted.sliding(weight, languages=200, sentences=200))
    np.testing.assert_allclose(found, parts / parts.sum(), atol=0.01)


@pytest.mark.parametrize("languages, sentences", [(2, 200), (3, 50), (24, 100)])
def test_noise_has_no_share_by_language_and_none_by_meaning_for_any_number_of_either(languages, sentences):
    rng = np.random.default_rng(0)
    found = np.array([plain(rng.normal(size=(languages, sentences, 32))) for _ in range(20)])
    assert np.abs(found.mean(0)[:2]).max() < 0.01 and found.mean(0)[2] == pytest.approx(1, abs=0.01)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_weights_are_copies_of_which_no_two_are_a_pair(seed):
    rng = np.random.default_rng(seed)
    values, drawn = rng.normal(size=(3, 5, 2)) + rng.normal(size=(3, 1, 2)), rng.multinomial(5, [0.2] * 5)
    assume((drawn > 0).sum() > 1)
    rows = np.repeat(np.arange(5), drawn)
    centred = values - values.mean((0, 1))

    def mean(keep):
        products = [
            centred[p, i] @ centred[q, j] for p in range(3) for q in range(3) for i in rows for j in rows
            if keep(p == q, i == j)
        ]  # fmt: skip
        return np.mean(products)

    language, neither = mean(lambda p, i: p and not i), mean(lambda p, i: not p and not i)
    twins = [centred[p, i] @ centred[q, i] for p in range(3) for q in range(3) if p != q for i in rows]
    total = np.mean([centred[p, i] @ centred[p, i] for p in range(3) for i in rows]) - neither
    assume(abs(total) > 0.1)
    found = variance.shares(values, drawn[None])
    assert found["by language"][0] == pytest.approx((language - neither) / total)
    assert found["by meaning"][0] == pytest.approx((np.mean(twins) - neither) / total)
    assert sum(found.values())[0] == pytest.approx(1)


def test_equal_embeddings_have_no_variance_to_share():
    assert np.isnan(plain(np.ones((2, 3, 4)))).all()


@pytest.mark.slow
@pytest.mark.parametrize("languages, sentences, hidden", [(6, 100, 16), (24, 100, 64)])
def test_the_interval_over_sentences_covers_nineteen_times_in_twenty(languages, sentences, hidden):
    rng, hits = np.random.default_rng(1), []
    form = rng.normal(size=(languages, 1, hidden))
    parts = np.array([np.square(form - form.mean(0)).sum() / (languages - 1), 0.36 * hidden, 0.64 * hidden])
    for trial in range(400):
        meaning = 0.6 * rng.normal(size=(1, sentences, hidden))
        values = form + meaning + 0.8 * rng.normal(size=(languages, sentences, hidden))
        found = variance.shares(values, stats.weights(sentences, 100, trial))
        ends = [np.quantile(found[name], [0.025, 0.975]) for name in variance.SHARES]
        hits.append([low <= truth <= high for (low, high), truth in zip(ends, parts / parts.sum())])
    assert (np.mean(hits, 0) > 0.9).all() and (np.mean(hits, 0) < 0.985).all()
