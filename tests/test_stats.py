"""Intervals that cover, p values that are uniform under the null, and corrections against literal numbers."""

import numpy as np
import oracles
import pandas as pd
import pytest
from scipy.stats import kstest, pearsonr, spearmanr, t, ttest_1samp

from helpers.common import stats


def test_weights_are_resamples():
    draws = stats.weights(7, n=50, seed=1)
    assert draws.shape == (50, 7) and (draws.sum(axis=1) == 7).all() and (draws >= 0).all()
    assert (draws == stats.weights(7, n=50, seed=1)).all()
    with pytest.raises(ValueError, match="1 item to resample"):
        stats.weights(1)


def test_mean_interval_covers_a_normal_mean_about_95_times_in_100():
    data = np.random.default_rng(0).standard_normal((60, 800)) + 3
    found = stats.mean_interval(data)
    assert 0.92 < ((found.low < 3) & (found.high > 3)).mean() < 0.97
    np.testing.assert_allclose(found.estimate, data.mean(axis=0))


def test_a_clustered_interval_has_the_law_of_the_loop_and_is_wider_than_the_naive_one():
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(30), rng.integers(2, 9, 30))
    values = rng.standard_normal(30)[clusters] + 0.1 * rng.standard_normal(len(clusters))
    found, slow = stats.mean_interval(values, clusters), oracles.resampled_means(values, clusters, 1000, 1)
    np.testing.assert_allclose(found[1:], np.quantile(slow, [0.025, 0.975]), atol=0.06)
    naive = stats.mean_interval(values)
    assert found.high - found.low > 1.5 * (naive.high - naive.low)
    with pytest.raises(ValueError, match=f"{len(values)} values but 3 cluster names"):
        stats.mean_interval(values, [1, 2, 3])


def test_a_single_cluster_has_no_interval_and_no_verdict():
    found = stats.mean_interval([1.0, 2.0], ["a", "a"])
    assert found.estimate == 1.5 and np.isnan(found.low) and np.isnan(found.high)
    assert stats.verdict(*found[1:]) == "not distinguishable from"
    assert stats.span(*found[1:]) == "[no interval]" and stats.span(-0.02, 0.1, 2) == "[-0.02, +0.10]"


def test_a_bootstrap_of_a_single_cluster_has_no_interval():
    table = pd.DataFrame({"x": [1.0, 3.0], "language": "a"})
    found = stats.bootstrap(table, lambda rows: [rows.x.mean(), rows.x.max()], clusters="language", n=5)
    assert found.estimate.tolist() == [2, 3] and np.isnan(found.low).all() and np.isnan(found.high).all()


def test_nothing_at_all_is_refused():
    with pytest.raises(ValueError, match="0 items, at least 1 is needed"):
        stats.mean_interval([], [])


def test_bootstrap_of_a_mean_equals_the_clustered_interval():
    table = pd.DataFrame({"target": list("aabbbcdde"), "score": np.arange(9.0)})
    found = stats.bootstrap(table, lambda part: part["score"].mean(), clusters="target", n=1000)
    assert found == pytest.approx(stats.mean_interval(table["score"], table["target"]))


def test_bootstrap_names_an_unknown_column():
    with pytest.raises(LookupError, match="no column 'goal'; did you mean target"):
        stats.bootstrap(pd.DataFrame({"target": ["a"]}), len, clusters="goal", n=5)


def test_missing_values_are_refused():
    with pytest.raises(ValueError, match="1 of 3 items hold NaN"):
        stats.mean_interval([1, np.nan, 2])


def test_permutation_p_is_never_zero_and_is_uniform_under_the_null():
    assert stats.permutation_p(5, np.zeros(99)) == 0.01
    assert stats.permutation_p(-5, np.arange(-4, 5)) == 0.1
    draws = np.random.default_rng(0).standard_normal((200, 500))
    p = stats.permutation_p(draws[0], draws[1:])
    assert kstest(p, "uniform").pvalue > 0.01


def test_holm_gives_the_textbook_numbers_and_leaves_nan():
    np.testing.assert_allclose(stats.holm([0.01, np.nan, 0.04, 0.03]), [0.03, np.nan, 0.06, 0.06])
    assert (stats.holm([0.9, 0.8]) == 1).all()


def test_partial_correlation_equals_the_formula_and_scipy_without_controls():
    x, y, z = np.random.default_rng(0).standard_normal((3, 40)) + np.random.default_rng(1).standard_normal(40)
    assert stats.partial_correlation(x, y) == pytest.approx(pearsonr(x, y).statistic)
    assert stats.partial_correlation(x, y, ranks=True) == pytest.approx(spearmanr(x, y).statistic)
    xy, xz, yz = (pearsonr(a, b).statistic for a, b in ((x, y), (x, z), (y, z)))
    expected = (xy - xz * yz) / np.sqrt((1 - xz**2) * (1 - yz**2))
    assert stats.partial_correlation(x, y, z) == pytest.approx(expected)
    assert stats.partial_correlation(x, y, pd.DataFrame({"z": z})) == pytest.approx(expected)


def test_partial_correlation_knows_what_is_undefined():
    x = np.arange(5.0)
    assert np.isnan(stats.partial_correlation(x, x[::-1] ** 2, 2 * x + 1))
    assert stats.partial_correlation([*x, np.nan], [*(x * 2), 1]) == pytest.approx(1, abs=1e-9)
    with pytest.raises(ValueError, match="3 complete items for 1 controls"):
        stats.partial_correlation(x[:3], x[:3], x[:3])


def test_the_interval_of_few_items_is_students():
    values = np.random.default_rng(0).normal(size=5)
    expected = ttest_1samp(values, 0).confidence_interval()
    found = stats.few_interval(values)
    assert found.estimate == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx(tuple(expected))
    assert np.isnan(stats.few_interval([1.0]).low)


@pytest.mark.parametrize("rows, columns, rest", [(0, 0, 1), (1, 0, 1), (0, 1, 0.1), (1, 1, 1), (1, 1, 0.1)])
def test_the_crossed_interval_misses_as_rarely_as_it_says(rows, columns, rest):
    rng, missed = np.random.default_rng(0), 0
    for _ in range(600):
        cells = rows * rng.normal(size=(3, 1)) + columns * rng.normal(size=(1, 3)) + rest * rng.normal(size=(3, 3))
        found = stats.crossed_interval(cells)
        missed += not found.low <= 0 <= found.high
    assert missed / 600 < 0.075


def test_one_row_or_column_speaks_of_that_one():
    values = np.random.default_rng(0).normal(size=(1, 5))
    assert stats.crossed_interval(values) == stats.crossed_interval(values.T) == stats.few_interval(values[0])


def test_contrasts_pair_what_is_equal_in_all_other_columns():
    table = pd.DataFrame({"kind": ["a", "a", "b", "b"], "seed": [0, 1, 1, 0], "value": [1.0, 2.0, 5.0, 3.0]})
    found = stats.contrasts(table, "kind", "value")
    assert found.iloc[:4].equals(table)
    less = found.iloc[4:].set_index("seed")
    assert (less.kind == "a less b").all() and less.value.to_dict() == {0: -2.0, 1: -3.0}


def test_means_by_group_have_the_interval_asked_for_and_count_what_is_independent():
    table = pd.DataFrame({"kind": list("bbbbaaaa"), "seed": [0, 0, 1, 1] * 2, "value": [0.0, 2, 4, 6, 1, 1, 1, 3]})
    found = stats.by_group(table, ["kind"], "value", over="seed").set_index("kind")
    assert list(found.index) == ["b", "a"] and found.n.tolist() == [2, 2]
    assert tuple(found.loc["b"])[:3] == stats.few_interval([1.0, 5.0])
    found = stats.by_group(table, ["kind"], "value", over=["seed"], interval=stats.mean_interval)
    assert tuple(found.iloc[1])[1:4] == stats.mean_interval([1, 1, 1, 3], [0, 0, 1, 1])
    found = stats.by_group(table, ["kind"], "value", interval=stats.mean_interval)
    assert tuple(found.iloc[0])[1:] == (*stats.mean_interval([0, 2, 4, 6]), 4)


def test_an_interval_over_pairs_sums_products_over_pairs_that_share_a_language():
    rng = np.random.default_rng(0)
    pairs = [(p, q) for p in "abcde" for q in "abcde" if p != q][:17]
    source, target = zip(*pairs)
    x = rng.normal(size=len(pairs))
    pull = (x - x.mean()) / len(x)
    for groups in ({}, {"a": "F", "b": "F", "c": "G", "d": "", "e": "H"}):
        units = [{groups.get(name) or name for name in pair} for pair in pairs]
        n = len(set().union(*units))
        variance = sum(pull[i] * pull[j] for i in range(len(x)) for j in range(len(x)) if units[i] & units[j])
        found = stats.dyadic_interval(x.mean(), pull, source, target, groups)
        half = t.ppf(0.975, n - 1) * np.sqrt(variance * n / (n - 1))
        once = {}
        for unit, value in zip(units, pull):
            once[frozenset(unit)] = once.get(frozenset(unit), 0) + value
        least = t.ppf(0.975, n - 1) * np.sqrt(sum(value**2 for value in once.values()) * n / (n - 1))
        assert (found.high - found.low) / 2 == pytest.approx(max(np.nan_to_num(half), least))
    assert np.isnan(stats.dyadic_interval(0.0, pull, source, target, dict.fromkeys("abcde", "F")).low)


@pytest.mark.parametrize("groups", [2, 6, 14])
def test_few_groups_have_the_interval_of_student(groups):
    values = np.random.default_rng(0).normal(size=(groups, 3))
    found = stats.mean_interval(values)
    for column in range(3):
        one = stats.few_interval(values[:, column])
        assert (found.low[column], found.high[column]) == pytest.approx((one.low, one.high))
    doubled = stats.mean_interval(np.repeat(values[:, 0], 5), np.repeat(np.arange(groups), 5))
    assert doubled == pytest.approx(stats.few_interval(values[:, 0]))


def test_from_fifteen_groups_on_whole_clusters_are_resampled():
    values, draws = np.random.default_rng(0).normal(size=15), stats.weights(15)
    assert stats.mean_interval(values)[1:] == pytest.approx(tuple(np.quantile(draws @ values / 15, [0.025, 0.975])))


@pytest.mark.parametrize("groups", [3, 4, 12])
def test_the_smallest_effect_is_seen_in_four_of_five_cases(groups):
    effect = stats.smallest_effect(groups**-0.5, groups - 1)
    drawn = np.random.default_rng(0).normal(effect, 1, size=(4000, groups))
    low = [stats.few_interval(values).low for values in drawn[:1500]]
    assert np.mean(np.array(low) > 0) == pytest.approx(0.8, abs=0.04)
    assert np.isnan(stats.smallest_effect(1.0, 0)) and np.isnan(stats.smallest_effect(np.nan, 3))
