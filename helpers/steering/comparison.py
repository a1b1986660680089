"""Methods side by side: what each gains in retrieval, and what it costs in perplexity, text and time."""

import warnings
from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import pandas as pd
import torch
from scipy.stats import gmean

from helpers.common.progress import progress
from helpers.corpora.loading import first
from helpers.embeddings import activations, retrieval
from helpers.embeddings.activations import Activations
from helpers.models.loading import LanguageModel
from helpers.steering import generation, measuring, methods
from helpers.steering.fitting import Fitting
from helpers.steering.hooks import steered
from helpers.world.worlds import World

_READ = 50  # sentences of each language whose perplexity is taken
_MASKED = 10  # the same for a pseudo-perplexity, which takes a pass for each token
_NEUTRAL = ("erase", "LEACE")
_METRICS = ("top1", "global", "centred", *measuring.PARTS, "pairs_matched")


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
        ("overwrite, random at own means", "overwrite", few | dict(control="random_own")),
        ("overwrite with mean of tokens", "overwrite", few | dict(value="mean_token")),
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
    lm: LanguageModel, splits: Sequence[pd.DataFrame], plans: Mapping[str, Mapping], *, texts: pd.DataFrame,
    posthoc: Activations, samples: int, lexicon=None, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """table[method, setting, on_dev, perplexity, neighbours, share, top1, gain_top1, ..., chosen, frontier].

    `splits` are sentences to choose on and sentences to report on, `plans` maps each language steered to to its
    `catalogue`; all values are means over these languages, and the untouched model comes first. on_dev: globally
    centred top-1, by whose maximum one row is `chosen`. Of the last layer on the second split: the level of top1,
    global and centred, and gain_*, low_*, high_* of these and of the `measuring.PARTS`, with intervals over sentences;
    for the chosen row also over_posthoc, low_posthoc, high_posthoc, its globally centred top-1 less that of `posthoc`.
    Steered to the first language: perplexity, of 50 `texts` a language or, masked, of ten (`generation.price`);
    neighbours: `kept`; share: of `samples` texts in the language steered to.
    """
    test = splits[1]
    befores = [activations.embed(lm, table, [-1]) for table in splits]
    (layer,), levels = befores[1].layers, measuring.levels_of(befores[1], _METRICS)
    keys = [key for key in next(iter(plans.values())) if all(key in made for made in plans.values())]
    rows, states = [], {}
    for key in [("untouched", ""), *progress(keys, "methods")]:
        rows.append(dict(zip(("method", "setting"), key)))
        afters, on_dev, prices = [], [], []
        for toward, made in plans.items():
            with steered(lm, made.get(key, [])):
                early, after = (activations.embed(lm, table, [-1]) for table in splits)
                if not prices:
                    price = generation.price(lm, first(texts, _READ if generation.writes(lm) else _MASKED))
                    prices = [price, kept(befores[1], after), _share(lm, test, toward, samples, lexicon, seed)]
            afters.append(after)
            on_dev.append(measuring.levels_of(early, ["global"])[layer, "global"].mean())
            if key[0] in ("untouched", *_NEUTRAL):
                break  # they steer to no language
        states[key] = afters
        found = measuring.changes(befores[1], afters, metrics=_METRICS, seed=seed, levels=levels).set_index("metric")
        rows[-1] |= dict(zip(("on_dev", "perplexity", "neighbours", "share"), (np.mean(on_dev), *prices)))
        rows[-1] |= found.after[[*_METRICS[:3], "pairs_matched"]].to_dict()
        for metric in _METRICS[:-1]:
            rows[-1] |= dict(zip((f"gain_{metric}", f"low_{metric}", f"high_{metric}"), found.iloc[:, -3:].loc[metric]))
    made = pd.DataFrame(rows)
    own = ~made.method.str.contains("random|shuffled|variance")  # a control is not chosen
    made["chosen"] = made.index == made[own].on_dev[1:].idxmax()
    best = states[tuple(made.loc[made.chosen, ["method", "setting"]].iloc[0])]
    level = Activations(posthoc.values[:, -1:], posthoc.table, [layer])
    over = measuring.changes(level, best, metrics=["global"], seed=seed).iloc[0]
    made.loc[made.chosen, ["over_posthoc", "low_posthoc", "high_posthoc"]] = [over.change, over.low, over.high]
    made["price"] = made.perplexity if made.perplexity.notna().any() else 1 - made.neighbours
    return made.assign(frontier=frontier(made.price, made["global"]))


def kept(before: Activations, after: Activations, count: int = 10) -> float:
    """The mean share of a sentence's `count` nearest of its own language, by cosine in the last layer, that stay."""
    near = []
    for states in (before, after):
        unit = torch.nn.functional.normalize(states.parallel(states.layers[-1]), dim=2)
        cosines = unit @ unit.mT - 2 * torch.eye(unit.shape[1])
        near.append(cosines.topk(min(count, unit.shape[1] - 1)).indices)
    return (near[0][..., :, None] == near[1][..., None, :]).any(-1).float().mean().item()


def frontier(price: pd.Series, top1: pd.Series) -> pd.Series:
    """Whether no other row beats a row in both price and retrieval."""
    cheapest = top1[pd.DataFrame(dict(price=price, less=-top1)).sort_values(["price", "less"]).index]
    return (cheapest > cheapest.cummax().shift(fill_value=-np.inf)).reindex(top1.index)


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
