"""How good a choice of source languages a measure makes: regret, NDCG, baselines, and what a choice can hope for.

Everything that ranks sources is a table[source, target, value]: a measure of similarity, the scores of another task, or
a baseline. A source of unknown value is never chosen, but the best source is sought among all that have a score; equal
values are equally likely to come first, and the expectation over their orders is exact, so chance is the table that
holds one value only. A high correlation need not mean a good choice: the statistics of association stand beside.
"""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.special import comb
from scipy.stats import rankdata

from helpers.common import stats
from helpers.transfer.association import (
    aligned,
    centred,
    correlation,
    crossed,
    experiments,
    interval,
    mean,
    pooled,
    products,
    resampled,
    square,
    stacked,
    within_source,
    within_target,
)
from helpers.transfer.qap import common, correlate, mrqap

__all__ = [
    "baselines", "centred", "combination", "correlate", "crossed", "floor_share", "mrqap", "ndcg", "pooled", "regret",
    "regret_curve", "split_half", "within_source", "within_target",
]  # fmt: skip

_BEST = 10  # LangRank's relevance of the best source; the next has one less, down to 0


def regret(
    scores: pd.DataFrame, values: pd.DataFrame, k: int = 1, *, oracle: Mapping[str, float] | None = None
) -> pd.DataFrame:
    """table[target, regret]: the best source's score less the best among the k sources of highest value, 0 at best.

    scores[source, target, score], values[source, target, value]; in units of the score, NaN where no value is known.
    `oracle` (target -> score, such as `split_half(...).set_index("target")["honest"]`) takes the place of the best
    source's score, which is optimistic: a maximum over many noisy ones. Raises ValueError for k beyond the sources.
    """
    S, V = aligned(scores, values)
    _check(k, S)
    best = S.max(axis=1) if oracle is None else pd.Series(oracle, dtype=float).reindex(S.index)
    return pd.DataFrame({"target": S.index, "regret": best.to_numpy() - _expected(S.to_numpy(), V.to_numpy(), k)})


def ndcg(scores: pd.DataFrame, values: pd.DataFrame, k: int = 3) -> pd.DataFrame:
    """table[target, ndcg]: discounted gain of the k sources of highest value over that of the k best, 1 at best.

    Gains as in LangRank (Lin et al. 2019): 2^relevance - 1 with relevance 10 for the best source, 9 for the next, and
    so on to 0; position i counts 1 / log2(i + 1). Sources of equal score share the mean of their ranks. NaN where no
    value is known, and where so many sources tie that none has a gain. Raises ValueError for k beyond the sources.
    """
    frame, V = aligned(scores, values)
    _check(k, frame)
    S, V = frame.to_numpy(), V.to_numpy()
    gains = np.nan_to_num(2 ** np.clip(_BEST + 1 - rankdata(-S, axis=1, nan_policy="omit"), 0, None) - 1)
    V = np.where(np.isnan(S + V), -np.inf, V)
    chosen = -np.sort(-V, axis=1)[:, :k]
    tied = (V[:, None] == chosen[..., None]) & np.isfinite(V)[:, None]  # [target, position, source]
    expected = (tied * gains[:, None]).sum(2) / np.maximum(tied.sum(2), 1)
    discount = 1 / np.log2(np.arange(2, k + 2))
    ideal = -np.sort(-gains, axis=1)[:, :k] @ discount
    known = (ideal > 0) & np.isfinite(V).any(1)
    return pd.DataFrame(
        {"target": frame.index, "ndcg": np.where(known, expected @ discount / np.where(known, ideal, 1), np.nan)}
    )


def regret_curve(
    scores: pd.DataFrame,
    similarity: pd.DataFrame,
    ks: Sequence[int] = range(1, 11),
    *,
    pivot: str = "",
    families: Mapping[str, str] | None = None,
    draws: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """table[task, representation, metric, measure, baseline, k, low, high, n, regret]: mean over n targets, by k.

    Each measure of `similarity` and each of `baselines` (True in that column), other experiments' scores included; low
    and high bound 95 % of resampled targets. k stops at the number of sources. To hold every measure to the same pairs,
    keep only those in `similarity`; where one knows fewer, it pays for what it cannot recommend.
    """
    rows, names = [], set(similarity["measure"])
    labelled = {_label(keys): table for keys, table in experiments(scores)}
    for keys, table in experiments(scores):
        others = {label: other for label, other in labelled.items() if label != _label(keys)}
        rankers = pd.concat([similarity, baselines(table, pivot=pivot, families=families, others=others)])
        S, V = stacked(table, rankers)
        weights, possible = stats.weights(len(S), draws, seed), [k for k in ks if k <= _sources(S)]
        for name, values in V.items():
            for k in possible:
                lost = S.max(axis=1).to_numpy() - _expected(S.to_numpy(), values, k)
                low, high = interval(resampled(lost, weights))
                found = {"low": low, "high": high, "n": int((~np.isnan(lost)).sum()), "regret": float(mean(lost, -1))}
                rows.append({**keys, "measure": name, "baseline": name not in names, "k": k, **found})
    return pd.DataFrame(rows)


def baselines(
    scores: pd.DataFrame,
    *,
    pivot: str = "",
    families: Mapping[str, str] | None = None,
    others: Mapping[str, pd.DataFrame] | None = None,
) -> pd.DataFrame:
    """table[measure, source, target, value] of rules that need no measure, for one experiment's scores.

    random: all sources alike. best single source: a source's mean over the *other* targets, target means removed.
    pivot: that language first (named `pivot eng_Latn`). same family: from `families` (language -> family, "" unknown).
    other NAME: the scores of another experiment, from `others` (name -> table[source, target, score]).
    """
    S = square(scores, "score")
    values = {"random": np.zeros(S.shape), "best single source": _general(S.to_numpy())}
    if pivot:
        if pivot not in S.columns:
            near = ", ".join(get_close_matches(pivot, S.columns, 3, 0.3)) or "none"
            raise LookupError(f"the pivot {pivot!r} is none of the {S.shape[1]} sources (near: {near})")
        values[f"pivot {pivot}"] = np.broadcast_to((S.columns == pivot).astype(float), S.shape)
    if families is not None:
        row, column = ([families.get(name, "") for name in labels] for labels in (S.index, S.columns))
        row, column = np.array(row, dtype=object)[:, None], np.array(column, dtype=object)
        values["same family"] = np.where((row == "") | (column == ""), np.nan, row == column)
    for name, table in (others or {}).items():
        values[f"other {name}"] = square(table, "score").reindex(index=S.index, columns=S.columns).to_numpy()
    return pd.concat([_table(S, name, cells) for name, cells in values.items()], ignore_index=True)


def combination(scores: pd.DataFrame, similarity: pd.DataFrame, size: int = 2) -> pd.DataFrame:
    """table[measure, source, target, value, chosen]: mean z-scores of the measures that serve the other targets best.

    For each target, the one to `size` measures whose mean, z-scored over the target's sources, has the highest mean
    within-target correlation on all other targets; the target's own scores play no part. On the pairs that every
    measure knows. `chosen` names the measures.
    """
    S, V = stacked(scores, similarity)
    z = {name: _z(np.where(np.isnan(S), np.nan, cells)) for name, cells in common(V).items()}
    sets = [subset for n in range(1, size + 1) for subset in combinations(z, n)]
    blends = [sum(z[name] for name in subset) / len(subset) for subset in sets]
    r = np.stack([correlation(products(S.to_numpy(), blend, "within_target").sum(2)) for blend in blends])
    rest = mean(np.where(np.eye(len(S), dtype=bool), np.nan, r[:, None]), -1)  # [set, target], the target left out
    best = np.where(np.isnan(rest), -np.inf, rest).argmax(0)
    table = _table(S, "combination", np.stack([blends[b][t] for t, b in enumerate(best)]))
    names = {target: " + ".join(sets[b]) for target, b in zip(S.index, best)}
    return table.assign(chosen=table["target"].map(names))


def split_half(
    correct: np.ndarray, sources: list[str], targets: list[str], *, splits: int = 50, seed: int = 0
) -> pd.DataFrame:
    """table[target, optimistic, honest]: the best source's score, and its score where it was not selected.

    correct [source, target, item], 1 or 0 for each test item, NaN throughout for a pair not run. `honest` selects on a
    random half of the items and scores on the other, averaged over `splits`; equally good sources share.
    """
    shape, items = (len(sources), len(targets)), correct.shape[-1]
    if correct.shape[:2] != shape or items < 2:
        raise ValueError(f"correct is {correct.shape}; expected {shape} by at least 2 items")
    kept = np.where(np.array(sources, dtype=object)[:, None] == np.array(targets, dtype=object), np.nan, 1.0)
    half = np.random.default_rng(seed).permuted(np.tile(np.arange(items) < items // 2, (splits, 1)), axis=1)
    total = correct.sum(2, dtype=float) * kept
    selecting = (correct.reshape(-1, items).astype(np.float32) @ half.T.astype(np.float32)).reshape(*shape, splits)
    selecting = selecting * kept[..., None]
    scoring = (total[..., None] - selecting) / (items - items // 2)
    highest = np.where(np.isnan(selecting), -1, selecting).max(0)
    honest = mean(mean(np.where(selecting == highest, scoring, np.nan), 0), -1)
    best = np.where(np.isnan(total), -np.inf, total).max(0) / items
    return pd.DataFrame({"target": targets, "optimistic": np.where(np.isfinite(best), best, np.nan), "honest": honest})


def floor_share(scores: pd.DataFrame, majority: float | Mapping[str, float]) -> pd.DataFrame:
    """table[task, representation, metric, share, n]: share of the n pairs at the floor, no better than guessing.

    scores need the column n_test; the floor is the share of the most frequent class (one number, or target -> number)
    plus two standard errors. A language paired with itself does not count.
    """
    rows = []
    for keys, table in experiments(scores[(scores["source"] != scores["target"]) & scores["score"].notna()]):
        guess = table["target"].map(majority) if isinstance(majority, Mapping) else majority
        floor = guess + 2 * np.sqrt(guess * (1 - guess) / table["n_test"])
        rows.append({**keys, "share": float((table["score"] <= floor).mean()), "n": len(table)})
    return pd.DataFrame(rows)


def _expected(S: np.ndarray, V: np.ndarray, k: int) -> np.ndarray:
    """Expected best score among the k sources of highest value [target], over all orders of equal values.

    Sorted by score, the best so far is at most the i-th score when no source certain to be chosen scores higher and all
    picks among the tied ones fall at or below it.
    """
    V = np.where(np.isnan(S + V), -np.inf, V)
    last = -np.sort(-V, axis=1)[:, k - 1 : k]
    certain, tied = last < V, (last == V) & np.isfinite(V)
    picks = np.where(np.isfinite(last), k - certain.sum(1, keepdims=True), 0)
    order = np.argsort(np.where(np.isnan(S), -np.inf, S), axis=1)
    certain, tied, score = (np.take_along_axis(x, order, 1) for x in (certain, tied, np.nan_to_num(S)))
    below = comb(tied.cumsum(1), picks) / comb(tied.sum(1, keepdims=True), picks)
    below = below * (certain.cumsum(1) == certain.sum(1, keepdims=True))
    expected = (score * np.diff(below, axis=1, prepend=0)).sum(1)
    return np.where(np.isfinite(V).any(1), expected, np.nan)


def _general(S: np.ndarray) -> np.ndarray:
    """Mean of each source over the other targets [target, source], target means removed."""
    easy = S - mean(S, -1, keepdims=True)
    known = ~np.isnan(S)
    total, own = np.nansum(easy, 0), np.nan_to_num(easy)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (total - own) / (known.sum(0) - known)


def _z(x: np.ndarray) -> np.ndarray:
    """x [target, source] in standard deviations about each target's mean; no preference where all sources are alike."""
    x = x - mean(x, -1, keepdims=True)
    scale = np.sqrt(mean(x**2, -1, keepdims=True))
    return x / np.where(scale > 0, scale, 1)


def _sources(S: pd.DataFrame) -> int:
    return int(S.notna().sum(axis=1).max())


def _check(k: int, S: pd.DataFrame) -> None:
    if not 1 <= k <= _sources(S):
        raise ValueError(f"k is {k} but targets have at most {_sources(S)} other sources; choose 1 to {_sources(S)}")


def _label(keys: Mapping[str, str]) -> str:
    return " / ".join(map(str, keys.values()))


def _table(S: pd.DataFrame, name: str, values: np.ndarray) -> pd.DataFrame:
    frame = pd.DataFrame(values, S.index, S.columns).rename_axis(index="target", columns="source")
    return frame.unstack().rename("value").reset_index().assign(measure=name)[["measure", "source", "target", "value"]]
