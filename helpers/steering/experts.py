"""Experts: the units whose response to a sentence tells its language.

One sort, all languages: a unit's responses are ranked once, and the AUROC and the average precision of every language
are read from that one ranking, exactly, ties included. Sites stream through, so that only scores are kept.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from helpers.common.lookup import known
from helpers.steering import sorting

SCORES = ("auroc", "average_precision")
DIRECTIONS = {"top": (1,), "bottom": (-1,), "both": (1, -1)}


class Scores(NamedTuple):
    """Both scores of every unit for every language, each a table [language x unit]."""

    auroc: pd.DataFrame
    average_precision: pd.DataFrame


def scores(responses, labels) -> Scores:
    """AUROC and average precision of every unit at telling each language from the rest, from one ranking a unit.

    `responses` [sentence, unit] is an array or tensor (quickest as the transpose of [unit, sentence] storage; a CUDA
    tensor is ranked where it lies), `labels` the language of each row. Definitions as in scikit-learn: tied responses
    share a threshold, so a constant unit has AUROC 0.5 and average precision equal to the language's share.
    """
    languages, codes = _languages(responses, labels)
    ranks, precision = sorting.sums(responses, codes, len(languages))
    size = np.bincount(codes)
    area = sorting.area(ranks, size, len(codes))
    index, columns = pd.Index(languages, name="language"), pd.RangeIndex(len(area), name="unit")
    return Scores(*(pd.DataFrame(values.T, index, columns) for values in (area, precision / size)))


def auroc(responses, labels) -> pd.DataFrame:
    """AUROC [language x unit] of each unit's response as a score for each language against the rest; see `scores`."""
    return scores(responses, labels).auroc


def average_precision(responses, labels) -> pd.DataFrame:
    """Average precision [language x unit] of each unit for each language against the rest; see `scores`."""
    return scores(responses, labels).average_precision


def top(
    k: int, responses: Mapping, labels, *, score: str = "auroc", direction: str = "top", order: Sequence | None = None
) -> pd.DataFrame:
    """The k best units of the whole model per language, one row each, sites streamed one at a time.

    `responses` maps site to [sentence, unit]. Columns: language, direction, rank (from 1), site, unit, auroc,
    average_precision, effect (standardised mean difference), ties (units of the model that share the last chosen
    unit's score: above 1 the cut was decided by the keys that follow). Order: score, then effect, then site in model
    order (`order`, else that of the mapping), then unit. `bottom` takes the lowest scores, `both` half of each.
    """
    sites = _in_order(responses, order)
    signs = DIRECTIONS[known(direction, DIRECTIONS, "direction")]
    known(score, SCORES, "score")
    units = sum(responses[site].shape[1] for site in sites)
    if not len(signs) <= k <= units:
        raise ValueError(f"k = {k} but the {len(sites)} sites hold {units} units; take k from {len(signs)} to {units}")
    shares = dict(zip(signs, (k,) if len(signs) == 1 else (k - k // 2, k // 2)))
    found = [_candidates(site, scores(responses[site], labels), score, shares) for site in sites]
    found = pd.concat(found, ignore_index=True)
    found = pd.concat([_cut(part, score, shares[sign]) for (_, sign), part in found.groupby(["language", "sign"])])
    effects = [_effects(part, responses[site], labels) for site, part in found.groupby("site", sort=False)]
    found["effect"] = pd.concat(effects)
    found["place"] = found["site"].map({site: place for place, site in enumerate(sites)})
    found["language"] = pd.Categorical(found["language"], pd.unique(np.asarray(labels)))
    return _ranked(found, score, shares)


def values(responses: Mapping, labels, experts: pd.DataFrame) -> pd.DataFrame:
    """The experts with what they answer to their own language: value_mean, value_median, value_p90 over its sentences.

    Percentiles interpolate linearly. These are the values that interventions write into the units.
    """
    experts = experts.reset_index(drop=True)
    parts = [_own_values(part, responses[site], labels) for site, part in _by_site(experts, responses)]
    return experts.join(pd.concat(parts))


def heldout(experts: pd.DataFrame, responses: Mapping, labels) -> pd.DataFrame:
    """The experts with auroc_heldout, their AUROC on the given responses: sentences that did not choose them."""
    experts, parts = experts.reset_index(drop=True), []
    for site, part in _by_site(experts, responses):
        units = np.unique(part["unit"])
        table = auroc(_columns(responses[site], units), labels)
        _check_languages(part, table.index)
        rows, columns = table.index.get_indexer(part["language"]), np.searchsorted(units, part["unit"])
        parts.append(pd.Series(table.to_numpy()[rows, columns], part.index, name="auroc_heldout"))
    return experts.join(pd.concat(parts))


def overlap(experts: pd.DataFrame) -> pd.DataFrame:
    """table[language, other, shared]: the share of a language's experts that are also experts of the other."""
    sets = {name: set(zip(part["site"], part["unit"])) for name, part in experts.groupby("language", sort=False)}
    rows = [(p, q, len(sets[p] & sets[q]) / len(sets[p])) for p in sets for q in sets if p != q]
    return pd.DataFrame(rows, columns=["language", "other", "shared"])


def token_baseline(tokens, labels) -> pd.DataFrame:
    """table[language, auroc]: how well the number of tokens alone tells the language; experts have to beat it."""
    table = auroc(np.asarray(tokens, float)[:, None], labels)
    return table[0].rename("auroc").reset_index()


def permuted_maximum(responses: Mapping, labels, *, n: int = 20, seed: int = 0, within=None) -> pd.DataFrame:
    """table[language, replicate, auroc]: the best AUROC of any unit when languages are dealt to rows by chance.

    Units are ranked once for all `n` permutations; each then costs one matrix product. `within` (one id per row,
    such as the sentence) deals languages only among the rows of one id.
    """
    rng = np.random.default_rng(seed)
    languages, codes = _languages(next(iter(responses.values())), labels)
    block = np.zeros(len(codes)) if within is None else pd.factorize(np.asarray(within))[0]
    home = np.argsort(block, kind="stable")
    deals = np.empty((n, len(codes)), int)
    for deal in deals:
        deal[home] = codes[np.lexsort((rng.random(len(codes)), block))]
    chosen = np.concatenate(deals[:, :, None] == np.arange(len(languages)), axis=1).astype(float)
    best = np.zeros(n * len(languages))
    size = np.tile(np.bincount(codes), n)
    for array in responses.values():
        _languages(array, labels)
        for sums in sorting.products(array, chosen):
            best = np.maximum(best, sorting.area(sums, size, len(codes)).max(axis=0))
    keys = pd.MultiIndex.from_product([range(n), languages], names=["replicate", "language"])
    return pd.DataFrame({"auroc": best}, keys).reset_index()[["language", "replicate", "auroc"]]


# --- rows, columns and checks -----------------------------------------------------------------------------------------


def _languages(responses, labels):
    """The languages in order of appearance, and the number of the language of each row."""
    rows, labels = len(responses), pd.Series(labels).to_numpy()
    if rows != len(labels):
        raise ValueError(f"{rows} activation rows but {len(labels)} label rows; filter both with .where()")
    codes, languages = pd.factorize(labels)
    if (codes < 0).any():
        raise ValueError(f"{(codes < 0).sum()} of {rows} rows have no language; drop them with .where()")
    if len(languages) < 2:
        raise ValueError(f"{rows} rows but {len(languages)} language; an expert is told apart from at least one other")
    return list(languages), codes


def _columns(responses, units):
    """Some units' responses [sentence, unit] in float64."""
    return sorting.array(responses[:, units]).astype(np.float64)


def _check_languages(experts, known):
    missing = sorted(set(experts["language"]) - set(known))
    if missing:
        raise LookupError(f"no rows in {', '.join(missing)}, whose experts are asked for; the rows hold {list(known)}")


def _in_order(responses, order):
    """Site names in model order, each of them among the responses."""
    sites = list(responses) if order is None else [site for site in order if site in responses]
    left = set(responses) - set(sites)
    if left:
        raise LookupError(f"{len(left)} of {len(responses)} sites are not in `order`, such as {min(left)!r}; add them")
    return sites


def _by_site(experts, responses):
    """The experts' rows site by site."""
    for site, part in experts.groupby("site", sort=False):
        yield known(site, list(responses), "site"), part


# --- choosing ---------------------------------------------------------------------------------------------------------


def _candidates(site, pair, score, shares):
    """The units of one site that can be among the best of the model, ties at the cut included."""
    table, parts = getattr(pair, score), []
    for sign, share in shares.items():
        signed = sign * table.to_numpy()
        place = max(0, signed.shape[1] - share)
        for row, cut in enumerate(np.partition(signed, place, axis=1)[:, place]):
            units = np.flatnonzero(signed[row] >= cut)
            both = {name: values.to_numpy()[row, units] for name, values in pair._asdict().items()}
            keys = {"language": table.index[row], "sign": sign, "site": site, "unit": units}
            parts.append(pd.DataFrame(keys | both))
    return pd.concat(parts)


def _cut(part, score, share):
    """The rows at or above the last place, of one language and direction, with the number tied at that place."""
    signed = part["sign"] * part[score]
    last = signed.nlargest(share).iloc[-1]
    return part[signed >= last].assign(ties=int((signed == last).sum()))


def _effects(part, responses, labels):
    """Standardised mean difference of each row's unit between its language and the rest (pooled deviation)."""
    effects, labels = pd.Series(0.0, part.index), pd.Series(labels).to_numpy()
    for language, rows in part.groupby("language"):
        columns, own = _columns(responses, rows["unit"].to_numpy()), labels == language
        means = columns[own].mean(0) - columns[~own].mean(0)
        spread = np.sqrt((columns[own].var(0) * own.sum() + columns[~own].var(0) * (~own).sum()) / len(own))
        with np.errstate(divide="ignore", invalid="ignore"):
            effects[rows.index] = np.where(means == 0, 0.0, means / spread)
    return effects


def _ranked(found, score, shares):
    """The chosen rows in their documented order."""
    found = found.assign(worst=-found["sign"] * found[score], least=-found["sign"] * found["effect"])
    keys = ["language", "sign", "worst", "least", "place", "unit"]
    found = found.sort_values(keys, ascending=[True, False] + 4 * [True])
    found["rank"] = found.groupby(["language", "sign"], observed=True).cumcount() + 1
    found = found[found["rank"] <= found["sign"].map(shares)]
    found["direction"] = found["sign"].map({1: "top", -1: "bottom"})
    columns = ["language", "direction", "rank", "site", "unit", *SCORES, "effect", "ties"]
    return found[columns].astype({"language": object}).reset_index(drop=True)


def _own_values(part, responses, labels):
    """Mean, median and 90th percentile of each row's unit over the sentences of its language."""
    labels, parts = pd.Series(labels).to_numpy(), []
    _check_languages(part, pd.unique(labels))
    for language, rows in part.groupby("language"):
        columns = _columns(responses, rows["unit"].to_numpy())[labels == language]
        middle, high = np.percentile(columns, [50, 90], axis=0)
        table = {"value_mean": columns.mean(0), "value_median": middle, "value_p90": high}
        parts.append(pd.DataFrame(table, rows.index))
    return pd.concat(parts)
