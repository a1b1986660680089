"""Methods side by side: what each gains in retrieval and what it costs in perplexity, text and time.

The frontier of the two decides between methods; one number alone never does.
"""

import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import partial

import numpy as np
import pandas as pd

from helpers import corpora
from helpers.common.progress import progress
from helpers.embeddings import activations, retrieval
from helpers.embeddings.activations import Activations
from helpers.models.loading import LanguageModel
from helpers.steering import effects, generation, methods
from helpers.steering.fitting import Fitting
from helpers.steering.hooks import steered

_READ = 12  # sentences of each language whose perplexity is taken
_METRICS = ("top1", "centred", "pairs_matched")


def catalogue(ks: Sequence[int], blocks: Sequence[int], *, rank: int) -> dict[tuple[str, str], dict]:
    """(method, setting) -> options of `methods.fit`: every method at a few settings, and controls of the strongest."""
    few, many = ks[len(ks) // 2], ks[-1]
    plans = {("overwrite", f"k={k}"): dict(name="overwrite", k=k) for k in ks}
    plans |= {("overwrite, random units", f"k={few}"): dict(name="overwrite", k=few, control="random")}
    plans |= {("overwrite with zero", f"k={few}"): dict(name="overwrite", k=few, value="zero")}
    plans |= {("damp", f"k={many}"): dict(name="damp", k=many), ("AurA", "all"): dict(name="aura")}
    for kind in ("mean", "gaussian", "linear"):
        plans |= {(f"{kind} transport", f"k={many}"): dict(name=f"{kind}_transport", k=many)}
    plans |= {("LAPE", f"k={few}"): dict(name="lape", k=few)}
    for block in blocks:
        plans |= {("DiffMean", f"block {block}"): dict(name="diffmean", block=block)}
        plans |= {("LEACE", f"block {block}"): dict(name="leace", block=block)}
        for size in sorted({min(4, rank), rank}):
            plans |= {("erase", f"block {block}, rank {size}"): dict(name="erase", block=block, rank=size)}
    last = dict(name="erase", block=blocks[-1], rank=rank)
    for control, name in {"random": "random", "topvariance": "top-variance", "shuffled": "shuffled-label"}.items():
        plans |= {(f"{name} subspace", f"block {blocks[-1]}, rank {rank}"): last | dict(control=control)}
    return plans


def fitted(fitting: Fitting, plans: Mapping[tuple, dict], toward: str, *, seed: int = 0) -> dict[tuple, list]:
    """The edits of each plan; a plan that this model or corpus does not allow is left out, and named in a warning."""
    made = {}
    for key, options in plans.items():
        try:
            made[key] = methods.fit(toward=toward, fitting=fitting, seed=seed, **options)
        except ValueError as error:
            warnings.warn(f"{' '.join(key)} is left out: {error}", stacklevel=2)
    return made


def compare(
    lm: LanguageModel,
    table: pd.DataFrame,
    plans: Mapping[tuple, Sequence],
    *,
    before: Activations,
    strengths: Sequence[float] = (0.5, 1.0),
    toward: str = "",
    samples: int = 0,
    lexicon: pd.DataFrame | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """table[method, setting, strength, top1, gain, low, high, centred, distance, perplexity, share, cost].

    The untouched model comes first. Retrieval and the distance between translations are those of the last layer, after
    every edit; gain is the paired change of top1 with its interval over sentences. Perplexity is of the table's first
    texts, geometric mean over languages (NaN for an encoder); share is that of `samples` generated texts in the
    language `toward` (NaN without); cost is the time of embedding the table over the untouched model's, once each.
    """
    last = before.where(language=before.languages)
    last = Activations(last.values[:, -1:], last.table, last.layers[-1:])
    speaks = partial(_share, toward=toward, samples=samples, lexicon=lexicon, seed=seed)
    levels = effects.levels_of(last, _METRICS)
    base = _row(lm, table, last, levels, seed)
    rows = [("untouched", "", 0.0, *base[:-1], speaks(lm, table), 1.0)]
    for (method, setting), edits in progress(plans.items(), "methods"):
        for strength in strengths:
            with steered(lm, edits, strength):
                (*found, seconds), share = _row(lm, table, last, levels, seed), speaks(lm, table)
            rows.append((method, setting, strength, *found, share, seconds / base[-1]))
    columns = ["top1", "gain", "low", "high", "centred", "distance", "perplexity", "share", "cost"]
    return pd.DataFrame(rows, columns=["method", "setting", "strength", *columns])


def frontier(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that no other row beats in both retrieval and perplexity, cheapest first."""
    kept, best = [], -np.inf
    for row in table.sort_values(["perplexity", "top1"], ascending=[True, False]).itertuples():
        if row.top1 > best:
            kept, best = [*kept, row.Index], row.top1
    return table.loc[kept]


def lexicon(corpus: str) -> pd.DataFrame | None:
    """The words of a world's languages; None for any other corpus, whose languages py3langid tells apart."""
    world = corpora.world_of(corpus)
    return world.lexicon() if world else None


def written(
    lm: LanguageModel,
    table: pd.DataFrame,
    plans: Mapping[int, Sequence],
    toward: str,
    *,
    samples: int,
    lexicon: pd.DataFrame | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """table[k, share, own, others]: what the model writes from an empty prompt under the edits of each k.

    share: of generated text in the language steered to, by the `lexicon` of a world or by py3langid; own, others:
    perplexity of held-out text in that language and, geometric mean, in the others. Empty for an encoder.
    """
    columns, rows = ["k", "share", "own", "others"], []
    if not generation.writes(lm):
        return pd.DataFrame(columns=columns)
    for k, edits in progress(plans.items(), "writing"):
        with steered(lm, edits):
            share = _share(lm, table, toward, samples, lexicon, seed)
            cost = generation.perplexity(lm, table).set_index("language").perplexity
        rows.append((k, share, cost[toward], float(np.exp(np.log(cost.drop(toward)).mean()))))
    return pd.DataFrame(rows, columns=columns)


def paraphrased(lm: LanguageModel, table: pd.DataFrame, plans: Mapping[tuple, Sequence], corpus: str) -> pd.DataFrame:
    """table[edit, language, layer, top1]: how often a sentence finds its own paraphrase among those of its language.

    Only for sentences of a world that have one; chance is one over their number. Empty for any other corpus.
    """
    world, columns, rows = corpora.world_of(corpus), ["edit", "language", "layer", "top1"], []
    if world is None:
        return pd.DataFrame(columns=columns)
    others = world.sentences(list(table.language.unique()), paraphrase=True)
    both = table[["language", "sentence", "text"]].merge(others, on=["language", "sentence"], suffixes=("", "_other"))
    for (edit,), edits in plans.items():
        with steered(lm, edits) if edits else nullcontext():
            here, there = (activations.embed(lm, both.assign(text=both[kind])) for kind in ("text", "text_other"))
        for language in both.language.unique():
            pair = here.where(language=language), there.where(language=language)
            found = (retrieval.top1(*(part.layer(layer) for part in pair)) for layer in here.layers)
            rows += [(edit, language, layer, top1) for layer, top1 in zip(here.layers, found)]
    return pd.DataFrame(rows, columns=columns)


def _share(lm: LanguageModel, table: pd.DataFrame, toward: str, samples: int, lexicon, seed: int) -> float:
    """Share of generated text in the language steered to; NaN where none is asked for, or the model writes nothing."""
    if not samples or not generation.writes(lm):
        return float("nan")
    texts = generation.sample(lm, samples, seed=seed, max_tokens=24).text
    return generation.share(texts, toward, table, lexicon)


def _row(lm: LanguageModel, table: pd.DataFrame, before: Activations, levels: Mapping, seed: int) -> tuple:
    """(top1, gain, low, high, centred, distance, perplexity, seconds) of the model as it is now."""
    start = time.perf_counter()
    after = activations.embed(lm, table, before.layers)
    seconds = time.perf_counter() - start
    found = effects.measure(before, after, metrics=_METRICS, seed=seed, levels=levels).set_index("metric")
    top = found.loc["top1"]
    read = corpora.first(table, _READ)
    cost = generation.perplexity(lm, read).perplexity if generation.writes(lm) else pd.Series([np.nan])
    numbers = (top.after, top.change, top.low, top.high, found.after["centred"], found.after["pairs_matched"])
    return (*numbers, float(np.exp(np.log(cost).mean())), seconds)
