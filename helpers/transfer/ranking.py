"""How good a choice of source languages a measure makes: regret, NDCG, baselines, and what a choice can hope for.

Everything that ranks sources is a table[source, target, value]: a measure of similarity, the scores of another task, or
a baseline. A source of unknown value is never chosen, but the best source is sought among all that have a score; equal
values are equally likely to come first, and the expectation over their orders is exact, so chance is the table that
holds one value only. A high correlation need not mean a good choice: the statistics of `qap` stand beside.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.special import comb
from scipy.stats import rankdata
from sklearn.linear_model import RidgeCV

from helpers.common.lookup import known
from helpers.common.stats import mean_interval
from helpers.transfer import qap, trees
from helpers.transfer.qap import EXPERIMENT, aligned, experiments, mean, square, stacked

RULES = ["random", "best single source", "same family"]  # that need no measure
BEST, ALL = "best measure elsewhere", "all measures together"  # made without the target's family
_PENALTIES = np.logspace(-2, 4, 13)  # of the regression on all measures, chosen within the other families
_BEST = 10  # LangRank's relevance of the best source; the next has one less, down to 0


def regret(
    scores: pd.DataFrame, values: pd.DataFrame, k: int = 1, *, oracle: Mapping[str, float] | None = None
) -> pd.DataFrame:
    """table[target, regret]: the best source's score less the best among the k sources of highest value, 0 at best.

    scores[source, target, score], values[source, target, value]; in units of the score, NaN where no value is known.
    `oracle` (target -> score, such as `split_half(...).set_index("target")["honest"]`) takes the place of the best
    source's score, which is optimistic: a maximum over many noisy ones. Raises ValueError for k beyond the sources.
    """
    S, V = _ranked(scores, values, k)
    best = S.max(axis=1) if oracle is None else pd.Series(oracle, dtype=float).reindex(S.index)
    return pd.DataFrame({"target": S.index, "regret": best.to_numpy() - _expected(S.to_numpy(), V.to_numpy(), k)})


def ndcg(scores: pd.DataFrame, values: pd.DataFrame, k: int = 3) -> pd.DataFrame:
    """table[target, ndcg]: discounted gain of the k sources of highest value over that of the k best, 1 at best.

    Gains as in LangRank (Lin et al. 2019): 2^relevance - 1 with relevance 10 for the best source, 9 for the next, and
    so on to 0; position i counts 1 / log2(i + 1). Sources of equal score share the mean of their ranks. NaN where no
    value is known, and where so many sources tie that none has a gain. Raises ValueError for k beyond the sources.
    """
    S, V = _ranked(scores, values, k)
    return pd.DataFrame({"target": S.index, "ndcg": _gain(S.to_numpy(), V.to_numpy(), k)})


def choices(
    scores: pd.DataFrame, similarity: pd.DataFrame, families: Mapping[str, str], *, pivot: str = "", seed: int = 0
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """What choosing up to ten sources by each measure costs: `regret_curve`, its rows worth drawing, and `singles`.

    Worth drawing are the best measure of other families, all measures together, the other tasks under the same
    representation, and the rules that need no measure; `measure` is a short name there, `experiment` a title.
    """
    curves, singles = regret_curve(scores, similarity, families, pivot=pivot, seed=seed)
    drawn = curves[curves["measure"].isin([BEST, ALL, *RULES]) | guides(curves)]
    drawn = drawn.assign(measure=drawn["measure"].str.replace(r"^other (\w+) / .*", r"best for \1", regex=True))
    return curves, drawn.assign(experiment=drawn["task"] + " from " + drawn["representation"]), singles


def guides(table: pd.DataFrame) -> pd.Series:
    """Whether each row of a table[..., measure] is about another task under the same representation."""
    label = table["measure"].str.extract(r"^other (?P<task>\w+) / (?P<representation>\w+)")
    return (label["representation"] == table["representation"]) & (label["task"] != table["task"])


def regret_curve(
    scores: pd.DataFrame,
    similarity: pd.DataFrame,
    families: Mapping[str, str] | None = None,
    ks: Sequence[int] = range(1, 11),
    *,
    pivot: str = "",
    seed: int = 0,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """table[task, representation, metric, measure, baseline, k, regret, low, high, ndcg, ndcg_low, ndcg_high, n].

    Means over n targets, by the number k of sources that are tried, families of targets independent; k stops at the
    number of sources. Rankers are the measures of `similarity`, the two of `elsewhere`, and each of `baselines` (True
    in that column), other experiments' scores included. To hold every measure to the same pairs, keep only those in
    `similarity`; where one knows fewer, it pays for what it cannot recommend. With it `singles`, the regret of one
    source target by target: table[task, representation, metric, measure, target, family, regret].
    """
    rows, singles, names = [], [], set(similarity["measure"])
    labelled = {" / ".join(map(str, keys.values())): (keys, table) for keys, table in experiments(scores)}
    for label, (keys, table) in labelled.items():
        others = {name: other for name, (_, other) in labelled.items() if name != label}
        rules = baselines(table, pivot=pivot, families=families, others=others)
        S, V = stacked(table, pd.concat([similarity, rules]))
        V |= elsewhere(S, {name: V[name] for name in V if name in names}, families)[0]
        kin, cells, best = trees.family(S.index, families), S.to_numpy(), S.max(axis=1).to_numpy()
        tried = [k for k in ks if k <= S.notna().sum(axis=1).max()]
        for name, values in V.items():
            lost = np.stack([best - _expected(cells, values, k) for k in tried], axis=1)
            gained = np.stack([_gain(cells, values, k) for k in tried], axis=1)
            there = ~np.isnan(lost + gained).any(axis=1)
            about = {**keys, "measure": name}
            one = {"target": S.index, "family": kin, "regret": lost[:, 0]}
            singles.append(pd.DataFrame({**about, **one}))
            found = [np.nan] * 6
            if there.any():
                found = [end for x in (lost, gained) for end in mean_interval(x[there], kin[there], seed=seed)]
            found = dict(zip(("regret", "low", "high", "ndcg", "ndcg_low", "ndcg_high"), found))
            about["baseline"] = name not in {*names, BEST, ALL}
            rows.append(pd.DataFrame({**about, "k": tried, **found, "n": there.sum()}))
    return pd.concat(rows, ignore_index=True), pd.concat(singles, ignore_index=True)


def chosen(scores: pd.DataFrame, similarity: pd.DataFrame, families: Mapping[str, str] | None = None) -> pd.DataFrame:
    """table[task, representation, metric, target, family, measure, r]: the best measure of other families, and its r.

    r is within the target, so that its mean tells what the measure is worth that was chosen without looking.
    """
    parts = []
    for keys, table in experiments(scores):
        S, V = stacked(table, similarity)
        found = elsewhere(S, V, families)[1].assign(**keys)
        parts.append(found[[*keys, "target", "family", "measure", "r"]])
    return pd.concat(parts, ignore_index=True)


def elsewhere(
    S: pd.DataFrame, V: Mapping[str, np.ndarray], families: Mapping[str, str] | None
) -> tuple[dict[str, np.ndarray], pd.DataFrame]:
    """Values [target, source] by `BEST` and `ALL`, and table[target, family, measure, r] of what was best.

    Pairs with a language of the target's family are left out. Best is the measure of highest mean correlation within
    targets; all together are a ridge regression of scores, z-scored within targets as the measures are, where what is
    unknown counts as the mean. With a single family, each target is left out alone.
    """
    cells, stack, names = S.to_numpy(), np.stack(list(V.values())), np.array(list(V), dtype=object)
    kin, own = trees.family(S.index, families), [labels.to_numpy() for labels in (S.index, S.columns)]
    targets, sources = own if len(set(kin)) == 1 else [trees.family(labels, families) for labels in own]
    x = np.nan_to_num(_z(np.where(np.isnan(cells), np.nan, stack)))
    both, found = np.full((2, *cells.shape), np.nan), []
    for group in dict.fromkeys(targets):
        here = targets == group
        rest = np.where(here[:, None] | (sources == group), np.nan, cells)
        first = np.nan_to_num([mean(qap.by_target(rest, values), -1) for values in stack], nan=-2).argmax()
        r = qap.by_target(cells[here], stack[first][here])
        found.append(pd.DataFrame(dict(target=S.index[here], family=kin[here], measure=names[first], r=r)))
        both[0, here], there = stack[first][here], ~np.isnan(rest)
        if there.sum() > len(names):
            fitted = RidgeCV(_PENALTIES).fit(x[:, there].T, _z(rest)[there])
            both[1, here] = np.tensordot(fitted.coef_, x[:, here], axes=1)
    both[:, np.isnan(stack).all(0)] = np.nan
    return dict(zip((BEST, ALL), both)), pd.concat(found, ignore_index=True)


def baselines(
    scores: pd.DataFrame,
    *,
    pivot: str = "",
    families: Mapping[str, str] | None = None,
    others: Mapping[str, pd.DataFrame] | None = None,
) -> pd.DataFrame:
    """table[measure, source, target, value] of rules that need no measure, for one experiment's scores.

    random: all sources alike. best single source: a source's mean over the *other* targets, target means removed.
    pivot: that language first (named `pivot eng_Latn`). same family: from `families`, "" unknown.
    other NAME: the scores of another experiment, from `others` (name -> table[source, target, score]).
    """
    S = square(scores, "score")
    values = {"random": np.zeros(S.shape), "best single source": _general(S.to_numpy())}
    if pivot:
        first = S.columns == known(pivot, S.columns, "source to be the pivot")
        values[f"pivot {pivot}"] = np.broadcast_to(first.astype(float), S.shape)
    if families is not None:
        row, column = (labels.map(lambda name: families.get(name, "")).to_numpy() for labels in (S.index, S.columns))
        unknown = (row == "")[:, None] | (column == "")
        values["same family"] = np.where(unknown, np.nan, row[:, None] == column)
    for name, table in (others or {}).items():
        values[f"other {name}"] = square(table, "score").reindex(index=S.index, columns=S.columns).to_numpy()
    frames = {name: pd.DataFrame(cells, S.index, S.columns).unstack() for name, cells in values.items()}
    return pd.concat(frames, names=["measure"]).rename("value").reset_index()


def split_half(
    correct: np.ndarray, sources: list[str], targets: list[str], *, splits: int = 50, seed: int = 0
) -> pd.DataFrame:
    """table[target, optimistic, honest]: the best source's score, and its score where it was not selected.

    correct [source, target, item], 1 or 0 for each test item, NaN beyond the items of a target that has fewer than
    another, and throughout for a pair not run. `honest` selects on a random half of the target's items and scores on
    the other, averaged over `splits`; equally good sources share.
    """
    if correct.shape[:2] != (len(sources), len(targets)):
        raise ValueError(f"correct is {correct.shape}; expected {len(sources)} sources by {len(targets)} targets")
    order = np.tile(np.arange(correct.shape[2]), (splits, 1))
    order, rows = np.random.default_rng(seed).permuted(order, axis=1), []
    for column, target in enumerate(targets):
        cells = correct[:, column, ~np.isnan(correct[:, column]).all(0)]
        n, other = cells.shape[1], np.where(np.array(sources, dtype=object) == target, np.nan, 1.0)[:, None]
        half = (order[:, :n].argsort(1).argsort(1) < n // 2).astype(np.float32)
        selecting, total = cells.astype(np.float32) @ half.T * other, cells.sum(1, dtype=float)[:, None] * other
        best = selecting >= np.nanmax(selecting, axis=0) - 1e-4  # float32 may turn a tie
        honest = mean(np.where(best, (total - selecting) / (n - n // 2), np.nan), 0).mean()
        rows.append((target, np.nanmax(total) / n, honest))
    return pd.DataFrame(rows, columns=["target", "optimistic", "honest"])


def floor_share(scores: pd.DataFrame) -> pd.DataFrame:
    """[task, representation, metric] -> share, n: share of the n pairs at the floor, no better than guessing.

    The floor is the share of the most frequent class, the column majority, plus two standard errors over n_test items.
    A language paired with itself does not count.
    """
    apart = scores[(scores["source"] != scores["target"]) & scores["score"].notna()]
    guess = apart["majority"]
    low = apart["score"] <= guess + 2 * np.sqrt(guess * (1 - guess) / apart["n_test"])
    return apart.assign(low=low).groupby(EXPERIMENT, sort=False)["low"].agg(share="mean", n="size")


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


def _gain(S: np.ndarray, V: np.ndarray, k: int) -> np.ndarray:
    """NDCG of the k sources of highest value [target]."""
    gains = np.nan_to_num(2 ** np.clip(_BEST + 1 - rankdata(-S, axis=1, nan_policy="omit"), 0, None) - 1)
    V = np.where(np.isnan(S + V), -np.inf, V)
    chosen = -np.sort(-V, axis=1)[:, :k]
    tied = (V[:, None] == chosen[..., None]) & np.isfinite(V)[:, None]  # [target, position, source]
    expected = (tied * gains[:, None]).sum(2) / np.maximum(tied.sum(2), 1)
    discount = 1 / np.log2(np.arange(2, k + 2))
    ideal = -np.sort(-gains, axis=1)[:, :k] @ discount
    found = np.where(np.isfinite(V).any(1), expected @ discount, np.nan)
    return found / np.where(ideal > 0, ideal, np.nan)


def _z(x: np.ndarray) -> np.ndarray:
    """x [..., target, source] in standard deviations about each target's mean, over what is known; 0 without any."""
    left = x - mean(x, -1, keepdims=True)
    spread = np.sqrt(mean(left**2, -1, keepdims=True))
    return left / np.where(spread > 1e-9, spread, 1)


def _general(S: np.ndarray) -> np.ndarray:
    """Mean of each source over the other targets [target, source], target means removed."""
    easy = S - mean(S, -1, keepdims=True)
    known = ~np.isnan(S)
    total, own = np.nansum(easy, 0), np.nan_to_num(easy)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (total - own) / (known.sum(0) - known)


def _ranked(scores: pd.DataFrame, values: pd.DataFrame, k: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores and values as `aligned`, where k sources can be chosen."""
    S, V = aligned(scores, values)
    most = int(S.notna().sum(axis=1).max())
    if not 1 <= k <= most:
        raise ValueError(f"k is {k} but targets have at most {most} other sources; choose 1 to {most}")
    return S, V
