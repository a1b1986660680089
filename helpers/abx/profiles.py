"""Form and meaning layer by layer: the ABX profile of a model, of every checkpoint of a series, of a model under edits.

One profile is one long table: a row for every ordered pair of languages, and a row with an interval for every mean over
pairs, so that curves, heatmaps and matrices are all cut from it.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd

from helpers import models
from helpers.abx import scoring
from helpers.abx.counting import Array
from helpers.common import stats
from helpers.common.progress import progress
from helpers.embeddings import activations, retrieval
from helpers.embeddings.activations import Activations
from helpers.models.loading import LanguageModel
from helpers.steering.hooks import steered
from helpers.world import planted

VARIANTS = ("meaning", "form")
SURFACE = {"length of the text": ("length", "euclidean"), "3-grams of characters": ("ngrams", "cosine")}
KEYS = ["layer", "variant", "pairs", "p", "q"]
POOLS = {"mean": "mean of the tokens", "last": "last token"}


def closed_forms(*, seed: int = 0) -> pd.DataFrame:
    """table[noise, apart, variant, expected, counted]: `planted.line` in three settings, closed forms and counts."""
    rows = []
    for noise, apart in [(0.3, 0.5), (0.5, 1.0), (1.0, 3.0)]:
        for variant, expected in planted.line_abx(noise, apart).items():
            space = planted.line(noise=noise, apart=0 if variant == "meaning" else apart, sentences=1000, seed=seed)
            counted = scoring.scores(space, ["p", "q"], [variant], distance="euclidean").accuracy.mean()
            rows.append((noise, apart, variant, expected, counted))
    return pd.DataFrame(rows, columns=["noise", "apart", "variant", "expected", "counted"])


def series(name: str, revision: str = "", most: int = 0) -> pd.DataFrame:
    """table[step, revision, subfolder] of the checkpoints to look at, in training order, thinned to `most` (0: all).

    The first and the last are kept. One row, with step 0, for a model that has no series or when a revision is named.
    """
    alone = pd.DataFrame({"step": [0], "revision": [revision], "subfolder": [""]})
    try:
        found = alone if revision else models.checkpoints(name)[["step", "revision", "subfolder"]]
    except LookupError:
        return alone
    places = np.unique(np.linspace(len(found) - 1, 0, most or len(found)).round().astype(int))
    return found.iloc[places].reset_index(drop=True)


def over(series: pd.DataFrame, load: Callable, score: Callable, keep: Callable, plan: Mapping) -> pd.DataFrame:
    """`score(lm)` of every checkpoint of `series`, with the columns step and weights (a hash) in front.

    `load(revision, subfolder)` gives a model; one is in memory at a time. `keep(about, compute)` returns what it holds
    for `about` (the identity of the model and the `plan`), or computes and stores it: so a stopped run goes on at the
    next checkpoint.
    """
    parts = []
    for at in progress(list(series.itertuples()), "checkpoints"):
        lm = load(at.revision, at.subfolder)
        about = {**models.identity(lm), **plan}
        found = keep(about, partial(score, lm))
        del lm  # before the next one is loaded
        parts.append(found.assign(step=at.step, weights=about["weights"]))
    found = pd.concat(parts, ignore_index=True)
    return found[["step", "weights", *found.columns[:-2]]]


def measure(states: Activations, groups: Mapping[str, str], *, n: int = 100, seed: int = 0) -> pd.DataFrame:
    """table[layer, variant, pairs, p, q, accuracy, low, high] of `meaning`, `form` and `top1`, by cosine.

    Rows whose `pairs` is "one" are ordered pairs p, q (in top1 the query is in q, as X of meaning is). The others are
    means over all pairs, or those within and across `groups` (language -> family, say), with their 95 % interval over
    `n` resamples of the sentences; their p and q are empty.
    """
    drawn, parts = _draws(len(states.sentences), n, seed), []
    for layer in states.layers:
        values = states.parallel(layer)
        pairs = scoring.scores(values, states.languages, VARIANTS)
        hits = retrieval.correct(values)  # [query, candidate, sentence]
        rank = {name: place for place, name in enumerate(states.languages)}
        found = pairs[pairs.variant == "form"].assign(variant="top1")
        found["accuracy"] = hits.mean(-1)[found.q.map(rank), found.p.map(rank)]
        means = _means(_replicates(values, hits, states.languages, groups, drawn)).assign(p="", q="")
        parts.append(pd.concat([pd.concat([pairs, found]).assign(pairs="one"), means]).assign(layer=layer))
    return pd.concat(parts, ignore_index=True)[[*KEYS, "accuracy", "low", "high"]]


def of_model(
    lm: LanguageModel,
    table: pd.DataFrame,
    groups: Mapping[str, str],
    pools: Sequence[str] = tuple(POOLS),
    *,
    n: int = 100,
    seed: int = 0,
) -> pd.DataFrame:
    """`measure` of every layer of a model for each way of pooling: table[pool, layer, variant, pairs, p, q, ...]."""
    parts = []
    for pool in pools:
        found = measure(activations.embed(lm, table, pool=pool), groups, n=n, seed=seed)
        parts.append(found.assign(pool=pool))
    return pd.concat(parts, ignore_index=True)[["pool", *KEYS, "accuracy", "low", "high"]]


def surface(table: pd.DataFrame, groups: Mapping[str, str], *, n: int = 100, seed: int = 0) -> pd.DataFrame:
    """table[baseline, variant, pairs, accuracy, low, high] of what the characters of the texts alone give away."""
    languages, parts = list(table["language"].unique()), []
    for name, (kind, distance) in SURFACE.items():
        seen = scoring.surface(table, kind)
        found = scoring.bootstrap(
            seen, languages, _draws(seen.shape[1], n, seed), VARIANTS, distance=distance, groups=groups
        )
        parts.append(_means(_wide(found)).assign(baseline=name))
    return pd.concat(parts, ignore_index=True)[["baseline", "variant", "pairs", "accuracy", "low", "high"]]


def variants(states: Activations, groups: Mapping[str, str], layer: int) -> pd.DataFrame:
    """table[variant, all, within, across] of one layer: every named variant, plain and with language means removed."""
    parts = []
    for centre, note in {"none": "", "language": ", centred by language"}.items():
        scores = scoring.scores(states.parallel(layer), states.languages, scoring.VARIANTS, centre=centre)
        kin = scores.p.map(groups) == scores.q.map(groups)
        rows = pd.concat([scores.assign(pairs="all"), scores.assign(pairs=np.where(kin, "within", "across"))])
        parts.append(rows.assign(variant=rows.variant + note))
    wide = pd.concat(parts).pivot_table(index="variant", columns="pairs", values="accuracy", sort=False)
    return wide.rename_axis(columns=None).reset_index()


def one_of_each(plans: Mapping[str, Sequence]) -> dict[str, Sequence]:
    """The last of each kind of saved edits: names that differ in nothing but their k or their block are one kind."""
    return {name: plans[name] for name in {re.split(r" (?:k=|block )", name)[0]: name for name in plans}.values()}


def edited(
    lm: LanguageModel,
    before: Activations,
    plans: Mapping[str, Sequence],
    groups: Mapping[str, str],
    *,
    n: int = 100,
    seed: int = 0,
) -> pd.DataFrame:
    """table[edit, variant, pairs, before, after, change, low, high] at the last layer, under each list of edits.

    `before` are the untouched states of the same sentences. Both sides resample the same sentences, so the interval is
    that of a paired difference.
    """
    drawn, layer = _draws(len(before.sentences), n, seed), before.layers[-1]
    languages, parts = before.languages, []
    old = _replicates(before.parallel(layer), retrieval.correct(before.parallel(layer)), languages, groups, drawn)
    for name, edits in progress(plans.items(), "edits"):
        with steered(lm, edits):
            after = activations.embed(lm, before.table[["language", "sentence", "text"]], [layer]).parallel(layer)
        new = _replicates(after, retrieval.correct(after), languages, groups, drawn)
        rows = _means(new - old).rename(columns={"accuracy": "change"})
        parts.append(rows.assign(edit=name, before=old[0].to_numpy(), after=new[0].to_numpy()))
    columns = ["edit", "variant", "pairs", "before", "after", "change", "low", "high"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def change(table: pd.DataFrame, keys: Sequence[str], *, over: str = "step") -> pd.DataFrame:
    """table[*keys, first, last, change, low, high]: accuracy at the first and the last value of `over`.

    The interval takes the far ends of both, so it is wider than one of paired replicates would be.
    """
    ends = table[over].min(), table[over].max()
    first, last = (table[table[over] == end].set_index(list(keys)) for end in ends)
    found = pd.DataFrame({"first": first.accuracy, "last": last.accuracy})
    found["change"] = last.accuracy - first.accuracy
    found["low"], found["high"] = last.low - first.high, last.high - first.low
    return found.reset_index()


def _draws(sentences: int, n: int, seed: int) -> np.ndarray:
    """Weights [draw, sentence]: first the sentences as they are, then `n` resamples."""
    return np.concatenate([np.ones((1, sentences), int), stats.weights(sentences, n, seed)])


def _replicates(
    values: Array, hits: np.ndarray, languages: Sequence[str], groups: Mapping[str, str], drawn: np.ndarray
) -> pd.DataFrame:
    """Means over pairs [(variant, pairs) x draw] of meaning, form and, from `alignment.correct`, top-1 retrieval."""
    found = _wide(scoring.bootstrap(values, languages, drawn, VARIANTS, groups=groups))
    kind = np.array([groups[language] for language in languages])
    kin, other = kind[:, None] == kind, ~np.eye(len(kind), dtype=bool)
    masks = {"all": other, "within": kin & other, "across": ~kin}
    top1 = {("top1", pairs): drawn @ hits[masks[pairs]].mean(0) for pairs in found.index.unique("pairs")}
    top1 = pd.DataFrame(top1, columns=pd.MultiIndex.from_tuples(top1, names=found.index.names)).T
    return pd.concat([found, top1 / drawn.shape[1]])


def _wide(found: pd.DataFrame) -> pd.DataFrame:
    return found.pivot_table(index=["variant", "pairs"], columns="replicate", values="accuracy", sort=False)


def _means(replicates: pd.DataFrame) -> pd.DataFrame:
    """table[variant, pairs, accuracy, low, high] from draws, the first of which is the estimate."""
    estimate, low, high = stats.interval(replicates[0], replicates.drop(columns=0).T)
    return replicates.index.to_frame(index=False).assign(accuracy=estimate.to_numpy(), low=low, high=high)
