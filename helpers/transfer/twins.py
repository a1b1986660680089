"""What one property of a language does, by intervention: a twin against its original, beside what correlations claim.

A twin differs from its original in its script, its words, its word order or its endings, and in nothing else, so that
the difference of their scores is the effect of that property, which a correlation over the languages of a tree cannot
single out. Here twins are sources of transfer from n-grams; inference and verdicts are those of every study of twins.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import t as students

from helpers.common import stats
from helpers.transfer import qap, training, trees
from helpers.world import worlds

MEASURES = {"script": "script", "lexicon": "lexical", "order": "syntactic", "morphology": "morphological"}
MARGIN = 0.05  # of a share such as an accuracy: effects that are surely smaller count as none
_CLAIMS = ["r", "r_low", "r_high", "holm", "holm_family", "partial_r", "p", "p_family"]


def causes(
    scores: pd.DataFrame, similarity: pd.DataFrame, tree: trees.Tree, *, seeds: Sequence[int], permutations: int, seed=0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The `effects` of twins on the tasks that n-grams have scores for, and those on siblings as `judged`."""
    ngrams = scores[scores["representation"] == "ngrams"]
    found = effects(list(ngrams["task"].unique()), seeds=seeds)
    claimed = claims(ngrams, similarity, tree, permutations=permutations, seed=seed)
    near = found[found["metric"].isin(ngrams["metric"]) & (found["kin"] == "sibling")]
    return found, judged(summary(near, [*qap.EXPERIMENT, "kin", "change"]), claimed)


def effects(tasks: Sequence[str], *, seeds: Sequence[int] = range(9)) -> pd.DataFrame:
    """table[task, representation, metric, change, world, original, target, kin, before, after, effect], from n-grams.

    One world for each seed, in it the first language of a family, another one in every world, and its four twins.
    `before` is the score of the original as a source, `after` of the twin, `effect` the difference; targets are the
    original itself and its siblings (`kin`). All else, the meanings included, is the same on both sides.
    """
    found = pd.concat([_compared(task, seed) for seed in seeds for task in tasks], ignore_index=True)
    found["effect"] = found["after"] - found["before"]
    names = [*qap.EXPERIMENT, "change", "world", "original", "target", "kin", "before", "after", "effect"]
    return found[names].sort_values(names[:3], key=lambda x: pd.factorize(x)[0], kind="stable", ignore_index=True)


def summary(effects: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """table[*keys, effect, low, high, n, groups, smallest]: mean effects over n originals and trainings.

    effects[*keys, original, effect, and where known world and trained]. Originals of one world share its trainings and
    its other languages, so worlds are the independent groups; in a single world, originals crossed with trainings
    (`stats.crossed_interval`), which then speaks of that world. `smallest` is the effect that such intervals leave
    0 out for in four of five cases.
    """
    rows, absent = [], {name: "" for name in ("world", "trained") if name not in effects}
    for key, part in effects.assign(**absent).groupby(list(keys), sort=False):
        cells = part.groupby(["world", "trained", "original"], as_index=False)["effect"].mean()
        sizes = cells[["world", "trained", "original"]].nunique()
        if sizes["world"] > 1:
            found, groups = stats.mean_interval(cells["effect"], cells["world"]), sizes["world"]
        else:
            square = cells.pivot(index="trained", columns="original", values="effect").to_numpy()
            found, groups = stats.crossed_interval(square), sizes[sizes > 1].min()
        error = (found.high - found.low) / 2 / students.ppf(0.975, groups - 1)
        rows.append((*key, *found, len(cells), groups, stats.smallest_effect(error, groups - 1)))
    return pd.DataFrame(rows, columns=[*keys, "effect", "low", "high", "n", "groups", "smallest"])


def power(effects: pd.DataFrame, keys: Sequence[str], *, groups: int, originals: int) -> pd.DataFrame:
    """table[*keys, between, within, smallest]: the smallest effect that so many worlds of so many originals could see.

    From how much the effects of an earlier table differ between worlds and, within them, between originals (standard
    deviations; `between` counts as 0 where there is one world). For planning, before a sweep.
    """
    rows, effects = [], effects if "world" in effects else effects.assign(world="")
    for key, part in effects.groupby(list(keys), sort=False):
        cells = part.groupby(["world", "original"])["effect"].mean()
        each = cells.groupby("world").agg(["mean", "var", "size"])
        within = np.nan_to_num(each["var"].mean())
        between = max(np.nan_to_num(each["mean"].var()) - within / each["size"].mean(), 0)
        error = np.sqrt(between / groups + within / groups / originals)
        rows.append((*key, between**0.5, within**0.5, stats.smallest_effect(error, groups - 1)))
    return pd.DataFrame(rows, columns=[*keys, "between", "within", "smallest"])


def claims(
    scores: pd.DataFrame, similarity: pd.DataFrame, tree: trees.Tree | None, *, permutations: int = 999, seed: int = 0
) -> pd.DataFrame:
    """table[task, ..., change, r, r_low, r_high, holm, holm_family, partial_r, p, p_family]: what correlations claim.

    r is within targets, of the measure in `similarity` that the change lowers, with its interval and Holm's p, free and
    beyond family; partial_r and its two p hold the other three measures fixed (MRQAP).
    """
    four = similarity[similarity["measure"].isin(MEASURES.values())]
    options = dict(permutations=permutations, seed=seed)
    alone = qap.correlate(scores, four, tree, statistics=("within_target",), **options).query("pairs == 'common'")
    alone = alone.rename(columns={"low": "r_low", "high": "r_high"}).drop(columns=["p", "p_family"])
    keys = [key for key in (*qap.EXPERIMENT, "measure") if key in alone]
    table = alone.merge(qap.mrqap(scores, four, tree, **options), on=keys)[[*keys, *_CLAIMS]]
    table["measure"] = table["measure"].map({measure: change for change, measure in MEASURES.items()})
    return table.rename(columns={"measure": "change"})


def judged(table: pd.DataFrame, claimed: pd.DataFrame) -> pd.DataFrame:
    """A `summary` with the columns of `claims`, measure, cause, r_significant, r_beyond and verdict.

    cause: `matters` where the interval is off 0; `none` where it lies within `MARGIN` of 0; else `open`. Correlation
    claims where Holm's p is under 5 %, freely and beyond family; its sign says what more similarity goes with, and a
    twin takes similarity away, so that an effect of opposite sign agrees. Beside the original itself an effect
    has its direction from where it starts: there is a size, and no cause and no verdict.
    """
    keys = [key for key in (*qap.EXPERIMENT, "outcome", "change") if key in table and key in claimed]
    table = table.merge(claimed, on=keys, how="left").assign(measure=lambda t: t["change"].map(MEASURES))
    free, beyond = table["holm"] < 0.05, table["holm_family"] < 0.05
    sure = (table["low"] > 0) | (table["high"] < 0)
    small = (table["low"] > -MARGIN) & (table["high"] < MARGIN)
    same = np.sign(table["effect"]) == -np.sign(table["r"])
    words = {
        "": table["kin"] == "itself",
        "agree: it matters": sure & free & same,
        "opposed": sure & free,
        "missed": sure,
        "misleads: no effect": small & free,
        "agree: none": small,
    }
    cause = np.select([words[""], sure, small], ["", "matters", "none"], "open")
    verdict = np.select(list(words.values()), list(words), "open")
    return table.assign(cause=cause, r_significant=free, r_beyond=free & beyond, verdict=verdict)


def rows(grown: worlds.World, task: str, languages: list[str], split: str) -> pd.DataFrame:
    """The rows of a task in a world with twins: sentences for topics, else treebanks."""
    if task == "topics":
        return grown.sentences(languages, split)
    return pd.concat([grown.treebank(name, split) for name in languages], ignore_index=True)


def _compared(task: str, seed: int) -> pd.DataFrame:
    """table[task, representation, metric, change, world, original, target, kin, before, after] in one seed's world."""
    grown = worlds.build(seed=seed)
    families = [list(names) for _, names in grown.languages.groupby("family", sort=False)["language"]]
    kin = families[seed % len(families)]
    for change in MEASURES:
        grown = grown.twin(kin[0], change)
    changes = {kin[0]: ""} | {f"{kin[0]}-{change}": change for change in MEASURES}
    train, test = rows(grown, task, list(changes), "fit"), rows(grown, task, kin, "test")
    table = training.measure(task, "ngrams", train, test, seed=seed).table.assign(world=seed, original=kin[0])
    table["change"], keys = table["source"].map(changes), ["metric", "target"]
    before = table[table["change"] == ""].rename(columns={"score": "before"})[[*keys, "before"]]
    found = table[table["change"] != ""].rename(columns={"score": "after"}).merge(before, on=keys)
    return found.assign(kin=np.where(found["target"] == found["original"], "itself", "sibling"))
