"""What edits do to the embedding space, measured alike for every method, control and strength.

The steered model meets the untouched one on the same sentences: a gain is a paired difference, and its interval
resamples sentences, all languages at once.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from helpers.common import stats
from helpers.common.progress import progress
from helpers.embeddings import activations, retrieval
from helpers.embeddings.activations import Activations
from helpers.models.loading import LanguageModel
from helpers.steering.hooks import steered

RETRIEVAL = ("top1", "centred", "mixed")
METRICS = (*RETRIEVAL, "pairs_matched", "pairs_all", "medoid")


def changes(
    before: Activations, after: Activations, *, metrics=METRICS, seed: int = 0, levels: Mapping | None = None
) -> pd.DataFrame:
    """table[layer, metric, before, after, change, low, high] of the same sentences, untouched and steered.

    top1: retrieval, mean over all ordered pairs; centred: the same less each language's mean; mixed: queries from the
    untouched model, candidates from the steered one; low and high: the interval of their change over sentences. The
    others are mean cosine distances, as in `retrieval.distances`, with the untouched model's medoid and no interval.
    `levels` of `before` save finding them again for each of many edits.
    """
    old = levels or levels_of(before, metrics)
    new, rows = levels_of(after, metrics, old), []
    for layer in before.layers:
        for metric in metrics:
            was, now = old[layer, metric], new[layer, metric]
            if metric == "mixed":
                now = _top1(before.parallel(layer), after.parallel(layer))
            low, high = stats.mean_interval(now - was, seed=seed)[1:] if metric in RETRIEVAL else (np.nan, np.nan)
            rows.append((layer, metric, np.mean(was), np.mean(now), np.mean(now) - np.mean(was), low, high))
    return pd.DataFrame(rows, columns=["layer", "metric", "before", "after", "change", "low", "high"])


def levels_of(state: Activations, metrics: Sequence[str], like: Mapping | None = None) -> dict[tuple[int, str], Any]:
    """(layer, metric) -> top-1 of each sentence, or a mean distance; `like` are the levels whose medoids are taken."""
    levels = {}
    for layer in state.layers:
        values = state.parallel(layer)
        if {"top1", "mixed"} & {*metrics}:
            levels[layer, "top1"] = levels[layer, "mixed"] = _top1(values)
        if "centred" in metrics:
            levels[layer, "centred"] = _top1(retrieval.centre(values))
        if {*metrics} - {*RETRIEVAL}:
            apart = retrieval.distances(values, state.languages, medoid=like and like[layer, "medoid of"])
            levels |= {(layer, name): mean for name, mean in apart.groupby("statistic").distance.mean().items()}
            levels[layer, "medoid of"] = apart.other.iloc[-1]
    return levels


def _top1(queries, candidates=None) -> np.ndarray:
    return retrieval.per_sentence(retrieval.correct(queries, candidates=candidates))


def effects(
    lm: LanguageModel, table: pd.DataFrame, plans: Mapping, *, names: Sequence, metrics=METRICS, seed: int = 0
) -> pd.DataFrame:
    """The `changes` of every plan, table[*names, layer, metric, before, after, change, low, high].

    `plans` maps a key, one value for each of `names`, to a list of edits.
    """
    before, found = activations.embed(lm, table), {}
    levels = levels_of(before, metrics)
    for key, edits in progress(plans.items(), "steering"):
        with steered(lm, edits):
            found[key] = changes(before, activations.embed(lm, table), metrics=metrics, seed=seed, levels=levels)
    return pd.concat(found, names=names).reset_index(names).reset_index(drop=True)


def along(
    lm: LanguageModel, table: pd.DataFrame, edits: Sequence, strengths: Sequence[float], *, layer: int
) -> tuple[dict[float, np.ndarray], pd.DataFrame]:
    """Strength -> states [sentence, hidden] of a layer under the edits, and table[strength, metric, value] of them."""
    states, rows = {}, []
    for strength in progress(strengths, "strengths"):
        with steered(lm, edits, strength):
            held = activations.embed(lm, table, [layer])
        states[strength] = held.layer(layer).numpy()
        found = levels_of(held, ["top1", "pairs_matched"])
        rows.append((strength, "top-1 retrieval", found[layer, "top1"].mean()))
        rows.append((strength, "distance", found[layer, "pairs_matched"]))
    return states, pd.DataFrame(rows, columns=["strength", "metric", "value"])
