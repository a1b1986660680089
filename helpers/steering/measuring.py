"""What edits do to the embedding space, measured alike for every method, control and strength.

The steered model meets the untouched one on the same sentences: a gain is a paired difference, and its interval
resamples sentences, all languages at once. `steps` says how much of a gain is no more than a shift of the states.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from helpers.common import stats
from helpers.common.progress import progress
from helpers.embeddings import activations, retrieval
from helpers.embeddings.activations import Activations
from helpers.models.loading import LanguageModel
from helpers.steering.hooks import steered

RETRIEVAL = (*retrieval.SCORES, "mixed")
PARTS = ("offset", "language", "left")
METRICS = (*RETRIEVAL, *PARTS, "pairs_matched", "pairs_all", "medoid")
_DRAWS = 20  # directions of the constant


def changes(
    before: Activations,
    after: Activations | Sequence[Activations],
    *,
    metrics=METRICS,
    seed: int = 0,
    levels: Mapping | None = None,
) -> pd.DataFrame:
    """table[layer, metric, before, after, change, low, high] of the same sentences, untouched and steered.

    Retrieval, mean over all ordered pairs, by the scores of `retrieval.scores`, which centre on the sentences scored;
    mixed: queries from the untouched model, candidates from the steered one; the `PARTS` of the change of top1, as in
    `steps`. low and high: the interval of the change over sentences. The others are mean cosine distances, as in
    `retrieval.distances`, with the untouched model's medoid and no interval. Of several `after` the mean is taken
    before sentences are resampled. `levels` of `before` save finding them again for each of many edits.
    """
    old, afters = levels or levels_of(before, metrics), [after] if isinstance(after, Activations) else after
    found, rows = [_pairs(before, one, metrics, seed, old) for one in afters], []
    for layer in before.layers:
        for metric in metrics:
            was, now = (np.mean(part, axis=0) for part in zip(*(pairs[layer, metric] for pairs in found)))
            paired = metric in (*RETRIEVAL, *PARTS)
            low, high = stats.mean_interval(now - was, seed=seed)[1:] if paired else (np.nan, np.nan)
            rows.append((layer, metric, np.mean(was), np.mean(now), np.mean(now) - np.mean(was), low, high))
    return pd.DataFrame(rows, columns=["layer", "metric", "before", "after", "change", "low", "high"])


def _pairs(before: Activations, after: Activations, metrics: Sequence[str], seed: int, old: Mapping) -> dict:
    """(layer, metric) -> what it was and is: top-1 of each sentence, or one distance."""
    new = levels_of(after, metrics, old)
    found = {key: (old[key], new[key]) for key in new if key in old}
    for layer in before.layers:
        states = before.parallel(layer), after.parallel(layer)
        if "mixed" in metrics:
            hits = retrieval.correct(states[0], candidates=states[1])
            found[layer, "mixed"] = old[layer, "top1"], retrieval.per_sentence(hits)
        if {*PARTS} & {*metrics}:
            moved = steps(*states, seed=seed)
            way = [old[layer, "top1"], *moved, new[layer, "top1"]]
            found |= {(layer, part): ends for part, ends in zip(PARTS, zip(way, way[1:]))}
    return found


def steps(before, after, *, seed: int = 0) -> np.ndarray:
    """Top-1 of each sentence [step, sentence] at two places between untouched and edited states, both [language, ...].

    First: one constant added to all untouched states, in a random direction and as long as the mean shift that the edit
    makes; mean of 20 directions. Second: each language's untouched states, moved by that language's own mean shift. So
    a gain falls exactly into three parts: offset (from the untouched states to the first: what any constant gives),
    language (from the first to the second: what the means of languages give beyond it) and left (from the second to the
    edited states: what no shift of a language explains). No model is run.
    """
    shift = after.double().mean(1) - before.double().mean(1)
    drawn = np.random.default_rng(seed).normal(size=(_DRAWS, 1, shift.shape[1]))
    constant = shift.mean(0).norm() * torch.nn.functional.normalize(torch.from_numpy(drawn).to(shift), dim=2)
    found = retrieval.moved(before, torch.cat([constant.expand(-1, len(shift), -1), shift[None]]))
    return np.stack([found[:-1].mean(0), found[-1]])


def levels_of(state: Activations, metrics: Sequence[str], like: Mapping | None = None) -> dict[tuple[int, str], Any]:
    """(layer, metric) -> top-1 of each sentence, or a mean distance; `like` are the levels whose medoids are taken."""
    levels, wanted = {}, [kind for kind in retrieval.SCORES if kind in metrics or kind == "top1"]
    for layer in state.layers:
        values = state.parallel(layer)
        for kind, hits in retrieval.scores(values, wanted).items():
            levels[layer, kind] = retrieval.per_sentence(hits)
        if {*metrics} - {*RETRIEVAL, *PARTS}:
            apart = retrieval.distances(values, state.languages, medoid=like and like[layer, "medoid of"])
            levels |= {(layer, name): mean for name, mean in apart.groupby("statistic").distance.mean().items()}
            levels[layer, "medoid of"] = apart.other.iloc[-1]
    return levels


def effects(
    lm: LanguageModel,
    table: pd.DataFrame,
    plans: Mapping,
    *,
    names: Sequence,
    metrics=METRICS,
    layers: Sequence[int] | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """The `changes` of every plan, table[*names, layer, metric, before, after, change, low, high].

    `plans` maps a key, one value for each of `names`, to a list of edits. `layers` as for `embed`.
    """
    before, found = activations.embed(lm, table, layers), {}
    levels = levels_of(before, metrics)
    for key, edits in progress(plans.items(), "steering"):
        with steered(lm, edits):
            after = activations.embed(lm, table, layers)
        found[key] = changes(before, after, metrics=metrics, seed=seed, levels=levels)
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
