"""Probes where the answer is known: labels planted in a direction that languages share, or do not."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import RidgeClassifier
from sklearn.preprocessing import StandardScaler

from helpers.abx import probes
from helpers.common import stats
from helpers.embeddings.activations import Activations
from helpers.world import planted

LANGUAGES = ["A1", "A2", "B1"]


def topics(split: str, *, seed: int = 0, sentences: int = 120) -> Activations:
    """Layer 0 is noise; in layer 1 the topic is a direction that all languages share; in layer 2 B1 turns it round."""
    rng = np.random.default_rng([seed, len(split)])
    drawn = rng.choice(["sea", "farm"], sentences)
    rows = pd.DataFrame(
        [(name, f"{split}-{i}", topic) for name in LANGUAGES for i, topic in enumerate(drawn)],
        columns=["language", "sentence", "topic"],
    )
    values = rng.normal(size=(len(rows), 3, 5))
    side = np.where(rows.topic == "sea", 6.0, -6.0)
    values[:, 1, 2] += side
    values[:, 2, 2] += np.where(rows.language == "B1", -side, side)
    return Activations(torch.from_numpy(values).float(), rows, [0, 1, 2])


TRAIN, TEST = topics("fit"), topics("test")


@pytest.fixture(scope="module")
def found():
    return probes.probe_scores(TRAIN, TEST, "topic", ["A1", "A2"])


def test_a_shared_direction_is_read_in_a_language_never_seen_and_noise_is_not(found):
    score = found.set_index(["layer", "language"]).accuracy
    assert (score[1] > 0.97).all()
    assert score[2, "A1"] > 0.97 and score[2, "B1"] < 0.03
    assert (score[0] - 0.5).abs().max() < 0.15


def test_accuracies_are_those_of_scikit_learn(found):
    train, test = TRAIN.where(language=["A1", "A2"]), TEST.where(language="B1")
    scale = StandardScaler().fit(train.layer(0).numpy())
    probe = RidgeClassifier(alpha=1.0).fit(scale.transform(train.layer(0).numpy()), train.table.topic)
    expected = probe.score(scale.transform(test.layer(0).numpy()), test.table.topic)
    assert found.query("layer == 0 and language == 'B1'").accuracy.item() == pytest.approx(expected)


def test_keys_are_unique_and_what_was_seen_is_marked(found):
    assert not found.duplicated(["layer", "task", "trained_on", "language"]).any() and len(found) == 9
    assert set(found[found.seen].language) == {"A1", "A2"} and set(found.trained_on) == {"A1 A2"}
    assert (found.n_train == 240).all() and (found.n_test == 120).all()
    usual = TRAIN.where(language=["A1", "A2"]).table.topic.mode()[0]
    assert found.baseline.iloc[0] == pytest.approx((TEST.where(language="A1").table.topic == usual).mean())


def test_a_language_is_averaged_over_both_directions_and_the_sources():
    rows = [("A1", "B1", 0.6), ("B1", "A1", 0.8), ("A2", "B1", 1.0), ("B1", "A2", 0.0), ("A1", "A2", 0.3)]
    pairs = pd.DataFrame(rows, columns=["p", "q", "accuracy"]).assign(variant="meaning", low=np.nan, step=0, layer=0)
    abx = probes.by_language(pairs, ["A1", "A2"]).set_index("language").meaning
    assert abx["B1"] == pytest.approx((0.6 + 0.8 + 1.0 + 0.0) / 4)
    assert abx["A1"] == pytest.approx(0.3) and abx["A2"] == pytest.approx(0.3)


def test_a_trend_that_both_share_is_gone_once_it_is_held_fixed():
    rng = np.random.default_rng(0)
    rows = [(step, layer, name) for step in range(6) for layer in range(4) for name in "abcdefgh"]
    table = pd.DataFrame(rows, columns=["step", "layer", "language"])
    table["x"], table["y"] = (table.step + 0.3 * rng.normal(size=len(table)) for _ in range(2))
    found = probes.association(table, "x", "y", n=50).set_index("kind")
    assert found.r["raw"] == pytest.approx(table.x.corr(table.y, method="spearman")) and found.low["raw"] > 0.8
    assert found.low["partial"] < 0 < found.high["partial"]
    table["y"] = table.x + 0.3 * rng.normal(size=len(table))
    assert probes.association(table, "x", "y", n=50).set_index("kind").low["partial"] > 0.3


def test_a_course_that_is_not_straight_is_held_fixed_too():
    """Layer and checkpoint are cells: what peaks in the middle would pass two linear ranks."""
    rng = np.random.default_rng(0)
    rows = [(step, layer, name) for step in range(6) for layer in range(5) for name in "abcdefgh"]
    table = pd.DataFrame(rows, columns=["step", "layer", "language"])
    table["x"], table["y"] = (-((table.layer - 2) ** 2) + 0.3 * rng.normal(size=len(table)) for _ in range(2))
    linear = stats.partial_correlation(table.x, table.y, table[["step", "layer"]], ranks=True)
    found = probes.association(table, "x", "y", n=50).set_index("kind")
    assert linear > 0.7 and found.low["partial"] < 0 < found.high["partial"]
    cells = pd.get_dummies(table.step * 10 + table.layer).to_numpy(float)
    assert found.r["partial"] == pytest.approx(stats.partial_correlation(table.x.rank(), table.y.rank(), cells))


def test_a_control_that_never_varies_is_left_out():
    rng = np.random.default_rng(1)
    table = pd.DataFrame({"step": 7, "layer": np.tile(range(5), 6), "language": np.repeat(list("abcdef"), 5)})
    table["x"] = rng.normal(size=30)
    table["y"] = table.x**3
    assert probes.association(table, "x", "y", n=20).r.to_numpy() == pytest.approx([1, 1], abs=0.05)


def test_sources_are_spread_over_the_languages():
    assert probes.spread(list("abcdefgh"), 4) == list("aceg")
    assert probes.spread(["a", "b", "c"]) == ["a"] and len(probes.spread([str(i) for i in range(24)])) == 6


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="120 sentences are in both"):
        probes.probe_scores(TRAIN, TRAIN, "topic", ["A1"])
    with pytest.raises(LookupError, match="no column 'topics'"):
        probes.probe_scores(TRAIN, TEST, "topics", ["A1"])
    with pytest.raises(LookupError, match="A9"):
        probes.probe_scores(TRAIN, TEST, "topic", ["A9"])
    one = Activations(TRAIN.values, TRAIN.table.assign(topic="sea"), TRAIN.layers)
    with pytest.raises(ValueError, match="1 label in 120 rows of topic"):
        probes.probe_scores(one, TEST, "topic", ["A1"])


def test_sentences_and_words_of_a_model_are_probed():
    lm, table = planted.wired(sentences=40)
    table["topic"] = table.text.str.contains("quiet1 |loud1 ").map({True: "one", False: "other"})
    words = table.assign(form=table.text.str.split()).explode("form", ignore_index=True)
    words["token"] = words.groupby(["language", "sentence"]).cumcount() + 1
    words["upos"] = np.where(words.form.str.extract(r"(\d+)")[0].astype(int) < 20, "NOUN", "VERB")
    fit = [t.sentence.isin(t.sentence.unique()[:30]) for t in (table, words)]
    tables = {"topic": (table[fit[0]], table[~fit[0]]), "upos": (words[fit[1]], words[~fit[1]])}
    found = probes.probe_model(lm, tables, ["quiet"])
    assert set(found.task) == {"topic", "POS"} and set(found.layer) == {0, 1} and len(found) == 8
    score = found[(found.task == "POS") & (found.layer == 0)].set_index("language")
    assert score.accuracy["loud"] == score.accuracy["quiet"] > score.baseline["loud"]
