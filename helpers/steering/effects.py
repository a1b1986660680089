"""What edits do to the embedding space: one measurement, the same for every method, control and strength.

Every number compares a steered model with the untouched one on the same sentences, so a gain is a paired difference
and its interval resamples sentences, all languages at once.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch

from helpers.common import stats
from helpers.common.progress import progress
from helpers.embeddings import activations, retrieval
from helpers.embeddings.activations import Activations
from helpers.models.loading import LanguageModel
from helpers.steering.hooks import steered

RETRIEVAL = ("top1", "centred", "mixed", "margin")
METRICS = (*RETRIEVAL, "pairs_matched", "pairs_all", "medoid")


def measure(
    before: Activations,
    after: Activations,
    *,
    metrics: Sequence[str] = METRICS,
    toward: str = "",
    seed: int = 0,
    levels: Mapping | None = None,
) -> pd.DataFrame:
    """table[layer, metric, before, after, change, low, high] of the same sentences, untouched and steered.

    top1: retrieval, mean over all ordered pairs; centred: the same less each language's mean; margin: by ratio margin;
    mixed: queries from the untouched model, candidates from the steered one. pairs_matched, pairs_all, medoid: mean
    cosine distances as in `alignment.distances`, and with `toward` also those to that language. Changes are after less
    before; low and high are their 95 % interval over sentences (NaN for distances, which are means over pairs).
    `levels` of `before` and the same metrics save finding them again for each of many edits.
    """
    old, new = levels or levels_of(before, metrics, toward), levels_of(after, metrics, toward)
    rows = []
    for layer, metric in old:
        was, now = old[layer, metric], new[layer, metric]
        if metric == "mixed":
            found = retrieval.correct(before.parallel(layer), candidates=after.parallel(layer))
            now = retrieval.per_sentence(found)
        low, high = stats.mean_interval(now - was, seed=seed)[1:] if metric in RETRIEVAL else (np.nan, np.nan)
        rows.append((layer, metric, np.mean(was), np.mean(now), np.mean(now) - np.mean(was), low, high))
    return pd.DataFrame(rows, columns=["layer", "metric", "before", "after", "change", "low", "high"])


def grid(
    lm: LanguageModel,
    table: pd.DataFrame,
    plans: Mapping[tuple, Sequence],
    *,
    names: Sequence[str],
    metrics: Sequence[str] = METRICS,
    before: Activations | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """`measure` of every plan, table[*names, layer, metric, before, after, change, low, high].

    `plans` maps a key, one value for each of `names`, to a list of edits. `before` saves embedding the untouched model.
    """
    before = before or activations.embed(lm, table)
    parts, levels = [], levels_of(before, metrics)
    for key, edits in progress(plans.items(), "steering"):
        with steered(lm, edits):
            after = activations.embed(lm, table, before.layers)
        found = measure(before, after, metrics=metrics, seed=seed, levels=levels)
        parts.append(found.assign(**dict(zip(names, key))))
    return pd.concat(parts, ignore_index=True)[[*names, *parts[0].columns[:7]]]


def summary(table: pd.DataFrame, keys: Sequence[str], *, over: str, value: str = "change", seed: int = 0):
    """table[*keys, value, low, high]: the mean of `value` over each key's rows, whole groups of `over` resampled.

    With one group there is no interval (NaN).
    """
    groups = table.groupby(list(keys), sort=False)
    rows = [(*key, *stats.mean_interval(part[value], part[over], seed=seed)) for key, part in groups]
    return pd.DataFrame(rows, columns=[*keys, value, "low", "high"])


def posthoc(fit: Activations, table: Activations, *, rank: int | None = None, kind: str = "means", seed: int = 0):
    """The embeddings with the span of the language means of `fit` projected out at every layer; no model changed.

    `rank` and `kind` as in `alignment.subspace`: controls are `random` directions and those of most `variance`.
    """
    values = table.values.clone()
    for place, layer in enumerate(table.layers):
        space = retrieval.subspace(fit.parallel(layer), rank=rank, kind=kind, seed=seed)
        values[:, place] = retrieval.project(table.layer(layer), space)
    return Activations(values, table.table, table.layers)


def left_out(fit: Activations, table: Activations, groups: Mapping[str, str]) -> pd.DataFrame:
    """table[group, layer, untouched, seen, unseen]: post-hoc erasure fitted with and without a group of languages.

    Top-1 over the ordered pairs that a language of the group is part of; `groups` maps language to family, or to
    itself for one language at a time. A fit on fewer than two languages spans nothing and is left out.
    """
    rows, everyone = [], posthoc(fit, table)
    level = {layer: [retrieval.correct(x.parallel(layer)) for x in (table, everyone)] for layer in table.layers}
    for group in dict.fromkeys(groups.values()):
        rest = [name for name in fit.languages if groups[name] != group]
        if len(rest) < 2:
            continue
        held = posthoc(fit.where(language=rest), table)
        ours = np.array([groups[name] == group for name in table.languages])
        pairs = (ours[:, None] | ours) & ~np.eye(len(ours), dtype=bool)
        for layer in table.layers:
            found = *level[layer], retrieval.correct(held.parallel(layer))
            rows.append((group, layer, *(hits[pairs].mean() for hits in found)))
    return pd.DataFrame(rows, columns=["group", "layer", "untouched", "seen", "unseen"])


def over(lm: LanguageModel, table: pd.DataFrame, edits: Sequence, strengths: Sequence[float], *, layer: int) -> dict:
    """Strength -> states [sentence, hidden] of one layer under the edits, for maps and sliders."""
    states = {}
    for strength in progress(strengths, "strengths"):
        with steered(lm, edits, strength):
            states[strength] = activations.embed(lm, table, [layer]).layer(layer).numpy()
    return states


def by_strength(states: Mapping[float, np.ndarray], table: pd.DataFrame) -> pd.DataFrame:
    """table[strength, metric, value]: top-1 retrieval and the distance between translations at each strength."""
    rows = []
    for strength, values in states.items():
        held = Activations(torch.from_numpy(values)[:, None], table, [0])
        apart = retrieval.distances(held.parallel(0), held.languages).query("statistic == 'pairs_matched'")
        hits = retrieval.per_sentence(retrieval.correct(held.parallel(0)))
        rows += [(strength, "top-1 retrieval", hits.mean()), (strength, "distance", apart.distance.mean())]
    return pd.DataFrame(rows, columns=["strength", "metric", "value"])


def levels_of(state: Activations, metrics: Sequence[str], toward: str = "") -> dict[tuple[int, str], np.ndarray]:
    """(layer, metric) -> top-1 of each sentence, over all ordered pairs, or a mean distance; mixed starts from top1."""
    levels = {}
    for layer in state.layers:
        values, plain = state.parallel(layer), None
        for metric in [name for name in RETRIEVAL if name in metrics]:
            if metric in ("top1", "mixed"):
                plain = retrieval.per_sentence(retrieval.correct(values)) if plain is None else plain
                levels[layer, metric] = plain
            else:
                inside = retrieval.centre(values) if metric == "centred" else values
                found = retrieval.correct(inside, margin=4 if metric == "margin" else None)
                levels[layer, metric] = retrieval.per_sentence(found)
        if set(metrics) - set(RETRIEVAL):
            apart = retrieval.distances(values, state.languages, toward=toward or None)
            means = apart.groupby("statistic", sort=False).distance.mean()
            levels |= {(layer, name): value for name, value in means.items() if name in metrics or name[:6] == "toward"}
    return levels
