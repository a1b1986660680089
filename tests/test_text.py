"""Text: words and tokens, n-grams equal to scikit-learn's, word features, types and their overlap."""

import os

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import CountVectorizer

from helpers import corpora
from helpers.corpora import text

TEXTS = ["Der Hund bellt.", "the  dog\tbarks", "Ὁ κύων", "कुत्ता भौंकता है", "狗在叫。", "", "a 𝔘 a"]
TEXT = st.text(alphabet="ab c語न्", max_size=8)


class Tokenizer:
    """One token per word; those not in its list are unknown (0)."""

    unk_token_id = 0

    def __init__(self, known):
        self.known = {word: place for place, word in enumerate(known, 1)}

    def __call__(self, texts, add_special_tokens=True):
        assert add_special_tokens is False
        return {"input_ids": [[self.known.get(word, 0) for word in line.split()] for line in texts]}


# words and tokens


@pytest.mark.parametrize(
    "line, expected",
    [
        ("Ja, im Haus (2nd)!", ["Ja", "im", "Haus", "2nd"]),
        ("कुत्ता भौंकता है।", ["कुत्ता", "भौंकता", "है"]),
        ("می‌خواهم بروم", ["می‌خواهم", "بروم"]),
        ("狗在叫。", ["狗", "在", "叫"]),
        ("ที่นี่", ["\u0e17\u0e35\u0e48", "\u0e19\u0e35\u0e48"]),  # vowel signs and tones stay with their letter
        ("... — !", []),
    ],
)
def test_words_are_runs_of_letters_with_their_marks(line, expected):
    assert text.words(line) == expected


def test_latin_letters_stand_for_every_script():
    latin = text.to_latin(["Привет", "κύων", "狗", "plain"])
    assert latin[0] == "Privet" and latin[3] == "plain" and all(line.isascii() for line in latin)


# n-grams


def columns(counts):
    """The dense columns of counts, sorted: n-grams need no names to be compared."""
    return sorted(map(tuple, counts.toarray().T.tolist()))


@pytest.mark.parametrize("longest", [1, 3, 4])
def test_character_ngrams_equal_scikit_learn(longest):
    oracle = CountVectorizer(analyzer="char", ngram_range=(1, longest))
    expected = oracle.fit_transform(" ".join(line.split()) for line in TEXTS)
    assert columns(text.features(TEXTS, longest)) == columns(expected)


@settings(max_examples=40, deadline=None)
@given(st.lists(TEXT, min_size=1, max_size=6))
def test_every_ngram_is_counted_where_it_stands(lines):
    grams = {}  # in order of first appearance: shorter ones first
    clean = [" ".join(line.lower().split()) for line in lines]
    for n in (1, 2, 3):
        for row, line in enumerate(clean):
            for i in range(len(line) - n + 1):
                grams.setdefault(line[i : i + n], [0] * len(lines))[row] += 1
    assert text.features(lines, 3).toarray().T.tolist() == [*grams.values()]


def test_more_texts_than_one_block_keep_their_rows():
    lines = [f"satz {i}" for i in range(2100)]
    expected = CountVectorizer(analyzer="char", ngram_range=(1, 4)).fit_transform(lines)
    assert columns(text.features(lines)) == columns(expected)


def test_ngrams_that_cannot_be_made_say_why():
    with pytest.raises(ValueError, match="0 texts"):
        text.features([])
    with pytest.raises(ValueError, match="8192 different characters"):
        text.features(["".join(map(chr, range(0x4E00, 0x6E00)))], 5)


# words of treebanks


def bank(*sentences):
    rows = [("x", str(i), j + 1, form) for i, words in enumerate(sentences) for j, form in enumerate(words.split())]
    return pd.DataFrame(rows, columns=["language", "sentence", "token", "form"])


def test_word_features_depend_on_the_word_and_its_neighbours_only():
    rows = text.word_features(bank("Der Hund bellt", "Der Hund bellt", "ein Hund bellt laut")).toarray()
    assert (rows[:3] == rows[3:6]).all()
    assert (rows[1] != rows[7]).any()  # another word before
    assert (rows[2] != rows[8]).any()  # a word after instead of the end
    assert set(np.unique(rows)) == {0, 1}


def test_neighbours_do_not_reach_into_the_next_sentence():
    first = text.word_features(bank("a b", "c d")).toarray()
    second = text.word_features(bank("a b", "e f")).toarray()
    assert (first[:2] == second[:2]).all() and (first[2:] != second[2:]).any(1).all()


def test_words_of_treebanks_made_apart_share_columns():
    together = text.word_features(bank("a b", "c d")).toarray()
    assert (together[2:] == text.word_features(bank("c d")).toarray()).all()


def test_words_out_of_order_are_refused():
    with pytest.raises(ValueError, match="not in reading order"):
        text.word_features(bank("a b c").iloc[[1, 0, 2]])


@pytest.mark.parametrize("form, look", [("McDonald", "XxXx"), ("1999", "0"), ("US-Dollar", "X-Xx"), ("狗狗", "c")])
def test_shapes_are_short(form, look):
    assert text.shape(form) == look


# types and their overlap


def test_types_of_every_kind():
    lines = ["Ab  ab", "b"]
    assert text.types(lines, "chr") == {"a", "b"}
    assert text.types(lines, "tri") == {"ab ", "b a", " ab"}
    assert text.types(lines, "wor") == {"ab", "b"}
    assert text.types(["ab b", "c"], "swt", tokenizer=Tokenizer(["ab", "b"])) == {0, 1, 2}
    with pytest.raises(LookupError, match="'quad'"):
        text.types(lines, "quad")
    with pytest.raises(ValueError, match="needs a tokenizer"):
        text.types(lines, "swt")


SETS = st.dictionaries(st.sampled_from("xyz"), st.sets(st.sampled_from("abcde")), min_size=1)


@settings(max_examples=40, deadline=None)
@given(SETS, SETS)
def test_overlap_equals_the_sets(sources, targets):
    found = text.coverage(sources, targets)
    assert found.index.tolist() == list(sources) and found.columns.tolist() == list(targets)
    for s, source in sources.items():
        for t, target in targets.items():
            value = found.loc[s, t]
            assert np.isnan(value) if not target else value == len(source & target) / len(target)


def test_coverage_is_directional():
    sets = {"small": {"a"}, "large": {"a", "b"}}
    found = text.coverage(sets, sets)
    assert found.loc["large", "small"] == 1 and found.loc["small", "large"] == 0.5
    assert found.index.name == "source" and found.columns.name == "target"


def test_real_neighbours_share_more_trigrams():
    if not os.environ.get("ISOGLOSS_DATA"):
        pytest.skip("ISOGLOSS_DATA names no folder with real corpora")
    table = corpora.load("sib200", ["nob_Latn", "nno_Latn", "fin_Latn", "rus_Cyrl"])
    sets = {language: text.types(part, "tri") for language, part in table.groupby("language")["text"]}
    found = text.coverage(sets, sets)
    assert found.loc["nob_Latn", "nno_Latn"] > found.loc["fin_Latn", "nno_Latn"] > found.loc["rus_Cyrl", "nno_Latn"]
