"""Permutations that keep a tree: against enumeration, uniform under a null with families, and planted both ways."""

import math
from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest

from helpers.transfer import findings, measures, qap, trees
from helpers.world import planted, worlds

NAMES = list("abcdef")
TREES = {
    "two equal families": dict(zip(NAMES, ["F", "F", "F", "G", "G", "G"])),
    "unequal families": dict(zip(NAMES, ["F", "F", "F", "G", "G", "H"])),
    "branches": dict(zip(NAMES, [("F", "0"), ("F", "10"), ("F", "1", "1"), ("G", "0"), ("G", "1"), ("H",)])),
    "a subtree each": dict(
        zip(NAMES, [("F", "0"), ("F", "1", "0"), ("F", "1", "1"), ("G", "1"), ("G", "0", "1"), ("G", "0", "0")])
    ),
    "no families": {},
}


def paths(tree):
    return [(x,) if isinstance(x, str) else tuple(x) for x in (tree.get(name, name) for name in NAMES)]


def partitions(tree):
    """All sets of languages that lie below one branching: what a permutation that keeps the tree has to keep."""
    found = {tuple(path[:depth]) for path in paths(tree) for depth in range(1, len(path) + 1)}
    return {frozenset(i for i, path in enumerate(paths(tree)) if path[: len(top)] == top) for top in found}


def kept(tree):
    """Every permutation of the six labels after which the same sets lie below one branching, one by one."""
    sets = partitions(tree)
    return {order for order in permutations(range(6)) if {frozenset(order[i] for i in one) for one in sets} == sets}


def table(cells, column="value", **keys):
    frame = pd.DataFrame(cells, pd.Index(NAMES, name="source"), pd.Index(NAMES, name="target"))
    return frame.stack().rename(column).reset_index().assign(**keys)


def orders(tree, draws=4000):
    S = qap.square(table(np.random.default_rng(0).random((6, 6)), "score"), "score")
    rows, columns = trees.shuffled(S, draws, 0, tree)
    names = S.index.to_numpy()
    assert (names[rows] == S.columns.to_numpy()[columns][:, [list(S.columns).index(n) for n in names]]).all()
    place = [NAMES.index(name) for name in names]
    return [tuple(np.array(place)[row][np.argsort(place)]) for row in rows]


@pytest.mark.parametrize("tree", TREES.values(), ids=TREES)
def test_drawn_permutations_are_those_of_an_enumeration_and_equally_likely(tree):
    every, drawn = kept(tree), orders(tree)
    assert drawn[0] == tuple(range(6)) and len(every) == trees.arrangements(NAMES, tree)
    counts = pd.Series(drawn[1:]).value_counts()
    assert set(counts.index) <= every and (len(every) > 500 or set(counts.index) == every)
    if len(every) < 100:
        assert counts.max() < 1.6 * 4000 / len(every) + 20


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.sampled_from("01"), max_size=3), min_size=6, max_size=6))
def test_arrangements_are_counted_as_by_enumeration(tails):
    tree = {name: (f"{tail[0] if tail else 'x'}", *tail[1:], name) for name, tail in zip(NAMES, tails)}
    assert trees.arrangements(NAMES, tree) == len(kept(tree))


def test_the_world_has_branches_and_its_sizes_are_a_product():
    tree = measures.families("world", list(worlds.build().members), branches=True)
    sizes = pd.Series([path[0] for path in tree.values()]).value_counts()
    assert all(len(path) > 1 for path in tree.values()) and len(set(tree.values())) == len(tree)
    flat = {name: path[0] for name, path in tree.items()}
    expected = math.factorial(len(sizes)) * math.prod(map(math.factorial, sizes)) if sizes.nunique() == 1 else None
    assert expected is None or trees.arrangements(list(flat), flat) == expected
    assert trees.arrangements(list(tree), tree) <= trees.arrangements(list(flat), flat)


def test_p_values_are_those_of_all_permutations_that_keep_the_tree():
    rng = np.random.default_rng(3)
    tree = TREES["a subtree each"]
    values, scores = rng.random((2, 6, 6))
    scores += 0.7 * values
    S, V = table(scores, "score"), table(values, measure="m")
    found = qap.correlate(S, V, tree, statistics=("within_target",), draws=20, permutations=3999)
    found = found[found.pairs == "full"].iloc[0]
    null = []
    for order in kept(tree):
        moved = table(scores[np.ix_(order, order)], "score")
        null.append(qap.within_target(moved, V).r.mean())
    assert found.p_family == pytest.approx(np.mean(np.abs(null) >= abs(found.r) - 1e-9), abs=0.03)


def test_what_follows_family_alone_holds_freely_and_not_beyond():
    scores, similarity, families = planted.transfer_case(by="family")
    options = dict(statistics=("within_target",), permutations=199, draws=50)
    found = qap.correlate(scores, similarity, families, **options).query("pairs == 'common'").set_index("measure")
    assert found.p["family"] == 0.005 and found.p_family["family"] > 0.1 and found.r["family"] > 0.5
    assert (found.p_family.drop("family") > 0.01).all()
    together = qap.mrqap(scores, similarity, families, permutations=199).set_index("measure")
    assert together.p["family"] == 0.005 and together.p_family["family"] > 0.05


def test_word_order_that_acts_within_families_is_found_beyond_family():
    rng = np.random.default_rng(0)
    tree = {f"L{i:02d}": f"F{i // 3}" for i in range(24)}
    kin = np.arange(24) // 3 == (np.arange(24) // 3)[:, None]
    choice = rng.integers(0, 2, (24, 6))
    order = (choice[:, None] == choice).mean(2)  # varies within and across families
    cells = kin + 0.5 * order + 0.1 * rng.normal(size=(24, 24))
    frame = dict(index=pd.Index(tree, name="source"), columns=pd.Index(tree, name="target"))
    long = {
        name: pd.DataFrame(x, **frame).stack().rename("value").reset_index()
        for name, x in dict(order=order, kin=kin + 0.3 * rng.normal(size=(24, 24)), score=cells).items()
    }
    scores = long.pop("score").rename(columns={"value": "score"})
    similarity = pd.concat([part.assign(measure=name) for name, part in long.items()])
    found = qap.correlate(scores, similarity, tree, statistics=("within_target",), permutations=199, draws=50)
    found = found[found.pairs == "common"].set_index("measure")
    assert found.p["order"] <= 0.05 and found.p_family["order"] == 0.005
    assert found.p["kin"] == 0.005 and found.p_family["kin"] > 0.05
    together = qap.mrqap(scores, similarity, tree, permutations=199).set_index("measure")
    assert together.p_family["order"] == 0.005 and together.p_family["kin"] > 0.05


@pytest.mark.slow
def test_p_beyond_family_is_uniform_where_families_make_the_free_one_lie():
    p, tree, kin = [], dict(zip(NAMES + list("gh"), "FFGGHHII")), np.arange(8) // 2
    for seed in range(80):
        rng = np.random.default_rng(seed)
        cells = (kin == kin[:, None]) + 0.3 * rng.normal(size=(2, 8, 8))
        frame = dict(index=pd.Index(tree, name="source"), columns=pd.Index(tree, name="target"))
        S, V = (pd.DataFrame(x, **frame).stack().rename("value").reset_index() for x in cells)
        S = S.rename(columns={"value": "score"})
        found = qap.correlate(S, V.assign(measure="m"), tree, permutations=39, draws=2, seed=seed)
        p.append(found[(found.pairs == "full") & (found.statistic == "within_target")][["p", "p_family"]].iloc[0])
    p = pd.DataFrame(p)
    assert kstest(p.p_family, "uniform").pvalue > 0.01 and (p.p <= 0.05).mean() > 0.5


def test_too_few_families_are_told_with_the_number_that_would_do():
    said, table = findings.answer("reach", dict.fromkeys("ab", "F") | dict.fromkeys("cd", "G"))
    assert "8 arrangements" in said and "3 families of 2" in said and table.families.tolist() == [2]
    enough, _ = findings.answer("reach", {f"L{i}": f"F{i // 3}" for i in range(24)})
    assert "would" not in enough
    assert [trees.families_needed(size) for size in (1, 2, 3, 4)] == [4, 3, 2, 1]
