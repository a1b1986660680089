"""Every kind of interval that the workbook prints holds the truth in 90 to 98 of 100 cases, at the group counts it has.

The truth is planted: group effects, pair effects and noise are drawn, and the interval has to hold the mean that they
were drawn about. Few hundred draws tell 95 % from less than 90 and from more than 98.
"""

import numpy as np
import pandas as pd
import pytest

from helpers.abx import probes
from helpers.common import stats
from helpers.synthesis import questions
from helpers.transfer import qap, ranking, trees, twins
from helpers.world import planted

DRAWS = 300


def covered(draw, n=DRAWS) -> float:
    """How often the interval (low, truth, high) of a seed holds the truth."""
    held = []
    for seed in range(n):
        low, truth, high = draw(np.random.default_rng(seed))
        held.append(low <= truth <= high)
    return float(np.mean(held))


def right(share) -> bool:
    return 0.90 <= share <= 0.985  # 300 draws of a share of .95 have a standard deviation of .013


@pytest.mark.parametrize(("groups", "size"), [(3, 1), (6, 4), (8, 3), (10, 1), (14, 2), (24, 1), (24, 23), (200, 1)])
def test_means_over_few_and_many_groups(groups, size):
    clusters = np.repeat(np.arange(groups), size)

    def draw(rng):
        values = rng.normal(size=groups)[clusters] + rng.normal(size=len(clusters))
        found = stats.mean_interval(values, clusters)
        return found.low, 0, found.high

    assert right(covered(draw))


def test_means_over_families_of_unequal_size():
    clusters = np.repeat(np.arange(9), [6, 4, 4, 3, 3, 2, 2, 1, 1])

    def draw(rng):
        found = stats.mean_interval(rng.normal(size=9)[clusters] + rng.normal(size=26), clusters)
        return found.low, 0, found.high

    assert covered(draw) >= 0.88  # a few large families weigh most, and there are fewer of those than nine


def test_a_percentile_bootstrap_of_six_groups_misses_too_often():
    """Why intervals over few groups are Student's."""

    def draw(rng):
        values = rng.normal(size=6)
        found = stats.interval(values.mean(), stats.weights(6) @ values / 6)
        return found.low, 0, found.high

    assert covered(draw) < 0.9


@pytest.mark.parametrize("own", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("kin", [1, 3])
def test_means_over_pairs_of_languages(own, kin):
    """24 languages, or 8 families of 3, with effects of the language (or family) of any size, and of the pair."""
    names = np.arange(24)
    source, target = (end.ravel() for end in np.meshgrid(names, names))
    apart = source != target
    source, target = source[apart], target[apart]
    families = {name: f"F{name // kin}" for name in names}

    def draw(rng):
        effect, unit = own * rng.normal(size=24), names // kin
        pairs = rng.normal(size=(24, 24))
        x = (
            effect[unit[source]]
            + effect[unit[target]]
            + pairs[unit[source], unit[target]]
            + rng.normal(size=len(source))
        )
        found = stats.dyadic_interval(x.mean(), (x - x.mean()) / len(x), source, target, families)
        return found.low, 0, found.high

    assert 0.88 <= covered(draw) <= 0.985


@pytest.mark.slow
@pytest.mark.parametrize(("languages", "kin", "end"), [(24, 3, ""), (24, 3, "_family"), (24, 4, "_family")])
def test_partial_correlations_over_pairs_of_languages(languages, kin, end):
    def draw(rng):
        table, families, expected = planted.pairs_case(languages=languages, kin=kin, seed=int(rng.integers(10**6)))
        frames = [questions._frame(table, name) for name in ("transfer", "meaning", "similarity")]
        cells, source, target = questions._cells(frames)
        r = stats.partial_correlation(cells[:, 0], cells[:, 1], cells[:, 2:])
        ends = questions._ends(r, questions._pull(cells), source, target, families)
        found = dict(zip(questions._ENDS, ends))
        return found[f"low{end}"], expected["transfer", "meaning"], found[f"high{end}"]

    share = covered(draw, 200)
    assert right(share) or (kin == 4 and share > 0.985)  # six families: wider than need be, where pairs alone vary


def test_correlations_within_targets_by_family():
    """The mean of r over targets of 8 families of 3, whose dependence on the measure differs by family."""
    rng = np.random.default_rng(0)
    measure, kin = rng.normal(size=(24, 24)), np.repeat(np.arange(8), 3)

    def drawn(rng, families):
        slope = np.repeat(1 + 0.5 * rng.normal(size=families), 3)[:, None]
        place = np.tile(np.arange(24), families // 8)
        S = np.where(
            np.eye(24, dtype=bool)[place], np.nan, slope * measure[place] + rng.normal(size=(3 * families, 24))
        )
        return S, np.where(np.isnan(S), np.nan, measure[place])

    truth = np.nanmean(qap.by_target(*drawn(rng, 8 * 2000)))

    def draw(rng):
        found = qap._estimate(qap._products(*drawn(rng, 8), "within_target", "pearson"), "within_target", kin, 1000, 0)
        return found["low"], truth, found["high"]

    assert right(covered(draw))


@pytest.mark.parametrize(("worlds", "originals", "trainings"), [(9, 1, 1), (4, 3, 1), (4, 3, 3), (1, 3, 3), (1, 4, 1)])
def test_effects_of_twins(worlds, originals, trainings):
    keys = [(w, o, t) for w in range(worlds) for o in range(originals) for t in range(trainings)]
    table = pd.DataFrame(keys, columns=["world", "original", "trained"]).assign(change="order")

    def draw(rng):
        of = [rng.normal(size=size) for size in (worlds, worlds * originals, trainings * worlds)]
        effect = (of[0][table.world] if worlds > 1 else 0) + of[1][table.world * originals + table.original]
        effect = effect + (trainings > 1) * 0.3 * of[2][table.world * trainings + table.trained]
        row = twins.summary(table.assign(effect=effect + 0.1 * rng.normal(size=len(table))), ["change"]).iloc[0]
        return row.low, 0, row.high

    assert right(covered(draw, 200))


def test_the_cost_of_a_choice_by_family():
    """The regret of a random source among 8 families of 3: its truth is the mean of a large draw."""
    families = {f"L{i:02d}": f"F{i // 3}" for i in range(24)}

    def lost(rng, names):
        effect = np.repeat(rng.exponential(size=len(names) // 3), 3)
        return effect + rng.exponential(size=len(names))

    def draw(rng):
        x = lost(rng, list(families))
        found = stats.mean_interval(x, trees.family(list(families), families))
        return found.low, 2, found.high

    assert covered(draw) >= 0.88 and ranking.BEST  # costs are skewed, which Student's interval does not know


@pytest.mark.slow
def test_how_probes_go_with_abx_where_checkpoint_and_layer_are_held_fixed():
    """24 languages whose own parts go together at r = .5, beside trends over checkpoints and layers."""
    cells = pd.MultiIndex.from_product([range(2), range(2), range(24)], names=probes.AT).to_frame(index=False)

    def draw(rng):
        own = rng.multivariate_normal([0, 0], [[1, 0.5], [0.5, 1]], size=24)
        noise = 0.1 * rng.normal(size=(len(cells), 2)) + cells[["step"]].to_numpy()
        x, y = (own[cells.language] + noise).T
        row = probes.association(cells.assign(x=x, y=y), "x", "y", n=200).set_index("kind").loc["partial"]
        return row.low, 6 / np.pi * np.arcsin(0.25) * 0.98, row.high

    assert covered(draw, 100) >= 0.88
