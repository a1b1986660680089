"""The planted spaces of ABX: closed forms against many triples, and a language part that gives way to meaning."""

import numpy as np
import pytest

from helpers.abx import scoring
from helpers.world import planted


@pytest.mark.parametrize("noise, apart", [(0.3, 0.3), (0.5, 0.8), (1.0, 2.0)])
def test_closed_forms_are_what_many_triples_give(noise, apart):
    expected, found = planted.line_abx(noise, apart), []
    for seed in range(8):
        side = planted.line(noise=noise, apart=apart, sentences=400, seed=seed)
        told = scoring.scores(side, ["p", "q"], ["form", "form_all_different"], distance="euclidean")
        same = planted.line(noise=noise, apart=0, sentences=400, seed=seed)
        meant = scoring.scores(same, ["p", "q"], ["meaning"], distance="euclidean")
        found.append(
            told.groupby("variant").accuracy.mean().to_dict() | meant.groupby("variant").accuracy.mean().to_dict()
        )
    for variant, value in expected.items():
        assert np.mean([row[variant] for row in found]) == pytest.approx(value, abs=0.012), variant


def test_form_falls_and_meaning_rises_as_the_weights_slide():
    names = list("abcdef")
    rows = [
        scoring.scores(planted.sliding(w), names).groupby("variant").accuracy.mean() for w in (0, 0.25, 0.5, 0.75, 1)
    ]
    form, meaning = (np.array([row[variant] for row in rows]) for variant in ("form", "meaning"))
    assert (np.diff(form) < 0.001).all() and (np.diff(meaning) > -0.001).all()
    assert form[0] > 0.999 and meaning[-1] > 0.999
    assert abs(meaning[0] - 0.5) < 0.03 and abs(form[-1] - 0.5) < 0.03


def test_what_is_planted_follows_from_the_seed():
    np.testing.assert_array_equal(planted.sliding(0.3, seed=4), planted.sliding(0.3, seed=4))
    assert planted.line(noise=1, apart=2, sentences=9).shape == (2, 9, 1)
    assert not np.array_equal(planted.sliding(0.3, seed=4), planted.sliding(0.3, seed=5))
