"""Planted transfer tables whose answer is known, slow oracles of a choice, and p values uniform under chance."""

import numpy as np
import oracles
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest, pearsonr, spearmanr

from helpers.common import stats
from helpers.transfer import qap, ranking

KEYS = ["task", "representation", "measure", "statistic", "pairs"]


def _table(cells, column="value", names=None, **keys):
    """Long table of cells [source, target]."""
    sources, targets = ([f"L{i}" for i in range(n)] if names is None else names for n in cells.shape)
    frame = pd.DataFrame(cells, pd.Index(sources, name="source"), pd.Index(targets, name="target"))
    return frame.stack(future_stack=True).rename(column).reset_index().assign(**keys)


def _planted(n=14, noise=0.05, seed=0):
    """Scores from a similarity and a target effect that dwarfs it; and the similarity beside an idle measure."""
    rng = np.random.default_rng(seed)
    alike, idle = (x + x.T for x in rng.random((2, n, n)))
    cells = alike + noise * rng.standard_normal((n, n)) + 100 * rng.random(n)
    return _table(cells, "score", task="t", representation="x"), pd.concat(
        [_table(alike, measure="alike"), _table(idle, measure="idle")]
    )


def _gappy(rng, n=6, levels=3):
    scores, values = rng.random((n, n)), rng.integers(0, levels, (n, n)).astype(float)
    values[rng.random((n, n)) < 0.2] = np.nan
    return scores, values


def test_a_planted_effect_shows_within_targets_and_hides_when_pooled():
    scores, similarity = _planted()
    alike = similarity[similarity["measure"] == "alike"]
    assert qap.within_target(scores, alike)["r"].min() > 0.95
    assert qap.overall(scores, alike)["r"] > 0.95
    assert abs(qap.overall(scores, alike, "pooled")["r"]) < 0.2
    table = qap.correlate(scores, similarity, draws=100, permutations=99)
    assert not table.duplicated(KEYS).any() and len(table) == 2 * 3 * 2
    assert set(table.loc[table["confounded"], "statistic"]) == {"pooled"}
    found = table.set_index(KEYS[2:])
    planted, idle = found.loc["alike", "within_target", "common"], found.loc["idle", "within_target", "common"]
    assert planted["low"] > 0.9 and planted["p"] == 0.01 and planted["holm"] == 0.02 and planted["n"] == 14 * 13
    assert idle["p"] > 0.01 and abs(idle["r"]) < 0.3 and idle["high"] - idle["low"] > planted["high"] - planted["low"]


@pytest.mark.parametrize("method", ["pearson", "spearman"])
def test_correlations_equal_scipy_on_known_pairs(method):
    rng = np.random.default_rng(1)
    scores, values = _gappy(rng, 9, 4)
    scores[2, 5] = np.nan
    S, V = _table(scores, "score"), _table(values)
    known = ~np.isnan(scores + values) & ~np.eye(9, dtype=bool)
    slow = {"pearson": pearsonr, "spearman": spearmanr}[method]
    turned = {"source": "target", "target": "source"}
    targets = qap.within_target(S, V, method)
    sources = qap.within_target(S.rename(columns=turned), V.rename(columns=turned), method)
    for i in range(9):
        column, row = known[:, i], known[i]
        np.testing.assert_allclose(targets["r"][i], slow(scores[column, i], values[column, i])[0], atol=1e-12)
        np.testing.assert_allclose(sources["r"][i], slow(scores[i, row], values[i, row])[0], atol=1e-12)
        assert targets["n"][i] == column.sum() and sources["n"][i] == row.sum()
    np.testing.assert_allclose(
        qap.overall(S, V, "pooled", method)["r"], slow(scores[known], values[known])[0], atol=1e-12
    )
    found = qap.correlate(S, V.assign(measure="m"), method=method, draws=2, permutations=2)
    found = found[found["pairs"] == "full"].set_index("statistic")["r"]
    np.testing.assert_allclose(found["within_target"], targets["r"].mean())
    if method == "pearson":
        left = [oracles.two_way_residuals(np.where(known, x, np.nan))[known] for x in (scores, values)]
        np.testing.assert_allclose(qap.overall(S, V)["r"], pearsonr(*left)[0], atol=1e-8)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 10), st.floats(-50, 50))
def test_within_target_ignores_shifts_of_targets_scale_and_order(seed, scale, shift):
    rng = np.random.default_rng(seed)
    scores, values = rng.random((2, 6, 6))
    V, S = _table(values), _table(scores, "score")
    before = qap.within_target(S, V)
    moved = _table(scores * scale + shift * rng.random(6), "score").sample(frac=1, random_state=seed)
    after = qap.within_target(moved, V).set_index("target").loc[before["target"]]
    np.testing.assert_allclose(after["r"], before["r"], atol=1e-6)
    ranks = qap.within_target(S, _table(np.exp(3 * values)), "spearman")["r"]
    np.testing.assert_allclose(ranks, qap.within_target(S, V, "spearman")["r"], atol=1e-12)


def test_what_only_the_source_decides_has_no_centred_correlation():
    rng = np.random.default_rng(0)
    size = _table(np.repeat(rng.random((7, 1)), 7, axis=1))
    scores = _table(rng.random((7, 7)), "score")
    assert np.isnan(qap.overall(scores, size)["r"])
    assert qap.within_target(scores, size)["r"].notna().all()


def test_unknown_values_shrink_n_and_the_common_pairs_of_all_measures():
    scores, similarity = _planted(8)
    missing = (similarity["measure"] == "idle") & (similarity["source"] == "L0")
    similarity = similarity.assign(value=similarity["value"].mask(missing))
    table = qap.correlate(scores, similarity, statistics=["within_target"], draws=20, permutations=19)
    n = table.set_index(["measure", "pairs"])["n"]
    assert n["alike", "full"] == 56 and n["alike", "common"] == n["idle", "common"] == n["idle", "full"] == 49
    nothing = _table(np.full((8, 8), np.nan), measure="nothing")
    more = qap.correlate(scores, pd.concat([similarity, nothing]), draws=20, permutations=19)
    left = more[more["measure"] != "nothing"].drop(columns="holm").reset_index(drop=True)
    assert more.loc[more["measure"] == "nothing", ["r", "low", "high", "p", "holm"]].isna().all(axis=None)
    within = left[left["statistic"] == "within_target"].reset_index(drop=True)
    pd.testing.assert_frame_equal(within, table.drop(columns="holm"))
    short = _table(np.full((3, 3), 0.5), "score")
    assert qap.within_target(short, _table(np.eye(3)))["r"].isna().all()  # two sources a target: no correlation


@pytest.mark.slow
def test_permutation_p_is_uniform_when_labels_mean_nothing():
    p = []
    for seed in range(50):
        rng = np.random.default_rng(seed)
        scores, values = (x + x.T + 2 * rng.random(8) for x in rng.random((2, 8, 8)))
        values[np.triu_indices(8, 5)] = np.nan
        S, V = _table(scores, "score"), _table(values, measure="m")
        table = qap.correlate(S, V, draws=2, permutations=39, seed=seed)
        p.append(table[table["pairs"] == "full"].set_index("statistic")["p"])
    for statistic, found in pd.DataFrame(p).items():
        assert kstest(found, "uniform").pvalue > 0.01, statistic


def test_a_rectangle_of_sources_and_targets_is_permuted_among_like_languages():
    rng = np.random.default_rng(0)
    values = rng.random((9, 12))
    S = _table(values + 0.1 * rng.random((9, 12)), "score")
    found = qap.correlate(S, _table(values, measure="m"), statistics=["within_target"], draws=20, permutations=99)
    assert found["p"].iloc[0] == 0.01 and found["n"].iloc[0] == 9 * 11


def test_mrqap_tells_a_cause_from_what_goes_along_with_it():
    rng = np.random.default_rng(0)
    cause, other = (x + x.T for x in rng.standard_normal((2, 16, 16)))
    along = cause + 0.7 * other
    scores = _table(cause + 0.5 * rng.standard_normal((16, 16)) + 9 * rng.random(16), "score", task="t")
    similarity = pd.concat([_table(cause, measure="cause"), _table(along, measure="along")])
    alone = qap.correlate(scores, similarity, statistics=["centred"], draws=2, permutations=99)
    assert (alone["p"] == 0.01).all()
    table = qap.mrqap(scores, similarity, permutations=99).set_index("measure")
    assert table.loc["cause", "p"] == 0.01 and table.loc["along", "p"] > 0.05 and (table["n"] == 240).all()
    x = [qap.residuals(np.where(np.eye(16), np.nan, z))[~np.eye(16, dtype=bool)] for z in (cause, along)]
    y = qap.residuals(qap.square(scores, "score").to_numpy().T)[~np.eye(16, dtype=bool)]
    beta = np.linalg.lstsq(np.stack(x, 1), y, rcond=None)[0] * [z.std() / y.std() for z in x]
    np.testing.assert_allclose(table["beta"], beta, rtol=1e-6)
    third = rng.standard_normal((16, 16))
    determined = {"third": third, "double": 2 * cause, "source only": third[:1].T.repeat(16, 1)}
    more = pd.concat([similarity, *(_table(cells, measure=name) for name, cells in determined.items())])
    found = qap.mrqap(scores, more, permutations=9).set_index("measure")["beta"]
    assert found[["cause", "double", "source only"]].isna().all() and found[["along", "third"]].notna().all()
    without = qap.mrqap(scores, more[~more["measure"].isin(["double", "source only"])], permutations=9)
    assert found["third"] == pytest.approx(without.set_index("measure")["beta"]["third"])
    with pytest.raises(ValueError, match="2 pairs are known to all 2 measures"):
        qap.mrqap(scores, pd.concat([similarity[:256], _table(cause[:2, :2], measure="few")]))
    few = [_table(rng.standard_normal((4, 4)), measure=f"m{i}") for i in range(5)]
    small = scores[scores["source"].isin(few[0].source) & scores["target"].isin(few[0].target)]
    assert len(qap.mrqap(small, pd.concat(few[:4]), permutations=5)) == 4
    with pytest.raises(ValueError, match="12 pairs are known to all 5 measures, which with 7 means leaves nothing"):
        qap.mrqap(small, pd.concat(few))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 5))
def test_regret_and_ndcg_equal_the_average_over_all_orders_of_ties(seed, k):
    scores, values = _gappy(np.random.default_rng(seed))
    scores = scores.round(1)
    S, V = _table(scores, "score"), _table(values)
    regret, ndcg = ranking.regret(S, V, k), ranking.ndcg(S, V, k)
    for t in range(6):
        rest = np.arange(6) != t
        if np.isnan(values[rest, t]).all():
            assert np.isnan(regret["regret"][t]) and np.isnan(ndcg["ndcg"][t])
            continue
        known = (scores[rest, t], values[rest, t], k)
        np.testing.assert_allclose(regret["regret"][t], oracles.regret(*known), atol=1e-12)
        np.testing.assert_allclose(ndcg["ndcg"][t], oracles.ndcg(*known), atol=1e-12)


def test_the_scores_themselves_are_a_perfect_ranker():
    scores, _ = _planted()
    perfect = scores.rename(columns={"score": "value"})
    for k in (1, 3):
        np.testing.assert_allclose(ranking.regret(scores, perfect, k)["regret"], 0, atol=1e-9)
        np.testing.assert_allclose(ranking.ndcg(scores, perfect, k)["ndcg"], 1)


def test_baselines_are_the_rules_they_name():
    rng = np.random.default_rng(0)
    cells = rng.random((5, 5))
    scores = _table(cells, "score", task="a")
    families = dict(zip(["L0", "L1", "L2", "L3", "L4"], ["x", "x", "y", "y", ""]))
    table = ranking.baselines(scores, pivot="L0", families=families, others={"b": scores}).groupby("measure")
    off = np.where(np.eye(5), np.nan, cells)
    chance = ranking.regret(scores, table.get_group("random"))["regret"]
    np.testing.assert_allclose(chance, np.nanmax(off, 0) - np.nanmean(off, 0))
    pivot = ranking.regret(scores, table.get_group("pivot L0"))["regret"]
    np.testing.assert_allclose(pivot[1:], (np.nanmax(off, 0) - cells[0])[1:])
    kin = ranking.regret(scores, table.get_group("same family"))["regret"]
    np.testing.assert_allclose(kin[:2], np.nanmax(off, 0)[:2] - [cells[1, 0], cells[0, 1]])
    np.testing.assert_allclose(ranking.regret(scores, table.get_group("other b"))["regret"], 0)
    single = table.get_group("best single source").set_index(["source", "target"])["value"]
    easy = off - np.nanmean(off, 0)
    np.testing.assert_allclose(single["L1", "L0"], np.mean([easy[1, t] for t in (2, 3, 4)]))
    with pytest.raises(LookupError, match="no source to be the pivot 'L9'; did you mean"):
        ranking.baselines(scores, pivot="L9")


def test_regret_curves_fall_with_k_and_bound_their_means():
    scores, similarity = _planted(6, noise=0.3)
    scores = pd.concat([scores, scores.assign(task="u")])
    table, singles = ranking.regret_curve(scores, similarity, ks=range(1, 11), pivot="L1")
    assert not table.duplicated(["task", "representation", "measure", "k"]).any() and table["k"].max() == 5
    assert (table.groupby(["task", "measure"])["regret"].diff().dropna() <= 1e-9).all()
    assert table["low"].le(table["regret"] + 1e-9).all() and table["high"].ge(table["regret"] - 1e-9).all()
    other = table[(table["measure"] == "other u / x") & (table["task"] == "t")]
    np.testing.assert_allclose(other["regret"], 0, atol=1e-9)
    assert set(table.loc[~table["baseline"], "measure"]) == {"alike", "idle", ranking.BEST, ranking.ALL}
    for name, part in similarity.groupby("measure"):
        row = table[(table["measure"] == name) & (table["task"] == "t")].set_index("k")
        one = scores[scores["task"] == "t"]
        assert row["ndcg"][3] == pytest.approx(ranking.ndcg(one, part)["ndcg"].mean())
        lost = ranking.regret(one, part, 1)["regret"]
        assert row["regret"][1] == pytest.approx(lost.mean())
        found = singles[(singles["measure"] == name) & (singles["task"] == "t")]["regret"]
        np.testing.assert_allclose(found, lost)
        assert tuple(row.loc[1, ["low", "high"]]) == pytest.approx(stats.few_interval(lost)[1:])


def test_the_best_measure_is_chosen_without_the_targets_family():
    """In family F0 another measure is best; it must not be chosen for F0 itself."""
    rng, n = np.random.default_rng(0), 12
    families = {f"L{i}": f"F{i // 3}" for i in range(n)}
    first, second = rng.random((2, n, n))
    ours = np.arange(n) < 3
    cells = np.where(ours, second, first) + 0.01 * rng.random((n, n))  # [source, target]
    scores = _table(cells, "score", task="t", representation="x", metric="m")
    similarity = pd.concat([_table(first, measure="first"), _table(second, measure="second")])
    table = ranking.chosen(scores, similarity, families).set_index("target")
    assert (table["measure"] == "first").all() and set(table["family"]) == {"F0", "F1", "F2", "F3"}
    off = np.where(np.eye(n, dtype=bool), np.nan, cells)
    for name in ("L0", "L7"):
        i = int(name[1:])
        known = np.arange(n) != i
        assert table["r"][name] == pytest.approx(np.corrcoef(off[known, i], first[known, i])[0, 1])
    alone = ranking.chosen(scores, similarity, dict.fromkeys(families, "F"))
    assert (alone["measure"] == "first").all() and len(alone) == n, "one family: each target is left out by itself"


def test_all_measures_together_are_weighed_by_other_families():
    rng, n = np.random.default_rng(1), 15
    families = {f"L{i}": f"F{i // 3}" for i in range(n)}
    first, second = rng.normal(size=(2, n, n))
    cells = first + second + 0.1 * rng.normal(size=(n, n))
    scores = _table(cells, "score", task="t", representation="x", metric="m")
    similarity = pd.concat([_table(first, measure="first"), _table(second, measure="second")])
    curves, _ = ranking.regret_curve(scores, similarity, families, ks=[1])
    lost = curves.set_index("measure")["regret"]
    assert lost[ranking.ALL] < 0.1 < lost[ranking.BEST]
    S, V = qap.stacked(scores, similarity)
    together = ranking.elsewhere(S, V, families)[0][ranking.ALL]
    changed = S.copy()
    changed.loc[["L0", "L1", "L2"]] = rng.normal(size=(3, n))
    changed[["L0", "L1", "L2"]] = rng.normal(size=(n, 3))
    again = ranking.elsewhere(changed.where(S.notna()), V, families)[0][ranking.ALL]
    np.testing.assert_allclose(again[:3], together[:3], err_msg="the family's own scores play no part")
    assert not np.allclose(again[3:], together[3:])


def test_the_split_half_oracle_takes_the_luck_out_of_a_maximum():
    correct = np.random.default_rng(0).random((40, 12, 200)) < 0.4
    names = [f"s{i}" for i in range(40)]
    table = ranking.split_half(correct, names, names[:12])
    assert table["optimistic"].mean() > 0.46 and abs(table["honest"].mean() - 0.4) < 0.01
    correct[3] = True
    honest = ranking.split_half(correct, names, names[:12]).set_index("target")["honest"]
    assert (honest.drop("s3") == 1).all() and honest["s3"] < 1
    flat = _table(np.full((4, 3), 0.4), "score")
    regret = ranking.regret(flat, _table(np.ones((4, 3))), oracle={"L0": 0.5, "L1": 0.4})["regret"]
    np.testing.assert_allclose(regret, [0.1, 0, np.nan], atol=1e-12)
    with pytest.raises(ValueError, match="expected"):
        ranking.split_half(correct[:5], names, names)


def test_a_target_with_fewer_items_has_the_oracle_of_these_alone():
    correct = (np.random.default_rng(1).random((6, 3, 40)) < 0.5).astype(np.float32)
    names, gappy = list("abcdef"), correct.copy()
    gappy[:, 1, 25:] = gappy[:, 2, 1:] = np.nan  # with one item there is none to select on: all sources share
    table = ranking.split_half(gappy, names, names[:3])
    whole = ranking.split_half(correct, names, names[:3])
    pd.testing.assert_frame_equal(table[:1], whole[:1])
    shares = np.delete(correct[:, 1, :25], 1, axis=0).mean(1)
    assert table.optimistic[1] == pytest.approx(shares.max()) and shares.min() < table.honest[1] < shares.max()
    assert table.honest[2] == pytest.approx(np.delete(correct[:, 2, 0], 2).mean())


def test_floor_share_counts_cells_within_two_standard_errors_of_guessing():
    table = _table(np.array([[0.9, 0.25, 0.5], [0.31, 0.9, 0.5], [0.32, 0.1, 0.9]]), "score", task="t", n_test=204)
    keys = dict(representation="x", metric="accuracy")
    found = ranking.floor_share(table.assign(majority=0.25, **keys))  # the floor is .25 + 2 * .0303 = .3106
    assert found["share"].item() == 3 / 6 and found["n"].item() == 6
    table["majority"] = table["target"].map({"L0": 0.3, "L1": 0.25, "L2": 0.25})
    assert ranking.floor_share(table.assign(**keys))["share"].item() == 4 / 6


def test_bad_tables_are_refused_with_a_next_move():
    scores, similarity = _planted(5)
    alike = similarity[similarity["measure"] == "alike"]
    with pytest.raises(ValueError, match="25 of 50 value rows repeat"):
        qap.within_target(scores, similarity)
    with pytest.raises(ValueError, match="share no pair"):
        qap.within_target(scores, alike.replace({"source": {f"L{i}": f"M{i}" for i in range(5)}}))
    with pytest.raises(ValueError, match="k is 5 but targets have at most 4 other sources"):
        ranking.regret(scores, alike, 5)
    with pytest.raises(ValueError, match="infinite"):
        ranking.ndcg(scores, alike.assign(value=np.inf))
    with pytest.raises(ValueError, match="statistics are within_target"):
        qap.correlate(scores, similarity, statistics=["between"], draws=2, permutations=2)


def test_inputs_are_left_as_they_were():
    scores, similarity = _planted(5)
    before = scores.copy(), similarity.copy()
    qap.correlate(scores, similarity, draws=5, permutations=5)
    ranking.regret_curve(scores, similarity)
    pd.testing.assert_frame_equal(scores, before[0])
    pd.testing.assert_frame_equal(similarity, before[1])
