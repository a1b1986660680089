"""What one property of a source language does to transfer, by intervention: a twin against its original.

A twin differs from its original in its script, its words, its word order or its endings, and in nothing else. Both are
trained on as sources for the same target, so the difference of their scores is the effect of that property, which a
correlation over the languages of a tree cannot single out.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from helpers.common import stats
from helpers.transfer import qap, training
from helpers.world import worlds

MEASURES = {"script": "script", "lexicon": "lexical", "order": "syntactic", "morphology": "morphological"}
_KEYS = [*qap.EXPERIMENT, "change"]


def causes(
    scores: pd.DataFrame, similarity: pd.DataFrame, *, seeds: Sequence[int], permutations: int, seed: int = 0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The `effects` of twins on the tasks that n-grams have scores for, and their `comparison` with `claims`."""
    ngrams = scores[scores["representation"] == "ngrams"]
    found = effects(list(ngrams["task"].unique()), seeds=seeds)
    claimed = claims(ngrams, similarity, permutations=permutations, seed=seed)
    return found, comparison(found[found["metric"].isin(ngrams["metric"])], claimed)


def effects(tasks: Sequence[str], *, seeds: Sequence[int] = (0, 1, 2), originals: int = 3) -> pd.DataFrame:
    """table[task, representation, metric, change, seed, original, target, kin, before, after, effect], from n-grams.

    One world for each seed, in it the first language of `originals` families, evenly spread, and its four twins.
    `before` is the score of the original as a source, `after` of the twin, `effect` the difference; targets are the
    original itself and its siblings (`kin`). All else, the meanings included, is the same on both sides.
    """
    found = pd.concat([_compared(task, seed, originals) for seed in seeds for task in tasks], ignore_index=True)
    found["effect"] = found["after"] - found["before"]
    names = [*_KEYS, "seed", "original", "target", "kin", "before", "after", "effect"]
    return found[names].sort_values(names[:3], key=lambda x: pd.factorize(x)[0], kind="stable", ignore_index=True)


def claims(scores: pd.DataFrame, similarity: pd.DataFrame, *, permutations: int = 999, seed: int = 0) -> pd.DataFrame:
    """table[task, ..., change, r, r_low, r_high, holm, partial_r, p]: what is claimed of each change by correlation.

    r is within targets, of the measure in `similarity` that the change lowers, low and high resample targets;
    partial_r and p hold the other three measures fixed (MRQAP).
    """
    four = similarity[similarity["measure"].isin(MEASURES.values())]
    options = dict(permutations=permutations, seed=seed)
    alone = qap.correlate(scores, four, statistics=("within_target",), **options).query("pairs == 'common'")
    alone = alone.rename(columns={"low": "r_low", "high": "r_high"})
    keys = [key for key in (*qap.EXPERIMENT, "measure") if key in alone]
    together = qap.mrqap(scores, four, **options)[[*keys, "partial_r", "p"]]
    table = alone[[*keys, "r", "r_low", "r_high", "holm"]].merge(together, on=keys)
    table["measure"] = table["measure"].map({measure: change for change, measure in MEASURES.items()})
    return table.rename(columns={"measure": "change"})


def comparison(effects: pd.DataFrame, claimed: pd.DataFrame) -> pd.DataFrame:
    """The effects on siblings, one row per task and change, with the columns of `claims`, measure and the verdict."""
    means = stats.by_group(effects.query("kin == 'sibling'"), _KEYS, "effect", over=["seed", "original"])
    table = means.merge(claimed, on=_KEYS, how="left")
    return table.assign(measure=table["change"].map(MEASURES), verdict=verdicts(table)["verdict"])


def verdicts(table: pd.DataFrame) -> pd.DataFrame:
    """table[cause_significant, r_significant, verdict], row by row, from table[low, high, r, holm].

    low and high bound effects. Correlation claims where Holm's p is under 5 %, and its sign says what more similarity
    goes with; an intervention finds an effect where its interval is off 0, and it takes similarity away, so the
    opposite sign agrees.
    """
    cause = np.where(table["high"] < 0, 1, np.where(table["low"] > 0, -1, 0))
    claim = np.where(table["holm"] < 0.05, np.sign(table["r"].fillna(0)), 0)
    words = {
        "agree: none found": (cause == 0) & (claim == 0),
        "misleads: no effect found": cause == 0,
        "missed": claim == 0,
        "agree: it matters": cause == claim,
    }
    found = np.select(list(words.values()), list(words), "opposed")
    return pd.DataFrame(
        {"cause_significant": cause != 0, "r_significant": claim != 0, "verdict": found}, index=table.index
    )


def _compared(task: str, seed: int, originals: int) -> pd.DataFrame:
    """table[task, representation, metric, change, seed, original, target, kin, before, after] in one seed's world."""
    grown = worlds.build(seed=seed)
    families = [list(names) for _, names in grown.languages.groupby("family", sort=False)["language"]]
    chosen = families[:: max(1, len(families) // originals)][:originals]
    for first, *_ in chosen:
        for change in MEASURES:
            grown = grown.twin(first, change)
    sources = [name for first, *_ in chosen for name in (first, *(f"{first}-{change}" for change in MEASURES))]
    first = {name: names[0] for names in chosen for name in names}
    rows = [_rows(grown, task, names, split) for names, split in ((sources, "fit"), (list(first), "test"))]
    table = training.measure(task, "ngrams", *rows, seed=seed).table
    table[["original", "change"]] = table["source"].str.split("-", n=1, expand=True)
    table = table[table["original"] == table["target"].map(first)]
    plain, keys = table["change"].isna(), ["metric", "original", "target"]
    before = table[plain].rename(columns={"score": "before"})[[*keys, "before"]]
    found = table[~plain].rename(columns={"score": "after"}).merge(before, on=keys, how="left")
    return found.assign(kin=np.where(found["target"] == found["original"], "itself", "sibling"))


def _rows(grown: worlds.World, task: str, languages: list[str], split: str) -> pd.DataFrame:
    if task == "topics":
        return grown.sentences(languages, split)
    return pd.concat([grown.treebank(name, split) for name in languages], ignore_index=True)
