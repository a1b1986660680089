"""Form and meaning layer by layer: the ABX profile of a model, of every checkpoint of a series, of a model under edits.

A profile is one long table, a row for every ordered pair of languages and one with an interval for every mean of pairs.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import product

import numpy as np
import pandas as pd

from helpers import models
from helpers.abx import scoring, variance
from helpers.abx.counting import PAIRWISE, Array, Names
from helpers.common import results, stats, store
from helpers.common.progress import progress
from helpers.embeddings import activations, retrieval
from helpers.embeddings.activations import Activations
from helpers.models.loading import LanguageModel
from helpers.steering import hooks
from helpers.world import planted

Groups = Mapping[str, str]  # language -> its family, or its script
POOLS = ("mean", "last")
ROOMS = ("abx", "common", "embeddings", "models")  # whose code makes what is stored


def closed_forms(*, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """table[noise, apart, variant, expected, counted]: `planted.line` in three settings, closed forms and counts; and
    table[weight, variant, expected, counted] of `planted.sliding`, where the shares of variance have a closed form.
    """
    rows, slid = [], []
    for noise, apart in [(0.3, 0.5), (0.5, 1.0), (1.0, 3.0)]:
        for variant, expected in planted.line_abx(noise, apart).items():
            space = planted.line(noise=noise, apart=0 if variant == "meaning" else apart, sentences=1000, seed=seed)
            counted = scoring.scores(space, ["p", "q"], [variant], distance="euclidean").accuracy.mean()
            rows.append((noise, apart, variant, expected, counted))
    for weight in np.linspace(0, 1, 11).round(1):
        space, parts = planted.sliding(weight, languages=24, seed=seed), np.array([(1 - weight) ** 2, weight**2, 0.25])
        found = {name: values.mean() for name, values in variance.shares(space).items()}
        found |= scoring.scores(space, range(24), PAIRWISE).groupby("variant", sort=False).accuracy.mean()
        expected = dict(zip(variance.SHARES, parts / parts.sum()))
        slid += [(weight, name, expected.get(name, np.nan), value) for name, value in found.items()]
    names = ["variant", "expected", "counted"]
    return pd.DataFrame(rows, columns=["noise", "apart", *names]), pd.DataFrame(slid, columns=["weight", *names])


def series(name: str, revision: str = "", most: int = 0) -> pd.DataFrame:
    """table[step, revision, subfolder] of the checkpoints to look at, in training order, thinned to `most` (0: all).

    The first and the last are kept. One row, with step 0, for a model that has no series or when a revision is named.
    """
    found = pd.DataFrame({"step": [0], "revision": [revision], "subfolder": [""]})
    with suppress(LookupError):
        found = found if revision else models.checkpoints(name)[[*found]]
    places = np.unique(np.linspace(len(found) - 1, 0, most or len(found)).round().astype(int))
    return found.iloc[places].reset_index(drop=True)


def over_checkpoints(score: Callable, plan: dict, model: str, revision: str, most: int, **how: str) -> pd.DataFrame:
    """`score(lm)` of every checkpoint of `series`, with the columns step and weights (a hash) in front.

    One model is in memory at a time, loaded with the options `how`, and its table is stored before the
    next comes, so a stopped run goes on at the next checkpoint. The key of a table in data/cache/abx holds the `plan`
    (data and parameters), the model's name, revision and hash of weights, and the code of ROOMS.
    """
    parts = {}
    for at in progress(list(series(model, revision, most).itertuples()), "checkpoints"):
        lm = models.load(model, at.revision, at.subfolder, **how)
        about = models.identity(lm)
        parts[at.step, about["weights"]] = store.cached("abx", {**about, **plan}, partial(score, lm), *ROOMS)
        del lm  # before the next one is loaded
    return _stacked(parts, "step", "weights")


def profile_series(table: pd.DataFrame, groups: Groups, n: int = 100, seed: int = 0, **at: str) -> pd.DataFrame:
    """`profile_model` of every checkpoint, with the columns step and weights; `at` is what `over_checkpoints` takes."""
    asked = {"groups": groups, "n": n, "seed": seed}
    plan = {"data": store.key(table.to_csv()), **asked}
    return over_checkpoints(partial(profile_model, table=table, **asked), plan, **at)


def profile_model(lm: LanguageModel, table: pd.DataFrame, groups: Groups, n: int = 100, seed: int = 0) -> pd.DataFrame:
    """`profile` of every layer of a model for each way of pooling, the first column."""
    parts = {pool: profile(activations.embed(lm, table, pool=pool), groups, n, seed) for pool in POOLS}
    return _stacked(parts, "pool")


def profile(states: Activations, groups: Groups, n: int = 100, seed: int = 0) -> pd.DataFrame:
    """table[layer, variant, pairs, p, q, accuracy, low, high] of PAIRWISE and `top1`, by cosine, and of `shares`.

    Rows whose `pairs` is "one" are ordered pairs p, q (in top1 the query is in q, as X of meaning is). The others are
    means over all pairs, or those within and across groups, with their interval over `n` resamples of the sentences.
    The accuracy of a share is the share.
    """
    languages, drawn, parts = states.languages, _draws(states, n, seed), {}
    for layer in states.layers:
        cells = _replicates(states.parallel(layer), languages, drawn)
        square = {name: values[0] for name, values in cells.items() if values.ndim == 3}
        pairs = [scoring.tabulated(values, languages, variant=name, pairs="one") for name, values in square.items()]
        means = _intervals(_means(cells, languages, groups)).assign(p="", q="")
        parts[layer] = pd.concat([*pairs, means])
    return _stacked(parts, "layer")


def controls(
    dev: Activations, test: Activations, groups: Groups, *, n: int = 100, seed: int = 0
) -> tuple[int, pd.DataFrame, pd.DataFrame]:
    """The layer above the embeddings that tells meaning best on `dev`, and what could fool its scores on `test`.

    table[variant, all, within, across] of all variants, plain, centred and with translations shuffled; and `leads`.
    """
    layer = max(
        dev.layers[1:] or dev.layers, key=lambda at: np.nanmean(scoring.meaning(dev.parallel(at), dev.languages))
    )
    values, languages, cells = test.parallel(layer), test.languages, {}
    for centre, note in {"none": "", "language": ", centred by language"}.items():
        found = scoring.accuracies(values, languages, scoring.VARIANTS, "cosine", centre)
        cells |= {variant + note: accuracy[None] for variant, accuracy in found.items()}
    cells["meaning, translations shuffled"] = scoring.null(values, languages, 10, seed=seed).mean(0)[None]
    variants = _means(cells, languages, groups).loc[0].unstack(sort=False).reset_index()
    return layer, variants, leads(test, layer, n=n, seed=seed)


def leads(states: Activations, layer: int, *, n: int = 100, seed: int = 0) -> pd.DataFrame:
    """table[triples, baseline, layer, accuracy, lead, low, high]: meaning at a layer less what each baseline tells.

    Baselines are layer 0 and `scoring.surface`; the interval is that of a paired difference over resampled sentences.
    Triples are all, or those whose A and B are of one length, of which length tells nothing; NaN where there are none.
    """
    languages, drawn, surface, rows = states.languages, _draws(states, n, seed), scoring.surface(states.table), []
    lengths = surface["length of the text"][1][..., 0]
    alike = lengths[:, None] == lengths[:, :, None]
    readers = {f"layer {at}": ("cosine", states.parallel(at)) for at in (layer, 0)} | surface
    for triples, pairs in {"all": np.ones_like(alike), "of one length": alike}.items():
        found = {
            name: np.nanmean(scoring.bootstrap(seen, languages, drawn, distance, pairs)["meaning"], (1, 2))
            for name, (distance, seen) in readers.items()
        }
        best = found.pop(f"layer {layer}")
        rows += [
            (triples, name, layer, x[0], *stats.interval(best[0] - x[0], best[1:] - x[1:])) for name, x in found.items()
        ]
    return pd.DataFrame(rows, columns=["triples", "baseline", "layer", "accuracy", "lead", "low", "high"])


def edited(
    lm: LanguageModel, before: Activations, groups: Groups, corpus: str, revision: str, run: str, **draws: int
) -> pd.DataFrame:
    """`effects` of one of each kind of the edits that notebook 02 saved; empty where there is no such run."""
    plans = {}
    with suppress(LookupError):
        plans = hooks.load(results.latest("edits.safetensors", corpus, lm.name, revision, run))
    return effects(lm, before, one_of_each(plans), groups, **draws)


def one_of_each(plans: Mapping[str, Sequence]) -> dict[str, Sequence]:
    """The last of each kind of saved edits: names that differ in nothing but their k or their block are one kind."""
    return {name: plans[name] for name in {re.split(r" (?:k=|block )", name)[0]: name for name in plans}.values()}


def effects(
    lm: LanguageModel, before: Activations, plans: Mapping[str, Sequence], groups: Groups, n: int = 100, seed: int = 0
) -> pd.DataFrame:
    """table[edit, variant, pairs, change, low, high, before, after] at the last layer, under each list of edits.

    `before` are the untouched states of the same sentences; the interval is that of a paired difference.
    """
    drawn, layer, languages, parts = _draws(before, n, seed), before.layers[-1], before.languages, {}
    old = _means(_replicates(before.parallel(layer), languages, drawn), languages, groups)
    for name, edits in progress(plans.items(), "edits"):
        with hooks.steered(lm, edits):
            after = activations.embed(lm, before.table[["language", "sentence", "text"]], [layer])
        new = _means(_replicates(after.parallel(layer), languages, drawn), languages, groups)
        ends = {"before": old.iloc[0].to_numpy(), "after": new.iloc[0].to_numpy()}
        parts[name] = _intervals(new - old).rename(columns={"accuracy": "change"}).assign(**ends)
    return _stacked(parts, "edit") if parts else pd.DataFrame()


def _stacked(parts: Mapping, *names: str) -> pd.DataFrame:
    """The tables one below the other, their keys in front as columns of these names."""
    return pd.concat(parts, names=names).droplevel(-1).reset_index()


def _draws(states: Activations, n: int, seed: int) -> np.ndarray:
    """Weights [draw, sentence]: first the sentences as they are, then `n` resamples."""
    return np.pad(stats.weights(len(states.sentences), n, seed), ((1, 0), (0, 0)), constant_values=1)


def _replicates(values: Array, languages: Names, drawn: np.ndarray) -> scoring.Shares:
    """Variant -> accuracies [draw, p, q] of PAIRWISE and top-1 retrieval, and shares of variance [draw]."""
    hits = retrieval.correct(values).swapaxes(0, 1)  # the query is in q
    cells = scoring.bootstrap(values, languages, drawn) | {"top1": np.tensordot(drawn, hits, (1, 2)) / drawn.shape[1]}
    return cells | variance.shares(values, drawn)


def _means(cells: scoring.Shares, languages: Names, groups: Groups) -> pd.DataFrame:
    """Means [draw x (variant, pairs)] over all pairs, and over those within and across groups where there are any.

    A share of variance is one number of all languages; there is none where all embeddings are equal.
    """
    if missing := sorted(set(languages) - set(groups)):
        raise LookupError(f"{len(missing)} languages have no group: {missing}; name one for each")
    kind = np.array([groups[language] for language in languages])
    kin, other = kind[:, None] == kind, ~np.eye(len(kind), dtype=bool)
    masks = {"all": other, "within": kin & other, "across": ~kin}
    kept = product(cells.items(), ((pairs, mask) for pairs, mask in masks.items() if mask.any()))
    means = {(variant, pairs): values[:, mask].mean(1) for (variant, values), (pairs, mask) in kept if values.ndim == 3}
    means |= {
        (variant, "all"): values for variant, values in cells.items() if values.ndim == 1 and values[0] == values[0]
    }
    return pd.DataFrame(means).rename_axis(columns=["variant", "pairs"])


def _intervals(draws: pd.DataFrame) -> pd.DataFrame:
    """table[variant, pairs, accuracy, low, high] from draws, the first of which is the estimate."""
    estimate, low, high = stats.interval(draws.iloc[0].to_numpy(), draws.iloc[1:])
    return draws.columns.to_frame(index=False).assign(accuracy=estimate, low=low, high=high)
