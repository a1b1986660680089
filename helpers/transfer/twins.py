"""What one property of a source language does to transfer, by intervention: a twin against its original.

One idea: a twin differs from its original in its script, its words, its word order or its endings, and in nothing else.
Both are trained on as sources for the same target, so the difference of their scores is the effect of that property,
which a correlation over the languages of a tree cannot single out.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from helpers.common.stats import few_interval, verdict
from helpers.transfer import training
from helpers.world import worlds

MEASURES = {"script": "script", "lexicon": "lexical", "order": "syntactic", "morphology": "morphological"}
_KEYS = ["task", "representation", "metric", "change", "kin"]


def effects(
    tasks: Sequence[str], representation: str = "ngrams", *, seeds: Sequence[int] = (0, 1, 2), originals: int = 3
) -> pd.DataFrame:
    """table[task, representation, metric, change, seed, original, target, kin, before, after, effect].

    One world for each seed, in it the first language of `originals` families, evenly spread, and its four twins.
    `before` is the score of the original as a source, `after` of the twin, `effect` the difference; targets are the
    original itself and its siblings (`kin`). All else, the meanings included, is the same on both sides.
    """
    tables = [
        _compared(task, representation, seed, originals).assign(task=task, representation=representation, seed=seed)
        for seed in seeds
        for task in tasks
    ]
    found = pd.concat(tables, ignore_index=True)
    found["effect"] = found["after"] - found["before"]
    names = [*_KEYS[:4], "seed", "original", "target", "kin", "before", "after", "effect"]
    return found[names].sort_values(names[:3], key=lambda x: pd.factorize(x)[0], kind="stable", ignore_index=True)


def summary(effects: pd.DataFrame) -> pd.DataFrame:
    """table[task, representation, metric, change, kin, effect, low, high, n]: means over n originals, t intervals."""
    rows = []
    for key, part in effects.groupby(_KEYS, sort=False):
        each = part.groupby(["seed", "original"])["effect"].mean()
        rows.append((*key, *few_interval(each), len(each)))
    return pd.DataFrame(rows, columns=[*_KEYS, "effect", "low", "high", "n"])


def beside(effects: pd.DataFrame, correlations: pd.DataFrame, together: pd.DataFrame) -> pd.DataFrame:
    """The effects on siblings, one row per task and change, with what correlation and regression say, and a verdict.

    `correlations` are `ranking.correlate`'s within-target rows, `together` is `ranking.mrqap`'s table; both need the
    measures of `MEASURES`. The verdict is that of `verdicts`.
    """
    table = summary(effects).query("kin == 'sibling'").assign(measure=lambda t: t["change"].map(MEASURES))
    keys = ["task", "representation", "metric", "measure"]
    named = correlations.rename(columns={"low": "r_low", "high": "r_high"})
    table = table.merge(named[[*keys, "r", "r_low", "r_high", "holm"]], on=keys, how="left")
    table = table.merge(together[[*keys, "partial_r", "p"]], on=keys, how="left")
    return table.assign(verdict=verdicts(table)["verdict"])


def verdicts(table: pd.DataFrame) -> pd.DataFrame:
    """table[cause_sure, r_sure, verdict], row by row, from table[low, high, r, holm] of effects and correlations.

    Correlation claims where Holm's p is under 5 %, and its sign says what more similarity goes with; an intervention
    finds an effect where its interval is off 0, and it takes similarity away, so the opposite sign agrees.
    """
    way = np.array([verdict(low, high) for low, high in zip(table["low"], table["high"])])
    cause = np.where(way == "below", 1, np.where(way == "above", -1, 0))
    claim = np.where(table["holm"] < 0.05, np.sign(table["r"].fillna(0)), 0).astype(int)
    words = np.where(cause == 0, "misleads: no effect found", np.where(claim == 0, "missed", "opposed"))
    words = np.where(cause == claim, np.where(cause == 0, "agree: none found", "agree: it matters"), words)
    return pd.DataFrame(dict(cause_sure=cause != 0, r_sure=claim != 0, verdict=words), index=table.index)


def _compared(task: str, representation: str, seed: int, originals: int) -> pd.DataFrame:
    """table[metric, change, original, target, kin, before, after] in the world of one seed."""
    grown, chosen = worlds.build(seed=seed), []
    families = grown.languages.groupby("family", sort=False)["language"]
    for _, names in list(families)[:: max(1, families.ngroups // originals)][:originals]:
        chosen.append(list(names))
    for names in chosen:
        for change in MEASURES:
            grown = grown.twin(names[0], change)
    sources = [name for names in chosen for name in (names[0], *(f"{names[0]}-{change}" for change in MEASURES))]
    train = _rows(grown, task, sources, "fit")
    test = _rows(grown, task, [name for names in chosen for name in names], "test")
    scores = training.measure(task, representation, train, test, seed=seed).table
    found = scores.set_index(["metric", "source", "target"])["score"]
    return pd.DataFrame(
        dict(metric=metric, change=change, original=names[0], target=target, kin=kin)
        | dict(before=found[metric, names[0], target], after=found[metric, f"{names[0]}-{change}", target])
        for metric in training.TASKS[task]
        for names in chosen
        for change in MEASURES
        for target, kin in [(names[0], "itself"), *((name, "sibling") for name in names[1:])]
    )


def _rows(grown: worlds.World, task: str, languages: list[str], split: str) -> pd.DataFrame:
    if task == "topics":
        return grown.sentences(languages, split)
    return pd.concat([grown.treebank(name, split) for name in languages], ignore_index=True)
