"""What script, words, order and endings cause inside a model, beside what correlations claim.

One idea: a twin differs from its original in one property alone. What changes when it takes its original's place as the
target of a pair is what that property causes; the natural pairs of the same model say what a correlation would have
claimed. The two are ranked side by side.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from helpers import association, pretrain, ranking, stats, trainings, world
from helpers.twins import MEASURES

ITSELF = {"shared": 1.0, "auroc": 0.5, "form": 0.5, "meaning": 1.0, "retrieval": 1.0, "gain": 0.0}
"""What a language has when it meets itself, by definition; transfer has to be measured."""


def tables(measured: Mapping[str, pd.DataFrame]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Two tables of what `trainings.measure` found, name of the model -> table: natural pairs, and `effects`.

    Both have the model's name in the column `trained`.
    """
    natural, changed = [], []
    for name, found in measured.items():
        twins = trainings.originals(pretrain.recipe(name))
        plain = found[~found["target"].isin(twins) & (found["source"] != found["target"])]
        natural.append(plain.assign(trained=name))
        changed.append(effects(found, twins).assign(trained=name))
    return pd.concat(natural, ignore_index=True), pd.concat(changed, ignore_index=True)


def effects(found: pd.DataFrame, twins: Mapping[str, tuple[str, str, float]]) -> pd.DataFrame:
    """table[outcome, kin, original, change, dose, before, after, effect], from a table of `trainings.measure`.

    The target of a pair is the original (`before`) or its twin (`after`). kin is `itself` where the source is the
    original: a language with itself, whose values need no measuring but for transfer; and `sibling` where it is another
    language of the family, mean over these.
    """
    value = found.set_index(["outcome", "source", "target"])["value"]
    rows = []
    for outcome, source, target in value.index:
        if target in twins:
            original, change, dose = twins[target]
            itself = source == original
            start = ITSELF[outcome] if itself and outcome in ITSELF else value[outcome, source, original]
            kin = "itself" if itself else "sibling"
            rows.append((outcome, kin, original, change, dose, start, value[outcome, source, target]))
    keys = ["outcome", "kin", "original", "change", "dose"]
    table = pd.DataFrame(rows, columns=[*keys, "before", "after"]).groupby(keys, sort=False, as_index=False).mean()
    return table.assign(effect=table["after"] - table["before"])


def summary(effects: pd.DataFrame, *, draws: int = 1000, seed: int = 0) -> pd.DataFrame:
    """table[outcome, kin, change, dose, effect, low, high, n]: means over trainings and originals, n of each pair.

    effects[trained, original, ...]: the interval resamples trainings and originals, each whole, since originals share a
    training and trainings share the twins. With three of each it is narrow rather than wide.
    """
    rows = []
    for key, part in effects.groupby(["outcome", "kin", "change", "dose"], sort=False):
        cells = part.pivot_table(index="trained", columns="original", values="effect").to_numpy()
        ends = (np.nan, np.nan)
        if min(cells.shape) > 1:
            across, down = (stats.weights(size, draws, seed + i) for i, size in enumerate(cells.shape))
            ends = stats.interval(0, np.einsum("dt,to,do->d", across, cells, down) / cells.size)[1:]
        rows.append((*key, cells.mean(), *ends, cells.size))
    return pd.DataFrame(rows, columns=["outcome", "kin", "change", "dose", "effect", "low", "high", "n"])


def correlations(found: pd.DataFrame, *, permutations: int = 999, seed: int = 0) -> pd.DataFrame:
    """table[outcome, change, r, r_low, r_high, holm, partial_r, p] over the natural pairs, means over trainings.

    found[outcome, source, target, value, ...]; each change has the world's measure of similarity that it lowers. r is
    within targets, low and high resample them; partial_r holds the other three measures fixed (MRQAP).
    """
    scores = found.groupby(["outcome", "source", "target"], sort=False, as_index=False)["value"].mean()
    scores = scores.rename(columns={"outcome": "task", "value": "score"})
    similar = natural_similarity(scores["source"].unique())
    told = ranking.correlate(scores, similar, statistics=("within_target",), permutations=permutations, seed=seed)
    told = told[told["pairs"] == "common"].rename(columns={"low": "r_low", "high": "r_high"})
    together = ranking.mrqap(scores, similar, permutations=permutations, seed=seed)
    table = told[["task", "measure", "r", "r_low", "r_high", "holm"]].merge(
        together[["task", "measure", "partial_r", "p"]], on=["task", "measure"]
    )
    back = {measure: change for change, measure in MEASURES.items()}
    table.insert(1, "change", table.pop("measure").map(back))
    return table.rename(columns={"task": "outcome"})


def natural_similarity(languages: Sequence[str]) -> pd.DataFrame:
    """table[measure, source, target, value] of the default world's four measures that a twin can change."""
    exact = world.build().similarity()
    kept = exact["measure"].isin(MEASURES.values()) & exact["source"].isin(languages) & exact["target"].isin(languages)
    return exact[kept & (exact["source"] != exact["target"])].reset_index(drop=True)


def beside(causes: pd.DataFrame, told: pd.DataFrame, kin: str = "sibling") -> pd.DataFrame:
    """table[outcome, change, effect, low, high, r, ..., cause_rank, correlation_rank, verdict] at the full dose.

    Ranks run from 1, the largest in size, within an outcome. The verdict compares what correlation claims (Holm under
    5 %; its sign says what more similarity goes with) with what the intervention shows (interval off 0; it takes
    similarity away, so the opposite sign agrees).
    """
    table = causes[(causes["kin"] == kin) & (causes["dose"] == causes["dose"].max())].drop(columns=["kin", "dose"])
    table = table.merge(told, on=["outcome", "change"], how="left")
    for name, column in {"cause_rank": "effect", "correlation_rank": "r", "regression_rank": "partial_r"}.items():
        table[name] = table.groupby("outcome")[column].transform(lambda x: x.abs().rank(ascending=False))
    way = np.array([stats.verdict(low, high) for low, high in zip(table["low"], table["high"])])
    cause = np.where(way == "below", 1, np.where(way == "above", -1, 0))
    claim = np.where(table["holm"] < 0.05, np.sign(table["r"]), 0).astype(int)
    table["cause_sure"], table["r_sure"] = cause != 0, claim != 0
    words = np.where(cause == 0, "misleads: no effect found", np.where(claim == 0, "missed", "opposed"))
    words = np.where(cause == claim, np.where(cause == 0, "agree: none found", "agree: it matters"), words)
    return table.assign(verdict=words)


def with_start(summary: pd.DataFrame) -> pd.DataFrame:
    """The table of `summary` with a row of no effect at dose 0 in front of each curve: there a twin is its original."""
    keys = ["outcome", "kin", "change"]
    start = summary.drop_duplicates(keys).assign(dose=0.0, effect=0.0, low=0.0, high=0.0)
    return pd.concat([start, summary], ignore_index=True)


def agreement(table: pd.DataFrame, *, column: str = "r") -> pd.DataFrame:
    """table[outcome, rho, first]: Spearman's correlation of the sizes of effects and of `column`, over the changes.

    `first` says whether both put the same change first. With four changes rho takes few values: no test is made of one.
    """
    rows = []
    for outcome, part in table.groupby("outcome", sort=False):
        sizes = part[["effect", column]].abs()
        terms = association.products(*(sizes[[name]].rank().to_numpy().T for name in sizes), "pooled")
        same = sizes["effect"].idxmax() == sizes[column].idxmax()
        rows.append((outcome, float(association.correlation(terms.sum((1, 2)))), bool(same)))
    return pd.DataFrame(rows, columns=["outcome", "rho", "first"])
