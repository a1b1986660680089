"""Experts: the units whose response to a sentence tells its language.

A unit's responses are ranked once, and the AUROC and the average precision of every language are read from that one
ranking, exactly, ties included. Sites stream through, so that only scores are kept.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from helpers.common.lookup import known
from helpers.steering import sorting

_CHUNK = 1024  # units ranked at a time


def scores(responses, labels) -> dict[str, pd.DataFrame]:
    """auroc and average_precision [language x unit] of each unit for each language against the rest, from one ranking.

    `responses` [sentence, unit] is any array (quickest as the transpose of [unit, sentence] storage), `labels` the
    language of each row. Definitions as in scikit-learn: tied responses share a threshold, so a constant unit has AUROC
    0.5 and average precision equal to the language's share.
    """
    languages, codes = _languages(responses, labels)
    ranks, precision = sorting.sums(responses, codes, len(languages))
    size = np.bincount(codes)
    both = {"auroc": sorting.area(ranks, size, len(codes)), "average_precision": precision / size}
    index, columns = pd.Index(languages, name="language"), pd.RangeIndex(len(ranks), name="unit")
    return {name: pd.DataFrame(values.T, index, columns) for name, values in both.items()}


def auroc(responses, labels) -> pd.DataFrame:
    """AUROC [language x unit] of each unit's response as a score for each language against the rest; see `scores`."""
    return scores(responses, labels)["auroc"]


def average_precision(responses, labels) -> pd.DataFrame:
    """Average precision [language x unit] of each unit's response for each language against the rest; see `scores`."""
    return scores(responses, labels)["average_precision"]


def top(k: int, responses: Mapping, labels, *, score: str = "auroc") -> pd.DataFrame:
    """table[language, rank, site, unit, auroc, average_precision, effect, ties] of the k units of highest `score`.

    `responses` maps site to [sentence, unit]; score is auroc or average_precision. effect: standardised mean
    difference; ties: units of the model with the score of the last one chosen. Order: score, then effect, then site in
    the order of the mapping, then unit.
    """
    units = sum(array.shape[1] for array in responses.values())
    if not 1 <= k <= units:
        raise ValueError(f"k = {k} but the {len(responses)} sites hold {units} units; take k from 1 to {units}")
    found = pd.concat(
        [_candidates(site, array, labels, k, score) for site, array in responses.items()], ignore_index=True
    )
    parts = []
    for _, part in found.groupby("language", sort=False):
        last = part[score].nlargest(k).iloc[-1]
        part = part[part[score] >= last].assign(ties=(part[score] == last).sum())
        part = part.join(_effects(part, responses, labels))
        part = part.sort_values([score, "effect"], ascending=False).head(k)  # equals stay by site and unit
        parts.append(part.assign(rank=range(1, k + 1)))
    columns = ["language", "rank", "site", "unit", "auroc", "average_precision", "effect", "ties"]
    return pd.concat(parts, ignore_index=True)[columns].astype({"language": object})


def values(responses: Mapping, labels, experts: pd.DataFrame) -> pd.DataFrame:
    """The experts with what they answer to their own language: value_mean, value_median, value_p90 over its sentences.

    These are the values that interventions write into the units.
    """
    parts = []
    for rows, own, _ in _answers(experts, responses, labels):
        middle, high = np.percentile(own, [50, 90], axis=0)
        parts.append(pd.DataFrame(dict(value_mean=own.mean(0), value_median=middle, value_p90=high), rows.index))
    return experts.join(pd.concat(parts))


def heldout(experts: pd.DataFrame, responses: Mapping, labels) -> pd.DataFrame:
    """The experts with auroc_heldout, their AUROC on the given responses: sentences that did not choose them."""
    parts = []
    for site, part in experts.groupby("site", sort=False):
        units = part["unit"].unique()
        table = auroc(responses[site][:, units], labels).set_axis(units, axis=1).stack()
        parts.append(table.loc[pd.MultiIndex.from_frame(part[["language", "unit"]])].set_axis(part.index))
    return experts.join(pd.concat(parts).rename("auroc_heldout"))


def tested(
    k: int, fit: tuple[Mapping, Sequence], test: tuple[Mapping, Sequence], *, permutations: int, seed: int = 0
) -> pd.DataFrame:
    """The experts of `top` chosen on `fit`, with their values there, auroc_heldout on `test`, and luck.

    `fit` and `test` are responses with labels. Luck is the best AUROC of any unit over permutations of those of `fit`.
    """
    found = heldout(values(*fit, top(k, *fit)), *test)
    best = permuted_maximum(*fit, n=permutations, seed=seed).groupby("language")["auroc"].max()
    return found.assign(luck=found["language"].map(best))


def overlap(experts: pd.DataFrame) -> pd.DataFrame:
    """table[language, other, shared]: the share of a language's experts that are also experts of the other."""
    sets = {name: set(zip(part["site"], part["unit"])) for name, part in experts.groupby("language", sort=False)}
    rows = [(p, q, len(sets[p] & sets[q]) / len(sets[p])) for p in sets for q in sets if p != q]
    return pd.DataFrame(rows, columns=["language", "other", "shared"])


def permuted_maximum(responses: Mapping, labels, *, n: int = 20, seed: int = 0) -> pd.DataFrame:
    """table[language, replicate, auroc]: the best AUROC of any unit when languages are dealt to rows by chance."""
    rng = np.random.default_rng(seed)
    languages, codes = _languages(next(iter(responses.values())), labels)
    deals = np.array([codes[np.argsort(rng.random(len(codes)))] for _ in range(n)])
    chosen = np.concatenate(deals[:, :, None] == np.arange(len(languages)), axis=1).astype(float)
    best, size = np.zeros(n * len(languages)), np.tile(np.bincount(codes), n)
    for array in responses.values():
        for start in range(0, array.shape[1], _CHUNK):
            ranks = 2 * rankdata(-array.T[start : start + _CHUNK], axis=1)
            best = np.maximum(best, sorting.area(ranks @ chosen, size, len(codes)).max(axis=0))
    keys = pd.MultiIndex.from_product([range(n), languages], names=["replicate", "language"])
    return pd.DataFrame({"auroc": best}, keys).reset_index()[["language", "replicate", "auroc"]]


def _languages(responses, labels) -> tuple[list, np.ndarray]:
    """The languages in order of appearance, and the number of the language of each row."""
    rows, labels = len(responses), np.asarray(labels, dtype=object)
    if rows != len(labels):
        raise ValueError(f"{rows} activation rows but {len(labels)} label rows; filter both with .where()")
    codes, languages = pd.factorize(labels)
    if (codes < 0).any():
        raise ValueError(f"{(codes < 0).sum()} of {rows} rows have no language; drop them with .where()")
    if len(languages) < 2:
        raise ValueError(f"{rows} rows but {len(languages)} language; an expert needs at least one other to tell from")
    return list(languages), codes


def _candidates(site: str, responses, labels, k: int, score: str) -> pd.DataFrame:
    """The units of one site that can be among the k best of the model, ties at the cut included."""
    found, parts = scores(responses, labels), []
    for language, areas in found[score].iterrows():
        units = areas.index[areas >= areas.nlargest(k).iloc[-1]]
        both = {name: table.loc[language, units].to_numpy() for name, table in found.items()}
        parts.append(pd.DataFrame({"language": language, "site": site, "unit": units} | both))
    return pd.concat(parts)


def _answers(
    experts: pd.DataFrame, responses: Mapping, labels
) -> Iterator[tuple[pd.DataFrame, np.ndarray, np.ndarray]]:
    """Rows of one site and language, with their units' responses to that language and to the rest, in float64."""
    labels = np.asarray(labels)
    for (site, language), rows in experts.groupby(["site", "language"], sort=False):
        own = labels == known(language, labels, "sentences in")
        columns = responses[site][:, rows["unit"].to_numpy()].astype(np.float64)
        yield rows, columns[own], columns[~own]


def _effects(experts: pd.DataFrame, responses: Mapping, labels) -> pd.Series:
    """Standardised mean difference of each expert's unit between its language and the rest (pooled deviation)."""
    parts = []
    for rows, own, rest in _answers(experts, responses, labels):
        means = own.mean(0) - rest.mean(0)
        spread = np.sqrt((own.var(0) * len(own) + rest.var(0) * len(rest)) / (len(own) + len(rest)))
        with np.errstate(divide="ignore", invalid="ignore"):
            parts.append(pd.Series(np.where(means == 0, 0.0, means / spread), rows.index, name="effect"))
    return pd.concat(parts)
