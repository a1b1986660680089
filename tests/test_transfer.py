"""Transfer equals one pipeline per source, finds what was planted, and refuses what it cannot do."""

import os

import numpy as np
import pandas as pd
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

from helpers.common import stats
from helpers.corpora import text
from helpers.transfer import findings, measures, qap, ranking, training, twins
from helpers.world import planted, worlds

LANGUAGES = ["C2", "A1", "A2", "B1"]  # not in the order of the alphabet


@pytest.fixture(scope="module")
def sentences():
    return training.tables("topics", "world", LANGUAGES)


@pytest.fixture(scope="module")
def trees():
    return training.tables("parsing", "world", ["A2", "A1", "D3"])


def _score(table, source, target, metric="accuracy"):
    return table.set_index(["source", "target", "metric"]).score[source, target, metric]


def test_topics_equal_one_naive_pipeline_per_source(sentences):
    train, test = sentences
    found = training.measure("topics", "ngrams", train, test)
    names = list(found.table.source.unique())
    assert names == list(found.table.target.unique()) == LANGUAGES
    for source, own in train.groupby("language"):
        vectors = TfidfVectorizer(analyzer="char", ngram_range=(1, 4))
        pipeline = make_pipeline(vectors, LinearSVC(random_state=0)).fit(own.text, own.topic)
        for target, asked in test.groupby("language"):
            expected = (pipeline.predict(asked.text) == asked.topic).to_numpy()
            row = found.correct["accuracy"][names.index(source), LANGUAGES.index(target)]
            assert (row != expected).mean() <= 0.01  # float32 may turn a tie


def test_tags_equal_one_naive_head_per_source(trees):
    train, test = trees
    table = training.measure("pos", "ngrams", train, test).table
    for source, own in train.groupby("language"):
        head = LinearSVC(random_state=0).fit(text.word_features(own), own.upos)
        for target, asked in test.groupby("language"):
            expected = (head.predict(text.word_features(asked)) == asked.upos).mean()
            assert _score(table, source, target) == pytest.approx(expected, abs=0.01)


def test_scores_are_means_of_what_was_right_sentence_by_sentence(trees):
    found = training.measure("pos", "ngrams", *trees)
    table = found.table
    assert list(table) == training.COLUMNS
    assert not table.duplicated(["source", "target", "metric"]).any()
    cells = found.correct["accuracy"]
    assert cells.shape == (3, 3, 200)
    assert cells.mean(2).ravel() == pytest.approx(table.score.to_numpy(), abs=1e-6)
    own = trees[1][trees[1].language == "A1"]
    assert set(table[table.target == "A1"].n_test) == {len(own)}
    assert set(table[table.target == "A1"].majority) == {own.upos.value_counts().max() / len(own)}


def test_shares_weigh_words_alike_and_pad_a_target_with_fewer_sentences():
    test = pd.DataFrame({"language": ["p"] * 3 + ["q"] * 2, "sentence": [0, 0, 1, 0, 0]})
    right = np.array([[True, False, True, True, True]])
    shares = training._shares(test, right)
    assert shares.shape == (1, 2, 2) and np.isnan(shares[0, 1, 1])
    assert np.nanmean(shares, axis=2).ravel() == pytest.approx([2 / 3, 1])


def test_the_own_language_is_learnt_and_a_relative_helps_more_than_a_stranger(sentences, trees):
    topics = training.measure("topics", "ngrams", *sentences).table
    assert _score(topics, "A1", "A1") > 0.95
    near = training.measure("topics", "ngrams", *training.tables("topics", "world", ["H1", "H2", "C2"])).table
    assert _score(near, "H2", "H1") > _score(near, "C2", "H1") + 0.1  # H1 and H2 share their script and 64 % of words
    parsed = training.measure("parsing", "ngrams", *trees).table
    assert _score(parsed, "A1", "A1", "LAS") > 0.9
    merged = parsed.pivot(index=["source", "target"], columns="metric", values="score")
    assert (merged.LAS <= merged.UAS).all()


def test_a_source_of_the_same_script_is_no_stranger_in_latin_letters():
    train, test = training.tables("topics", "world", ["B1"])
    latin = test.assign(text=text.to_latin(test.text), language="B1-latin")
    both = pd.concat([test, latin])
    for representation, equal in (("ngrams", False), ("ngrams_latin", True)):
        table = training.measure("topics", representation, train, both).table
        assert (_score(table, "B1", "B1") == _score(table, "B1", "B1-latin")) is np.bool_(equal)


def test_a_size_takes_the_same_ids_of_every_source(sentences):
    train, test = sentences
    table = training.measure("topics", "ngrams", train, test, size=50).table
    assert set(table.n_train) == {50}
    part = training._subset(train, 50, 0)
    assert len({tuple(sorted(own.sentence)) for _, own in part.groupby("language")}) == 1
    with pytest.raises(ValueError, match="size is 500 but a source has 200"):
        training.measure("topics", "ngrams", train, test, size=500)


def test_dense_features_are_scaled_by_the_source_alone():
    rng = np.random.default_rng(0)
    labels = np.array(["x", "y"])[rng.integers(2, size=80)]
    X = rng.normal(size=(80, 5)) * [1, 10, 100, 1, 0] + (labels == "x")[:, None] * [3, 0, 0, 0, 0]
    assert (training.classified(X[:60], labels[:60], X[60:]) == labels[60:]).mean() > 0.85


def test_what_cannot_be_done_is_refused_with_the_next_move(sentences):
    train, test = sentences
    with pytest.raises(LookupError, match="topics"):
        training.run("topic", "world", "ngrams")
    with pytest.raises(LookupError, match="ngrams"):
        training.measure("topics", "ngram", train, test)
    with pytest.raises(LookupError, match="sib200 has no trees"):
        training.tables("pos", "sib200", ["eng_Latn"])
    with pytest.raises(ValueError, match="needs a model"):
        training.measure("topics", "encoder", train, test)
    with pytest.raises(ValueError, match="contains only one class"):
        training.measure("topics", "ngrams", train[train.topic == "sea"], test)


def test_a_plan_says_why_a_part_is_left_out():
    plan = training.plan("sib200")
    assert list(plan[plan.run].task + " " + plan[plan.run].representation) == ["topics ngrams", "topics ngrams_latin"]
    assert (plan.why != "").eq(~plan.run).all() and "no model" in plan.why[2]
    assert training.plan("world", model="mini").query("task == 'parsing'").run.tolist() == [True, False, False]
    for model in ("mini", "mini-seed1", "mini-encoder"):
        assert not training.plan("sib200", model=model).run[2] and training.plan("world:default-w2", model=model).run[2]
    assert training.plan("sib200", model="somewhere/mini-seed1").run[2]
    with pytest.raises(
        LookupError, match="nothing can be transferred: tatoeba has no labels.*labels are in world, sib200"
    ):
        training.plan("tatoeba")


def test_the_planted_measure_wins_within_targets_and_hides_in_the_pool():
    scores, similarity, _ = planted.transfer_case()
    r = {name: qap.within_target(scores, values).r.mean() for name, values in similarity.groupby("measure")}
    assert r["true"] > 0.98 and abs(r["chance"]) < 0.2 and r["true"] > r["rival"] > r["chance"]
    true = similarity[similarity.measure == "true"]
    assert abs(qap.overall(scores, true, "pooled")["r"]) < 0.25
    lost = {name: ranking.regret(scores, values).regret.mean() for name, values in similarity.groupby("measure")}
    assert lost["true"] < min(lost["rival"], lost["chance"])


def test_a_twin_in_other_letters_loses_topics_and_one_of_other_order_does_not():
    found = twins.effects(["topics"], seeds=(0, 1))
    family = worlds.build().languages.groupby("family").size().iloc[0]
    assert len(found) == 2 * 4 * family and found.groupby("world").original.first().nunique() == 2
    assert (found.effect == found.after - found.before).all()
    mean = found.groupby(["change", "kin"]).effect.mean()
    assert mean["script", "itself"] < -0.5 and mean["lexicon", "itself"] < -0.5
    assert abs(mean["order", "itself"]) < 0.1


KEYS = dict(task="topics", representation="ngrams", metric="accuracy")


def judged(effects: dict, claims: dict, kin: str = "sibling") -> pd.DataFrame:
    """Verdicts on changes whose effects in several worlds are given, and what is claimed of each."""
    rows = [
        dict(KEYS, kin=kin, change=change, world=world, original="A1", effect=effect)
        for change, values in effects.items()
        for world, effect in enumerate(values)
    ]
    claimed = pd.DataFrame(
        dict(KEYS, r_low=0.4, r_high=0.6, partial_r=0.1, p=0.5, p_family=0.5, change=list(effects), **claims)
    )
    return twins.judged(twins.summary(pd.DataFrame(rows), [*KEYS, "kin", "change"]), claimed)


def test_a_verdict_follows_from_interval_margin_and_p():
    sure, wide = np.array([0.001, -0.001, 0.0]), np.array([0.3, -0.3, 0.0])
    effects = dict(script=sure - 0.3, lexicon=sure - 0.2, order=sure, morphology=wide, control=sure)
    claims = dict(r=[0.5, 0.5, 0.5, 0.5, np.nan], holm=[0.01, 0.2, 0.01, 0.01, np.nan])
    table = judged(effects, claims | dict(holm_family=[0.01, 0.2, 0.2, 0.2, np.nan]))
    found = table.set_index("change")
    assert found.verdict.to_dict() == {
        "script": "agree: it matters", "lexicon": "missed", "order": "misleads: no effect", "morphology": "open",
        "control": "agree: none",
    }  # fmt: skip
    assert found.cause.to_dict() == dict(
        script="matters", lexicon="matters", order="none", morphology="open", control="none"
    )
    assert found.r_beyond.sum() == 1 and found.r_significant.sum() == 3 and found.smallest["morphology"] > 0.3
    said, shown = findings.answer("cause", table)
    assert "of 3 that hold freely: 1 agree, 1 misleads, 0 opposed, 1 open; of 1 that hold beyond" in said
    assert "1 missed" in said and len(said.split()) <= 40 and len(shown) == 5
    rising = judged(dict(script=sure + 0.3), dict(r=[0.5], holm=[0.01], holm_family=[0.01]))
    assert rising.verdict[0] == "opposed"
    alike = judged(dict(script=sure + 0.3), dict(r=[-0.5], holm=[0.01], holm_family=[0.01]))
    assert alike.verdict[0] == "agree: it matters", "a negative correlation is a claim too"
    beside = judged(dict(script=sure - 0.3), dict(r=[0.5], holm=[0.01], holm_family=[0.01]), kin="itself")
    assert beside.verdict[0] == beside.cause[0] == "" and beside.effect[0] == pytest.approx(-0.3), "a size, no verdict"


def test_originals_of_one_world_count_as_one_group_and_one_world_speaks_of_itself():
    rng = np.random.default_rng(0)
    keys = [(world, original) for world in "abcd" for original in "ABC"]
    table = pd.DataFrame(keys, columns=["world", "original"]).assign(change="order", effect=rng.normal(size=12))
    row = twins.summary(table, ["change"]).iloc[0]
    means = table.groupby("world").effect.mean()
    assert (row.low, row.high) == pytest.approx(stats.few_interval(means)[1:]) and (row.n, row.groups) == (12, 4)
    assert row.smallest == pytest.approx(stats.smallest_effect(means.sem(), 3))
    cells = rng.normal(size=(4, 5))
    one = pd.DataFrame(
        [(f"m{i}", j, x) for (i, j), x in np.ndenumerate(cells)], columns=["trained", "original", "effect"]
    )
    row = twins.summary(one.assign(change="order"), ["change"]).iloc[0]
    assert (row.effect, row.low, row.high) == pytest.approx(stats.crossed_interval(cells)) and row.n == 20


def test_power_is_told_from_what_differs_between_worlds_and_originals():
    rng = np.random.default_rng(0)
    keys = [(world, original) for world in range(200) for original in range(3)]
    table = pd.DataFrame(keys, columns=["world", "original"]).assign(change="order")
    table["effect"] = 0.5 * rng.normal(size=200)[table.world] + rng.normal(size=600)
    row = twins.power(table, ["change"], groups=4, originals=3).iloc[0]
    assert (row["between"], row.within) == pytest.approx((0.5, 1.0), abs=0.1)
    assert row.smallest == pytest.approx(stats.smallest_effect(np.sqrt(0.25 / 4 + 1 / 12), 3), abs=0.15)
    alone = twins.power(table[table.world == 0].drop(columns="world"), ["change"], groups=4, originals=3).iloc[0]
    assert alone["between"] == 0 and alone.within == pytest.approx(table.effect[:3].std())
    said, shown = findings.answer("power", 9)
    assert said.startswith("**9 worlds see an effect of 1.1 standard") and shown.smallest[1:].is_monotonic_decreasing


def _planted_experiments():
    """Two tasks made of one similarity, under one representation, and what ranks their sources."""
    made, similarity, families = planted.transfer_case(languages=12)
    keys = dict(representation="ngrams", metric="accuracy", n_test=100, majority=0.2)
    again = made.assign(score=made.score + np.random.default_rng(1).normal(0, 0.01, len(made)))
    scores = pd.concat([made.assign(task="topics", **keys), again.assign(task="pos", **keys)], ignore_index=True)
    options = dict(statistics=("within_target", "pooled"), permutations=199, draws=100)
    found = qap.correlate(scores, similarity, families, **options)
    return scores, similarity, found[found.pairs == "common"], families


def test_what_is_said_follows_from_the_tables():
    scores, similarity, found, families = _planted_experiments()
    within = found[found.statistic == "within_target"]
    curves, singles = ranking.regret_curve(scores, similarity, families, [1, 2])
    answers = {
        "measure": (within, scores, similarity, families),
        "cost": (singles,),
        "guide": (singles,),
        "transfer": (scores, families),
    }
    said, tables = zip(*(findings.answer(name, *given) for name, given in answers.items()))
    assert "Of 8 correlations 4 hold freely and 4 beyond family" in said[0] and "in 2 of 2 experiments" in said[0]
    assert set(tables[0]["best elsewhere"]) == {"true"} and set(tables[0]["holds beyond family"]) == {"true, rival"}
    assert "in 2 of 2 experiments, more in 0; by all measures together, less in 2, more in 0" in said[1]
    assert "a safe guide, by a margin of 0.02, in 2 of 2 cases" in said[2] and set(tables[2].verdict) == {"safe"}
    assert "topics" in said[3] and "pos" in said[3] and len(tables[3]) == 2
    assert all(text.startswith("**") and len(text.split()) <= 40 for text in said)
    one = singles[(singles.task == "topics") & ~singles.measure.str.startswith("other")]
    assert "one task only" in findings.answer("guide", one)[0]
    worse = singles.assign(regret=singles.regret + 0.1 * singles.measure.str.startswith("other"))
    assert "safe" not in set(findings.answer("guide", worse)[1].verdict), "a guide that costs more than the margin"
    with pytest.raises(LookupError, match="no question 'costs'; did you mean cost"):
        findings.answer("costs", curves, within)


def test_what_holds_by_family_alone_is_told_as_holding_freely_only():
    scores, similarity, families = planted.transfer_case(by="family")
    scores = scores.assign(task="t", representation="x", metric="m")
    found = qap.correlate(scores, similarity, families, statistics=("within_target",), permutations=199, draws=50)
    said, table = findings.answer("measure", found[found.pairs == "common"], scores, similarity, families)
    assert "Of 4 correlations 1 hold freely and 0 beyond family" in said
    assert table["holds freely"][0] == "family" and table["holds beyond family"][0] == "none"


def test_what_is_drawn_is_chosen_elsewhere_or_needs_no_choice():
    scores, similarity, _, families = _planted_experiments()
    curves, drawn, _ = ranking.choices(scores, similarity, families)
    assert set(drawn.experiment) == {"topics from ngrams", "pos from ngrams"} and set(drawn.k) == set(curves.k)
    topics = drawn[drawn.task == "topics"].measure.unique().tolist()
    assert sorted(topics) == sorted([ranking.BEST, ranking.ALL, "best for pos", *ranking.RULES])


def test_families_stay_together_and_no_language_meets_itself():
    families = measures.families("world", ["B1", "A1", "B2"])
    assert families == {"B1": "B", "B2": "B", "A1": "A"} and list(families) == ["B1", "B2", "A1"]
    table = measures.similarity("world", list(families))
    assert (table.source != table.target).all() and not table.duplicated(["measure", "source", "target"]).any()
    assert {"lexical", "script", "wor"} <= set(table.measure)
    kept = measures.ordered(table, ["A1", "B1", "B2"])
    assert kept.source[0] == "A1" and list(kept.measure.unique()) == list(table.measure.unique())


def test_a_grid_holds_scores_of_test_sets_of_unequal_size(tmp_path):
    world, parts = worlds.build(), []
    for split, most in (("fit", 40), ("test", 24)):
        for i, name in enumerate(["A1", "A2", "C1", "B1"]):
            parts.append(world.sentences([name], split).head(most - 5 * i).assign(split=split))
    pd.concat(parts).to_csv(tmp_path / "ragged.csv", index=False)
    made = training.grid(f"csv:{tmp_path / 'ragged.csv'}", representations=["ngrams"])
    sizes = measures.similarity(f"csv:{tmp_path / 'ragged.csv'}", list(made.families)).query("measure == 'size'")
    assert 10 ** sizes.set_index("source").value["C1"].iloc[0] == pytest.approx(30) and len(sizes) == 12
    assert sorted(set(made.scores.n_test)) == [9, 14, 19, 24] and made.scores.score.notna().all()
    oracle = made.oracle()
    assert oracle[["optimistic", "honest"]].notna().all(axis=None) and (oracle.optimistic <= 1).all()
    assert "at most, for topics from ngrams" in findings.answer("luck", oracle)[0]


@pytest.mark.skipif(not os.environ.get("ISOGLOSS_DATA"), reason="ISOGLOSS_DATA names no folder with real corpora")
def test_pud_has_800_training_and_200_test_sentences_with_the_same_ids():
    train, test = training.tables("pos", "pud", ["eng_Latn", "deu_Latn"])
    assert train.groupby("language").sentence.nunique().eq(800).all()
    ids = [set(own.sentence) for _, own in test.groupby("language")]
    assert ids[0] == ids[1] and len(ids[0]) == 200 and not ids[0] & set(train.sentence)
    table = training.measure("pos", "ngrams", train, test).table
    assert _score(table, "eng_Latn", "eng_Latn") > 0.9


def test_a_correlation_within_targets_needs_three_sources_and_any_number_of_targets():
    scores, similarity, _ = planted.transfer_case(languages=6)
    two = scores[scores.source.isin(scores.source.unique()[:2])]
    with pytest.raises(ValueError, match="2 sources of one target, but a correlation needs 3"):
        qap.correlate(two, similarity, statistics=("within_target",), permutations=9, draws=9)
    few = scores[scores.target.isin(scores.target.unique()[:3])]
    assert qap.correlate(few, similarity, statistics=("within_target",), permutations=9, draws=9).r.notna().all()
