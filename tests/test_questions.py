"""The joined table and its models: planted answers, slow versions, and intervals that hold the truth often enough."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.common import stats
from helpers.synthesis import dyads, findings, gains, questions
from helpers.synthesis.questions import Question
from helpers.transfer import qap
from helpers.world import planted

ASKED = [
    Question("transfer", "meaning", ("similarity",)),
    Question("transfer", "form", ("similarity",)),
    Question("after", "meaning", ("similarity", "before")),
]


def long(quantity: str, cells: dict) -> pd.DataFrame:
    """table[source, target, quantity, value] of pairs -> value."""
    return pd.DataFrame([(*pair, quantity, x) for pair, x in cells.items()], columns=[*dyads.KEYS, "value"])


def test_the_planted_answers_come_out():
    table, families, expected = planted.pairs_case(seed=1)
    found = questions.answers(table, ASKED, families, permutations=99).set_index(["outcome", "predictor"])
    for key, truth in expected.items():
        row = found.loc[key]
        assert row.low <= truth <= row.high and abs(row.partial_r - truth) < 0.15
        assert (row.p < 0.05) == (truth > 0)
    assert found.r["after", "meaning"] > 0.5, "it goes with it, though by nothing of its own"
    assert list(found.holm) == list(stats.holm(found.p))
    said, case = findings.planted_case(seed=1)
    assert said == "**3 of 3 planted answers lie in their intervals.**" and list(case.planted) == list(
        expected.values()
    )


def test_partial_r_is_that_of_residuals_of_a_regression():
    table, families, _ = planted.pairs_case(languages=10, kin=2, seed=3)
    found = questions.answers(table, ASKED[:1], families, permutations=19).iloc[0]
    wide = table.pivot(index=["source", "target"], columns="quantity", values="value").reset_index()
    design = pd.get_dummies(wide[["source", "target"]]).to_numpy(float)
    y, x, z = (wide[name].to_numpy() for name in ("transfer", "meaning", "similarity"))
    both = np.column_stack([design, z])
    left = [v - both @ np.linalg.lstsq(both, v, rcond=None)[0] for v in (y, x)]
    assert found.partial_r == pytest.approx(np.corrcoef(*left)[0, 1], abs=1e-6)
    raw = [v - design @ np.linalg.lstsq(design, v, rcond=None)[0] for v in (y, x)]
    assert found.r == pytest.approx(np.corrcoef(*raw)[0, 1], abs=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 2))
def test_what_a_cell_adds_is_what_leaving_it_out_takes_away(seed, held):
    cells = np.random.default_rng(seed).normal(size=(200, 2 + held))
    cells = cells - cells.mean(0)
    r = stats.partial_correlation(cells[:, 0], cells[:, 1], cells[:, 2:])
    pull = questions._pull(cells)
    assert pull.sum() == pytest.approx(0, abs=1e-9)
    left = [stats.partial_correlation(*part.T[:2], part[:, 2:]) for part in (np.delete(cells, i, 0) for i in range(9))]
    np.testing.assert_allclose(r - np.array(left), pull[:9], atol=2e-3)


@pytest.mark.slow
def test_intervals_hold_the_truth_about_as_often_as_they_say():
    held = []
    for seed in range(30):
        table, families, expected = planted.pairs_case(languages=12, kin=3, seed=seed)
        row = questions.answers(table, ASKED[:1], families, permutations=1, seed=seed).iloc[0]
        held.append(row.low <= expected["transfer", "meaning"] <= row.high)
    assert np.mean(held) >= 0.8


@pytest.mark.slow
def test_an_outcome_of_chance_is_rarely_claimed():
    small = []
    for seed in range(30):
        table, families, _ = planted.pairs_case(languages=10, kin=2, beyond=0.0, seed=seed)
        small.append(questions.answers(table, ASKED[:1], families, permutations=39, seed=seed).p[0] <= 0.05)
    assert np.mean(small) <= 0.17  # three binomial deviations above 5 %


def test_within_one_family_nothing_is_claimed_of_families():
    table, families, _ = planted.pairs_case(languages=8, kin=2)
    one = dict.fromkeys(families, "F")
    found = questions.answers(table, ASKED[:1], one, permutations=99)
    assert found.low.notna().all() and found.low_family.isna().all() and not found.significant.any()
    values = pd.DataFrame({"source": list("aabb"), "target": list("bcac"), "units": "experts", "kin": "within"})
    means = questions.pair_means(values.assign(value=[0.5, 0.6, 0.5, 0.6]), ["units", "kin"], dict.fromkeys("abc", "F"))
    assert means.low[0] > 0 and means[["low_family", "high_family"]].isna().all(axis=None)
    assert not means.significant.any(), "nothing is significant without an interval over families"
    wider = questions._off_zero(means.assign(low_family=0.1, high_family=0.9))
    assert wider.all() and not questions._off_zero(means.assign(low_family=-0.1, high_family=0.9)).any()


def test_a_predictor_without_variation_is_not_judged():
    table, families, _ = planted.pairs_case(languages=8, kin=2)
    table.loc[table.quantity == "form", "value"] = 1.0
    table["quantity"] = table.quantity.replace("form", "form@3")
    asked = [Question("transfer", "form@3", ("similarity",))]
    found = questions.answers(table, asked, families, permutations=5)
    assert found.partial_r.isna().all() and found.holm.isna().all()
    assert findings.answered(found)[0].endswith("and beyond family: form 0 and 0 of 0; 0 more hold only freely.**")


def test_join_keeps_the_pairs_that_all_have_and_says_where_from():
    one = long("x", {("a", "b"): 1.0, ("b", "a"): 2.0, ("a", "a"): 9.0})
    two = long("y", {("a", "b"): 3.0, ("c", "a"): 4.0})
    table = questions.join({("predictor", "dev"): one, ("outcome", "test"): two})
    assert table.values.tolist() == [["a", "b", "x", "predictor", "dev", 1.0], ["a", "b", "y", "outcome", "test", 3.0]]
    with pytest.raises(ValueError, match="repeat a source and target"):
        questions.answers(pd.concat([table, table]), [Question("x", "y", ())], {})
    with pytest.raises(ValueError, match="2 parts share no pair"):
        questions.join({("p", "dev"): one, ("o", "test"): long("y", {("c", "d"): 0.0})})


def test_similarities_that_say_nothing_are_left_out_and_the_rest_is_held_fixed():
    pairs = [(p, q) for p in "abcdef" for q in "abcdef" if p != q]
    alike = [("full", *pair, i) for i, pair in enumerate(pairs)] + [("flat", *pair, 1.0) for pair in pairs]
    alike += [("holed", *pair, i if i > 3 else np.nan) for i, pair in enumerate(pairs)]
    alike += [("nearly", *pair, i if i > 2 else np.nan) for i, pair in enumerate(pairs)]
    alike = pd.DataFrame(alike, columns=["quantity", "source", "target", "value"])
    after = pd.concat([long(name, dict.fromkeys(pairs, 0.5)) for name in ("before", "after, experts")])
    parts = {("similarity", "none"): alike, ("transfer", "test"): long("topics", dict.fromkeys(pairs, 0.5))}
    table = questions.join(parts | {("retrieval", "test"): after})
    assert list(table[table.role == "similarity"].quantity.unique()) == ["full", "nearly"]
    asked = questions.ask(table, 2, 4)
    topics = [Question("topics", f"{variant}@4", ("full", "nearly")) for variant in dyads.VARIANTS]
    held = ("full", "nearly", "before, on dev")
    assert asked == topics + [Question("after, experts", f"{variant}@2", held) for variant in dyads.VARIANTS]


def test_an_answer_counts_what_is_significant_on_each_side():
    rows = [("y", "meaning@3", 0.4, True), ("z", "meaning@2", -0.4, True), ("u", "meaning@3", 0.3, False)]
    found = pd.DataFrame(rows, columns=["outcome", "predictor", "partial_r", "significant"]).assign(freely=True)
    zero = dict.fromkeys(["r", "low", "high", "low_family", "high_family", "holm", "holm_family"], 0.0)
    said, table = findings.answered(found.assign(**zero))
    assert said.endswith("given and beyond family: meaning 1 and 1 of 3; 1 more hold only freely.**")
    assert list(table.outcome) == ["y", "z", "u"]


def test_an_unknown_quantity_is_named():
    table, families, _ = planted.pairs_case(languages=6, kin=2)
    with pytest.raises(LookupError, match="no quantity 'nothing'; did you mean meaning"):
        questions.answers(table, [Question("nothing", "meaning", ())], families)


def test_means_over_pairs_have_intervals_over_languages_and_families():
    names = list("abcdef")
    pairs = [(p, q) for p in names for q in names if p != q]
    values = pd.DataFrame(
        [(*pair, "k", i % 7) for i, pair in enumerate(pairs)], columns=["source", "target", "by", "value"]
    )
    kin = {"a": "F", "b": "F"}
    row = questions.pair_means(values, ["by"], kin).iloc[0]
    pull = (values.value - values.value.mean()) / 30
    for end, groups in (("", {}), ("_family", kin)):
        expected = stats.dyadic_interval(values.value.mean(), pull, values.source, values.target, groups)
        assert (row[f"low{end}"], row[f"high{end}"]) == pytest.approx(expected[1:])
    same = questions.pair_means(values.assign(value=2.0), ["by"], kin).iloc[0]
    assert (same.value, same.low, same.high, same.low_family, same.n) == (2, 2, 2, 2, 30)


def test_gains_by_the_language_steered_to():
    names, rng = list("abcd"), np.random.default_rng(0)
    before = rng.random((4, 4, 5))
    cube = rng.random((4, 4, 4, 5))
    found = gains.by_pair(before, {"experts": cube, "random units": cube}, names)
    found = found.set_index(["units", "source", "target", "toward"]).value
    s, t, others = 1, 3, [0, 2]
    plain = before[s, t].mean()
    assert found["experts", "b", "d", "source"] == pytest.approx(cube[1, s, t].mean() - plain)
    assert found["experts", "b", "d", "target"] == pytest.approx(cube[3, s, t].mean() - plain)
    assert found["experts", "b", "d", "another"] == pytest.approx(
        np.mean([cube[o, s, t].mean() for o in others]) - plain
    )
    table = gains.contrasts(found.reset_index(), {}).set_index("contrast")
    assert table.value["experts less random units"] == 0
    apart = found["experts"].unstack()
    expected = (apart["source"] - apart["another"]).mean()
    assert table.value["steered to the source less to another"] == pytest.approx(expected)


def test_two_languages_have_no_other_to_steer_to():
    before = np.zeros((2, 2, 3))
    found = gains.by_pair(before, {"experts": np.stack([before, before])}, ["a", "b"])
    assert found[found.toward == "another"].value.isna().all()


def test_what_is_said_of_gains_follows_from_both_intervals():
    _, families, _ = planted.pairs_case(languages=6, kin=2)
    names, rng = list(families), np.random.default_rng(0)
    before = (rng.random((6, 6, 40)) < 0.3).astype(float)
    cubes = {"experts": (rng.random((6, 6, 6, 40)) < 0.6).astype(float), "random units": np.stack([before] * 6)}
    views = SimpleNamespace(before=before, cubes=cubes, languages=names, early=dyads.retrieved(before, names, "before"))
    found = gains.helped(views, families)
    assert found.said.startswith("**Experts less random units +0.") and "; steered to the source less" in found.said
    assert ", significant; " in found.said and "not significant. " in found.said and len(found.said.split()) <= 40
    assert set(found.means) == {"toward", "kin", "level"}
    assert list(found.means["level"].level.unique()) == ["low", "middle", "high"]
    assert len(found.table) == 2 + 6 + 4 + 6


def test_thirds_are_of_equal_size():
    by = long("x", {(p, q): i for i, (p, q) in enumerate((p, q) for p in "abc" for q in "abc" if p != q)})
    found = gains.thirds(by, by)
    assert list(found) == ["low", "low", "middle", "middle", "high", "high"] or found.value_counts().max() <= 3
    assert found.iloc[0] == "low" and found.iloc[-1] == "high"


def test_what_was_chosen_for_its_luck_is_not_lucky_again():
    rng = np.random.default_rng(0)
    before, after = (rng.integers(0, 2, (12, 12, 40)).astype(float) for _ in range(2))
    best = gains.most_helped(before, after, list("abcdefghijkl"), 20)
    assert best.chosen.min() > 0.1 and abs(best.held_out.mean()) < 0.1
    assert (best.source != best.target).all() and len(best) == 20


def test_residuals_are_taken_as_correlations_take_them():
    table, _, _ = planted.pairs_case(languages=6, kin=2)
    frame = questions._frame(table, "meaning")
    cells, source, target = questions._cells([frame])
    square = qap.square(frame, "value")
    expected = qap.residuals(square.to_numpy())
    place = [(square.index.get_loc(t), square.columns.get_loc(s)) for s, t in zip(source, target)]
    assert np.allclose(cells[:, 0] * expected[~np.isnan(expected)].std(), [expected[i, j] for i, j in place])
