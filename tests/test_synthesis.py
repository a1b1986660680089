"""The joined table and its models: planted answers, slow versions, and intervals that hold the truth often enough."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.common import stats
from helpers.synthesis import findings, questions
from helpers.synthesis.questions import Question
from helpers.transfer import association
from helpers.world import planted

ASKED = [
    Question("transfer", "meaning", ("similarity",)),
    Question("transfer", "form", ("similarity",)),
    Question("after", "meaning", ("similarity", "before")),
]


def long(quantity: str, cells: dict) -> pd.DataFrame:
    """table[source, target, quantity, value] of pairs -> value."""
    return pd.DataFrame([(*pair, quantity, x) for pair, x in cells.items()], columns=[*questions.KEYS, "value"])


def test_the_planted_answers_come_out():
    table, families, expected = planted.pairs(seed=1)
    found = questions.answers(table, ASKED, families, draws=300, permutations=99).set_index(["outcome", "predictor"])
    for key, truth in expected.items():
        row = found.loc[key]
        assert row.low <= truth <= row.high and abs(row.partial_r - truth) < 0.15
        assert (row.p < 0.05) == (truth > 0)
    assert found.r["after", "meaning"] > 0.5, "it goes with it, though by nothing of its own"
    assert list(found.holm) == list(stats.holm(found.p))
    said = findings.planted(found.reset_index(), expected)
    assert said.count("holds") == 3 and "misses" not in said


def test_partial_r_is_that_of_residuals_of_a_regression():
    table, families, _ = planted.pairs(languages=10, kin=2, seed=3)
    found = questions.answers(table, ASKED[:1], families, draws=20, permutations=19).iloc[0]
    wide = table.pivot(index=["source", "target"], columns="quantity", values="value").reset_index()
    design = pd.get_dummies(wide[["source", "target"]]).to_numpy(float)
    y, x, z = (wide[name].to_numpy() for name in ("transfer", "meaning", "similarity"))
    both = np.column_stack([design, z])
    left = [v - both @ np.linalg.lstsq(both, v, rcond=None)[0] for v in (y, x)]
    assert found.partial_r == pytest.approx(np.corrcoef(*left)[0, 1], abs=1e-6)
    raw = [v - design @ np.linalg.lstsq(design, v, rcond=None)[0] for v in (y, x)]
    assert found.r == pytest.approx(np.corrcoef(*raw)[0, 1], abs=1e-6)


@given(st.integers(0, 10_000))
def test_weights_are_copies_of_rows(seed):
    rng = np.random.default_rng(seed)
    y, x, held = rng.normal(size=30), rng.normal(size=30), rng.normal(size=(30, 2))
    count = rng.integers(0, 3, 30)
    many = np.repeat(np.arange(30), count)
    if len(many) < 6:
        return
    expected = stats.partial_correlation(y[many], x[many], held[many])
    assert questions.partial(y, x, held, count[None])[0] == pytest.approx(expected, abs=1e-8)


def test_what_is_held_can_leave_nothing():
    x = np.random.default_rng(0).normal(size=(20, 2))
    assert np.isnan(questions.partial(x[:, 0], x[:, 1], x[:, 1:], np.ones((1, 20), int))).all()


def test_a_pair_counts_as_often_as_its_languages_were_drawn():
    source, target = ["a", "a", "b", "c"], ["b", "c", "c", "a"]
    weights = questions.pair_weights(source, target, {}, 50, 7)
    drawn = stats.weights(3, 50, 7)
    for place, (s, t) in enumerate(zip(source, target)):
        assert (weights[:, place] == drawn[:, "abc".index(s)] * drawn[:, "abc".index(t)]).all()
    kin = questions.pair_weights(source, target, {"a": "F", "b": "F", "c": "G"}, 50, 7)
    both = stats.weights(2, 50, 7)
    assert (kin[:, 0] == both[:, 0] ** 2).all() and (kin[:, 1] == both.prod(1)).all()
    alone = questions.pair_weights(source, target, {"a": "", "b": "", "c": "G"}, 50, 7)
    assert not np.array_equal(alone, kin), "a language without a family is a family of its own"


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    held = []
    for seed in range(30):
        table, families, expected = planted.pairs(languages=12, kin=3, seed=seed)
        row = questions.answers(table, ASKED[:1], families, draws=200, permutations=1, seed=seed).iloc[0]
        held.append(row.low <= expected["transfer", "meaning"] <= row.high)
    assert np.mean(held) >= 0.8


def test_an_outcome_of_chance_is_rarely_claimed():
    small = []
    for seed in range(30):
        table, families, _ = planted.pairs(languages=10, kin=2, beyond=0.0, seed=seed)
        small.append(questions.answers(table, ASKED[:1], families, draws=5, permutations=39, seed=seed).p[0] <= 0.05)
    assert np.mean(small) <= 0.17  # three binomial deviations above 5 %


def test_within_one_family_nothing_is_claimed_of_families():
    table, families, _ = planted.pairs(languages=8, kin=2)
    one = dict.fromkeys(families, "F")
    found = questions.answers(table, ASKED[:1], one, draws=50, permutations=99)
    assert found.low.notna().all() and found.low_family.isna().all() and not found.sure.any()
    values = pd.DataFrame({"source": list("aabb"), "target": list("bcac"), "units": "experts", "kin": "within"})
    means = questions.pair_means(values.assign(value=[0.5, 0.6, 0.5, 0.6]), ["units", "kin"], dict.fromkeys("abc", "F"))
    assert means.low[0] > 0 and means[["low_family", "high_family"]].isna().all(axis=None)
    assert findings._group(means, "experts").endswith("] ns (one family only)")
    assert findings._group(means.assign(low_family=0.1, high_family=0.9), "experts").endswith("]")
    assert findings._group(means.assign(value=np.nan), "experts") == "experts: "


def test_a_predictor_without_variation_is_not_judged():
    table, families, _ = planted.pairs(languages=8, kin=2)
    table.loc[table.quantity == "form", "value"] = 1.0
    table["quantity"] = table.quantity.replace("form", "form@3")
    asked = [Question("transfer", "form@3", ("similarity",))]
    found = questions.answers(table, asked, families, draws=5, permutations=5)
    assert found.partial_r.isna().all() and found.holm.isna().all()
    assert "does not vary" in findings.answered(found, "form", "below")


def test_join_keeps_the_pairs_that_all_have_and_says_where_from():
    one = long("x", {("a", "b"): 1.0, ("b", "a"): 2.0, ("a", "a"): 9.0})
    two = long("y", {("a", "b"): 3.0, ("c", "a"): 4.0})
    table = questions.join({("predictor", "dev"): one, ("outcome", "test"): two})
    assert table.values.tolist() == [["a", "b", "x", "predictor", "dev", 1.0], ["a", "b", "y", "outcome", "test", 3.0]]
    with pytest.raises(ValueError, match="1 rows are there twice, such as 'x' of a, b"):
        questions.join({("p", "dev"): pd.concat([one, one[:1]])})
    with pytest.raises(ValueError, match="share no pair"):
        questions.join({("p", "dev"): one, ("o", "test"): long("y", {("c", "d"): 0.0})})


def test_shared_sentences_are_found():
    table = questions.join({("p", "dev"): long("x", {("a", "b"): 1.0}), ("o", "test"): long("y", {("a", "b"): 1.0})})
    asked = [Question("y", "x", ())]
    assert questions.shared_sentences(table, {"dev": {1, 2}, "test": {3}}, asked) == []
    assert questions.shared_sentences(table, {"dev": {1, 2}, "test": {2}}, asked) == ["x -> y"]


def test_questions_and_known_measures():
    asked = questions.questions({"y": ["s"], "z": []}, {"y": ["a", "b"], "z": ["a"]})
    assert asked == [Question("y", "a", ("s",)), Question("y", "b", ("s",)), Question("z", "a", ())]
    pairs = [(p, q) for p in "abcd" for q in "abcd" if p != q]
    table = [("full", *pair, i) for i, pair in enumerate(pairs)] + [("flat", *pair, 1.0) for pair in pairs]
    table += [("holed", *pair, i if i > 2 else np.nan) for i, pair in enumerate(pairs)]
    table = pd.DataFrame(table, columns=["measure", "source", "target", "value"])
    assert questions.known_measures(table) == ["full"]
    assert questions.known_measures(table, 0.7) == ["full", "holed"]


def test_an_unknown_quantity_is_named():
    table, families, _ = planted.pairs(languages=6, kin=2)
    with pytest.raises(LookupError, match="no quantity 'nothing'.*similarity"):
        questions.answers(table, [Question("nothing", "meaning", ())], families)


def test_reliability_is_the_correlation_of_two_measurements():
    table, _, _ = planted.pairs(languages=8, kin=2)
    found = questions.reliability(table, table[table.quantity != "form"]).set_index("quantity")
    assert "form" not in found.index and np.allclose(found.r, 1)
    noise = table.assign(value=np.random.default_rng(0).normal(size=len(table)))
    assert questions.reliability(table, noise).r.abs().max() < 0.5


def test_means_over_pairs_and_their_resamples():
    names = list("abcdef")
    pairs = [(p, q) for p in names for q in names if p != q]
    values = pd.DataFrame(
        [(*pair, "k", i % 7) for i, pair in enumerate(pairs)], columns=["source", "target", "by", "value"]
    )
    row = questions.pair_means(values, ["by"], {}, draws=200).iloc[0]
    weights = stats.weights(6, 200, 0)
    means = []
    for draw in weights:
        rows = [x for (p, q), x in zip(pairs, values.value) for _ in range(draw[names.index(p)] * draw[names.index(q)])]
        means += [np.mean(rows)] if rows else []
    assert row.value == values.value.mean() and row.n == 30
    assert (row.low, row.high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])))
    same = questions.pair_means(values.assign(value=2.0), ["by"], {"a": "F", "b": "F"}, draws=50).iloc[0]
    assert (same.low, same.high, same.low_family) == (2, 2, 2)


def test_gains_by_the_language_steered_to():
    names, rng = list("abcd"), np.random.default_rng(0)
    before = rng.random((4, 4, 5))
    cube = {name: rng.random((4, 4, 5)) for name in names}
    found = questions.gains(before, {"experts": cube, "random units": cube}, names)
    found = found.set_index(["units", "source", "target", "toward"]).value
    s, t, others = 1, 3, ["a", "c"]
    plain = before[s, t].mean()
    assert found["experts", "b", "d", "source"] == pytest.approx(cube["b"][s, t].mean() - plain)
    assert found["experts", "b", "d", "target"] == pytest.approx(cube["d"][s, t].mean() - plain)
    assert found["experts", "b", "d", "another"] == pytest.approx(
        np.mean([cube[o][s, t].mean() for o in others]) - plain
    )
    table = questions.contrasts(found.reset_index(), {}).set_index("contrast")
    assert table.value["experts less random units"] == 0
    apart = found["experts"].unstack()
    expected = (apart["source"] - apart["another"]).mean()
    assert table.value["steered to the source less to another"] == pytest.approx(expected)


def test_two_languages_have_no_other_to_steer_to():
    before = np.zeros((2, 2, 3))
    found = questions.gains(before, {"experts": {"a": before, "b": before}}, ["a", "b"])
    assert found[found.toward == "another"].value.isna().all()


def test_thirds_are_of_equal_size():
    by = long("x", {(p, q): i for i, (p, q) in enumerate((p, q) for p in "abc" for q in "abc" if p != q)})
    found = questions.thirds(by, by)
    assert list(found) == ["low", "low", "middle", "middle", "high", "high"] or found.value_counts().max() <= 3
    assert found.iloc[0] == "low" and found.iloc[-1] == "high"


def test_what_was_chosen_for_its_luck_is_not_lucky_again():
    rng = np.random.default_rng(0)
    before, after = (rng.integers(0, 2, (12, 12, 40)).astype(float) for _ in range(2))
    best = questions.most_helped(before, after, list("abcdefghijkl"), 20)
    assert best.chosen.min() > 0.1 and abs(best.held_out.mean()) < 0.1
    assert (best.source != best.target).all() and len(best) == 20


def test_residuals_are_taken_as_association_takes_them():
    table, _, _ = planted.pairs(languages=6, kin=2)
    frame = questions._frame(table, "meaning")
    cells, source, target = questions._cells([frame])
    square = association.square(frame, "value")
    expected = association.residuals(square.to_numpy())
    place = [(square.index.get_loc(t), square.columns.get_loc(s)) for s, t in zip(source, target)]
    assert np.allclose(cells[:, 0] * expected[~np.isnan(expected)].std(), [expected[i, j] for i, j in place])
