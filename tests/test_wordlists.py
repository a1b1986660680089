"""Lexical similarity from word lists: sounds, the reader, LDND beside its definition and beside published values."""

import csv
import os
from pathlib import Path

import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.corpora import wordlists
from helpers.transfer import measures

pytest.importorskip("rapidfuzz", reason="the extra `typology` has it")

LISTS = """     2    28  0     1    92    72
(I4,20X,10A1)
   1                    I
   2                    you
  11                    one

p
ALEMAN
 1   52.00   10.00    90000000   ger   deu
1 I\tiX //
2 you\tdu, %yu // a loan
3 we\tvir //
11 one\tXXX //
ALEMAN_SHORT
 1   52.00   10.00          -2         deu
1 I\tik //
ESTI
 3   59.00   26.00     1144670   est   ekk
1           I\tmina, ma //
\0\0\0002           you\t%sina //
11 one\tuks /
"""
PUBLISHED = dict(
    English="eng", Dutch="nld", German="deu", French="fra", Spanish="spa", Finnish="fin", Estonian="est", Turkish="tur",
    Hebrew="heb", Arabic="arb", Czech="ces", Polish="pol", Danish="dan", Swedish="swe", Hindi="hin", Urdu="urd",
    Basque="eus", Japanese="jpn", Russian="rus", Ukrainian="ukr",
)  # fmt: skip
words = st.lists(st.text("abc", min_size=1, max_size=4).map(tuple), min_size=1, max_size=2)
lists = st.dictionaries(st.integers(1, 4), words, min_size=2, max_size=4)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Made-up word lists where those of the database are looked up."""
    monkeypatch.setenv("ISOGLOSS_DATA", str(tmp_path))
    path = tmp_path / wordlists.FILE
    path.parent.mkdir()
    path.write_text(LISTS)
    return path


@pytest.mark.parametrize(
    "word, sounds",
    [
        ("wh~at", ["wh~", "a", "t"]),
        ("vy~a*d", ["vy~", "a*", "d"]),
        ('q"aq"', ['q"', "a", 'q"']),
        ("kx7$a*i", ["kx7$", "a*", "i"]),
        ("n3 pa", ["n", "3", "p", "a"]),
    ],
)
def test_modifiers_bind_the_symbols_before_them(word, sounds):
    assert wordlists.sounds(word) == tuple(sounds)


def test_a_list_has_the_words_of_the_meanings_that_count_without_loans_and_gaps(folder):
    found = wordlists.read(folder)
    assert found["deu"] == {1: [("i", "X")], 2: [("d", "u")]}, "of two lists the fuller one; 3 is not in the head"
    assert found["ekk"] == {1: [tuple("mina"), tuple("ma")], 11: [tuple("uks")]}


@settings(max_examples=50, deadline=None)
@given(lists, lists)
def test_ldnd_is_what_its_definition_says(first, second):
    second = second | {min(first): [("a", "b")]}  # one meaning at least in both
    with np.errstate(all="ignore"):  # all words equal: 0 / 0 on both sides
        found, expected = wordlists.ldnd(first, second), oracles.ldnd(first, second)
        np.testing.assert_allclose(found, expected, atol=1e-12)
        np.testing.assert_allclose(wordlists.ldnd(second, first), found, atol=1e-12)
        renamed = [
            {9 - m: [tuple(f"{s}~" for s in word) for word in forms] for m, forms in x.items()} for x in (first, second)
        ]
        np.testing.assert_allclose(wordlists.ldnd(*renamed), found, atol=1e-12)


def test_equal_lists_have_no_distance_and_lists_that_share_no_meaning_none_that_is_known():
    own = {1: [tuple("hand")], 2: [tuple("Sol")]}
    assert wordlists.ldnd(own, own) == 0 and np.isnan(wordlists.ldnd(own, {3: [("a",)]}))


def test_words_drawn_by_chance_are_about_one_apart():
    rng = np.random.default_rng(0)
    drawn = [{m: [tuple(rng.choice([*"aeioptkn"], rng.integers(2, 6)))] for m in range(40)} for _ in range(40)]
    assert np.mean([wordlists.ldnd(*pair) for pair in zip(drawn[::2], drawn[1::2])]) == pytest.approx(1, abs=0.02)


def test_a_language_is_found_by_its_second_code_and_one_without_a_list_is_unknown(folder):
    with pytest.warns(UserWarning, match="another edition"):
        value, coverage = wordlists.lexical(["est_Latn", "deu_Latn", "zul_Latn"])
    assert np.isnan(value[2]).all() and coverage[0, 1] == 1 / 40 and value[0, 1] == value[1, 0] < 1
    assert value[1, 1] == 1


def test_without_lists_the_measure_is_unknown_and_the_next_move_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("ISOGLOSS_DATA", str(tmp_path))
    monkeypatch.setattr(wordlists.loading, "DATA", tmp_path)
    with pytest.warns(UserWarning, match="needs the database's lists.txt at .*asjp/lists.txt"):
        assert np.isnan(measures.measure(["lexical"], ["deu_Latn", "est_Latn"])["value"]).all()


def test_a_file_of_another_kind_is_refused(folder):
    folder.write_text("deu\tHand\n")
    with pytest.raises(ValueError, match="0 word lists of 0 meanings; is it ASJP's"):
        wordlists.read(folder)


def test_the_published_distances_come_out_to_the_last_digit_from_the_verified_lists(recwarn):
    if not os.environ.get("ISOGLOSS_DATA"):
        pytest.skip("ISOGLOSS_DATA names no folder with real corpora")
    rows = list(csv.DictReader((Path(os.environ["ISOGLOSS_DATA"]) / "asjp/ldnd.csv").read_text().splitlines()))
    table = measures.measure(["lexical"], [*PUBLISHED.values()]).set_index(["source", "target"])["value"]
    found = [100 * (1 - table[PUBLISHED[row["a"]], PUBLISHED[row["b"]]]) for row in rows]
    assert len(rows) == 12 and found == pytest.approx([float(row["ldnd"]) for row in rows], abs=0.0051)
    assert not [str(told.message) for told in recwarn.list]
