"""Methods side by side: what each gains in retrieval, and what it costs in perplexity, text and time."""

import time
import warnings
from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import pandas as pd
from scipy.stats import gmean

from helpers.common.progress import progress
from helpers.corpora.loading import first
from helpers.embeddings import activations, retrieval
from helpers.models.loading import LanguageModel
from helpers.steering import generation, measuring, methods
from helpers.steering.fitting import Fitting
from helpers.steering.hooks import steered
from helpers.world.worlds import World

_READ = 12  # sentences of each language whose perplexity is taken
_STRENGTHS = (0.5, 1.0)
_METRICS = ("top1", "centred", "pairs_matched")


def catalogue(
    fitting: Fitting, toward: str, ks: Sequence[int], blocks: Sequence[int], *, seed: int = 0
) -> dict[tuple[str, str], list]:
    """(method, setting) -> edits: every method at a few settings, and controls of the strongest.

    What this model or corpus does not allow is left out, and named in a warning.
    """
    made, shown = {}, dict(k="k={k}", block="block {block}", rank="rank {rank}")
    for label, name, options in _plans(ks, blocks, len(fitting.languages) - 1):
        setting = ", ".join(text for part, text in shown.items() if part in options).format(**options) or "all"
        try:
            made[label, setting] = methods.fit(name, fitting, toward, seed=seed, **options)
        except ValueError as error:
            warnings.warn(f"{label} {setting} is left out: {error}", stacklevel=2)
    return made


def _plans(ks: Sequence[int], blocks: Sequence[int], full: int) -> list[tuple[str, str, dict]]:
    """(label, method, options of `methods.fit`); `full` is the rank of the span of the language means."""
    few, many, last = dict(k=ks[len(ks) // 2]), dict(k=ks[-1]), dict(block=blocks[-1], rank=full)
    plans = [("overwrite", "overwrite", dict(k=k)) for k in ks]
    plans += [
        ("overwrite, random units", "overwrite", few | dict(control="random")),
        ("overwrite with zero", "overwrite", few | dict(value="zero")),
        ("damp", "damp", many),
        ("AurA", "aura", {}),
        *((f"{kind} transport", f"{kind}_transport", many) for kind in ("mean", "gaussian", "linear")),
        ("LAPE", "lape", few),
    ]
    for at in (dict(block=block) for block in blocks):
        plans += [("DiffMean", "diffmean", at), ("LEACE", "leace", at)]
        plans += [("erase", "erase", at | dict(rank=rank)) for rank in sorted({min(4, full), full})]
    controls = {"random": "random", "top-variance": "topvariance", "shuffled-label": "shuffled"}
    return plans + [(f"{name} subspace", "erase", last | dict(control=control)) for name, control in controls.items()]


def compare(
    lm: LanguageModel, table: pd.DataFrame, plans: Mapping, toward: str, *, samples: int, lexicon=None, seed: int = 0
) -> pd.DataFrame:
    """table[method, setting, strength, top1, gain, low, high, centred, distance, perplexity, share, cost, frontier].

    The untouched model comes first. Retrieval and distance are those of the last layer; gain is the paired change of
    top1 with its interval over sentences. Perplexity is of the table's first texts, geometric mean over languages (NaN
    for an encoder), share of `samples` generated texts (NaN without); cost is the time of embedding the table over the
    untouched model's, once each.
    """
    before, rows = activations.embed(lm, table, [-1]), []
    levels = measuring.levels_of(before, _METRICS)
    for key, edits in progress({("untouched", ""): [], **plans}.items(), "methods"):
        for strength in _STRENGTHS if edits else [0.0]:
            with steered(lm, edits, strength):
                start = time.perf_counter()
                after = activations.embed(lm, table, [-1])
                seconds = time.perf_counter() - start
                cost = generation.perplexity(lm, first(table, _READ)).perplexity if generation.writes(lm) else np.nan
                price = gmean(cost), _share(lm, table, toward, samples, lexicon, seed)
            found = measuring.changes(before, after, metrics=_METRICS, seed=seed, levels=levels).set_index("metric")
            top = found.loc["top1", ["after", "change", "low", "high"]]
            rows.append((*key, strength, *top, *found.after[["centred", "pairs_matched"]], *price, seconds))
    columns = ["top1", "gain", "low", "high", "centred", "distance", "perplexity", "share", "cost"]
    made = pd.DataFrame(rows, columns=["method", "setting", "strength", *columns])
    return made.assign(cost=made.cost / made.cost[0], frontier=frontier(made))


def frontier(table: pd.DataFrame) -> pd.Series:
    """Whether no other row beats a row in both retrieval and perplexity."""
    cheapest = table.sort_values(["perplexity", "top1"], ascending=[True, False]).top1
    return (cheapest > cheapest.cummax().shift(fill_value=-np.inf)).reindex(table.index)


def written(
    lm: LanguageModel, table: pd.DataFrame, plans: Mapping, toward: str, *, samples: int, lexicon=None, seed: int = 0
) -> pd.DataFrame:
    """table[k, share, own, others]: what the model writes under the edits of each k; empty for an encoder.

    share: of generated text in the language steered to, as `generation.share`; own, others: perplexity of held-out text
    in that language and, geometric mean, in the others.
    """
    rows = []
    for k, edits in progress(plans.items(), "writing") if generation.writes(lm) else ():
        with steered(lm, edits):
            share = _share(lm, table, toward, samples, lexicon, seed)
            cost = generation.perplexity(lm, table).set_index("language").perplexity
        rows.append((k, share, cost[toward], gmean(cost.drop(toward))))
    return pd.DataFrame(rows, columns=["k", "share", "own", "others"])


def paraphrased(
    lm: LanguageModel, table: pd.DataFrame, plans: Mapping[str, Sequence], world: World | None
) -> pd.DataFrame:
    """table[edit, language, layer, top1]: how often a sentence finds its own paraphrase among those of its language.

    Chance is one over the number of sentences that have a paraphrase. Empty for a corpus that is no world.
    """
    rows, columns, keys = [], ["edit", "language", "layer", "top1"], ["language", "sentence"]
    if not world:
        return pd.DataFrame(columns=columns)
    others = world.sentences(list(table.language.unique()), paraphrase=True)
    both = table[[*keys, "text"]].merge(others, on=keys, suffixes=("", "_other"))
    for edit, edits in plans.items():
        with steered(lm, edits):
            states = [activations.embed(lm, both.assign(text=both[kind])) for kind in ("text", "text_other")]
        for language, layer in product(states[0].languages, states[0].layers):
            own = (part.where(language=language).layer(layer) for part in states)
            rows.append((edit, language, layer, retrieval.top1(*own)))
    return pd.DataFrame(rows, columns=columns)


def _share(lm: LanguageModel, table: pd.DataFrame, toward: str, samples: int, lexicon, seed: int) -> float:
    """Share of generated text in the language steered to; NaN where none is asked for, or the model writes nothing."""
    if not samples or not generation.writes(lm):
        return np.nan
    texts = generation.sample(lm, samples, seed=seed, max_tokens=24).text
    return generation.share(texts, toward, table, lexicon)
