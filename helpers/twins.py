"""What one property of a source language does to transfer, by intervention: a twin against its original.

One idea: a twin differs from its original in its script, its words, its word order or its endings, and in nothing else.
Both are trained on as sources for the same target, so the difference of their scores is the effect of that property,
which a correlation over the languages of a tree cannot single out.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from helpers import transfer, world
from helpers.stats import cluster_interval, verdict

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


def summary(effects: pd.DataFrame, *, draws: int = 1000) -> pd.DataFrame:
    """table[task, representation, metric, change, kin, effect, low, high, n]: means, n originals resampled whole."""
    rows = []
    for key, part in effects.groupby(_KEYS, sort=False):
        clusters = part["seed"].astype(str) + part["original"]
        rows.append((*key, *cluster_interval(part["effect"], clusters, n=draws), clusters.nunique()))
    return pd.DataFrame(rows, columns=[*_KEYS, "effect", "low", "high", "n"])


def beside(effects: pd.DataFrame, correlations: pd.DataFrame, together: pd.DataFrame) -> pd.DataFrame:
    """The effects on siblings, one row per task and change, with what correlation and regression say, and a verdict.

    `correlations` are `ranking.correlate`'s within-target rows, `together` is `ranking.mrqap`'s table; both need the
    measures of `MEASURES`. Correlation claims what is positive at a Holm-corrected 5 %; an intervention finds an effect
    where its interval lies below 0, since a twin is less like the target than its original.
    """
    table = summary(effects).query("kin == 'sibling'").assign(measure=lambda t: t["change"].map(MEASURES))
    keys = ["task", "representation", "metric", "measure"]
    named = correlations.rename(columns={"low": "r_low", "high": "r_high"})
    table = table.merge(named[[*keys, "r", "r_low", "r_high", "holm"]], on=keys, how="left")
    table = table.merge(together[[*keys, "partial_r", "p"]], on=keys, how="left")
    cause = np.array([verdict(low, high) for low, high in zip(table["low"], table["high"])])
    claims = (table["r"] > 0) & (table["holm"] < 0.05)
    words = {(True, "below"): "agree: it matters", (True, "above"): "opposed", (False, "below"): "missed"}
    words |= {(True, verdict(-1, 1)): "misleads: no effect found", (False, "above"): "opposed"}
    return table.assign(verdict=[words.get(pair, "agree: none found") for pair in zip(claims, cause)])


def _compared(task: str, representation: str, seed: int, originals: int) -> pd.DataFrame:
    """table[metric, change, original, target, kin, before, after] in the world of one seed."""
    grown, chosen = world.build(seed=seed), []
    families = grown.languages.groupby("family", sort=False)["language"]
    for _, names in list(families)[:: max(1, families.ngroups // originals)][:originals]:
        chosen.append(list(names))
    for names in chosen:
        for change in MEASURES:
            grown = grown.twin(names[0], change)
    sources = [name for names in chosen for name in (names[0], *(f"{names[0]}-{change}" for change in MEASURES))]
    train = _rows(grown, task, sources, "fit")
    test = _rows(grown, task, [name for names in chosen for name in names], "test")
    scores = transfer.measure(task, representation, train, test, seed=seed).table
    found = scores.set_index(["metric", "source", "target"])["score"]
    return pd.DataFrame(
        dict(metric=metric, change=change, original=names[0], target=target, kin=kin)
        | dict(before=found[metric, names[0], target], after=found[metric, f"{names[0]}-{change}", target])
        for metric in transfer.TASKS[task]
        for names in chosen
        for change in MEASURES
        for target, kin in [(names[0], "itself"), *((name, "sibling") for name in names[1:])]
    )


def _rows(grown: world.World, task: str, languages: list[str], split: str) -> pd.DataFrame:
    if task == "topics":
        return grown.sentences(languages, split)
    return pd.concat([grown.treebank(name, split) for name in languages], ignore_index=True)
