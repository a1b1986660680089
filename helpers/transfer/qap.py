"""How strongly two tables over the same source-target pairs go together, and what that is worth (QAP, MRQAP).

Cells of one target share that target's difficulty, which dwarfs what sources add: the statistic to lead with is taken
within each target, the pooled one is confounded. As the cells are not independent, intervals hold whole families of
targets together, and p-values permute the languages' labels, of rows and columns jointly (quadratic assignment, after
Mantel), freely and once more so that the tree stays what it is (`trees`), which asks for what holds beyond family. A
language paired with itself never counts, nor does a pair that either table leaves unknown. Arrays are S [target,
source] for scores, V [target, source] for values.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from scipy.linalg import orth
from scipy.stats import rankdata

from helpers.common import stats
from helpers.transfer.trees import Tree, family, shuffled

STATISTICS = ("within_target", "centred", "pooled")
EXPERIMENT = ["task", "representation", "metric"]  # keys of scores beside source and target, where present
_FEWEST = 3  # a correlation of two points is always 1 or -1
_RANK = 1e-10  # a share of variance below this is rounding
_CHUNK = 50  # permuted tables held at once


def within_target(scores: pd.DataFrame, values: pd.DataFrame, method: str = "pearson") -> pd.DataFrame:
    """table[target, r, n]: correlation of scores and values over the n sources of each target.

    scores[source, target, score], values[source, target, value]; method pearson or spearman. NaN for fewer than three
    sources and where scores or values are constant. Raises ValueError where a pair repeats or none is in both tables.
    """
    S, V = aligned(scores, values)
    n = (S.notna() & V.notna()).sum(axis=1).to_numpy()
    return pd.DataFrame({"target": S.index, "r": by_target(S.to_numpy(), V.to_numpy(), method), "n": n})


def by_target(S: np.ndarray, V: np.ndarray, method: str = "pearson") -> np.ndarray:
    """The correlation over the sources of each target [target]."""
    return correlation(_products(S, V, "within_target", method))


def overall(scores: pd.DataFrame, values: pd.DataFrame, statistic: str = "centred", method: str = "pearson") -> dict:
    """r and n over all pairs: `centred` (what target and source effects leave of both) or `pooled` (confounded)."""
    S, V = aligned(scores, values)
    terms = _products(S.to_numpy(), V.to_numpy(), statistic, method).sum(1)
    return {"r": float(correlation(terms)), "n": int(terms[0])}


def correlate(
    scores: pd.DataFrame,
    similarity: pd.DataFrame,
    tree: Tree | None = None,
    *,
    statistics: Sequence[str] = STATISTICS,
    method: str = "pearson",
    draws: int = 1000,
    permutations: int = 999,
    seed: int = 0,
) -> pd.DataFrame:
    """table[task, representation, metric, measure, statistic, pairs, r, low, high, p, holm, p_family, ..., n, ...].

    scores[(task, representation, metric,) source, target, score], similarity[measure, source, target, value]. `pairs`
    is common (those that every measure knows, if it knows any: compare measures there) or full (all that this one
    knows), n their number. r is the mean over targets for `within_target`; low and high its 95 % interval, families of
    targets independent (residuals and ranks are taken once, not per draw). p is two-sided, over free joint permutations
    of the languages, p_family over those that keep the `tree`; holm and holm_family correct them over measures and
    experiments, for each statistic and kind of pairs. Pooled cells are `confounded`. Without a tree, each language is a
    family.
    """
    rows = []
    for keys, table in experiments(scores):
        S, V = stacked(table, similarity)
        cells, most = S.to_numpy(), int(S.notna().sum(axis=1).max())
        if "within_target" in statistics and most < _FEWEST:
            raise ValueError(f"{most} sources of one target, but a correlation needs {_FEWEST}; take more languages")
        kin, moved = family(S.index, tree), [shuffled(S, permutations, seed, kept) for kept in (None, tree)]
        for pairs, shown in (("common", common(V)), ("full", V)):
            for statistic in statistics:
                stack = np.stack(list(shown.values()))
                ps = [_permutation_p(cells, stack, *each, statistic, method) for each in moved]
                for (name, values), *levels in zip(shown.items(), *ps):
                    found = _estimate(_products(cells, values, statistic, method), statistic, kin, draws, seed)
                    found |= dict(zip(("p", "p_family"), levels))
                    rows.append({**keys, "measure": name, "statistic": statistic, "pairs": pairs, **found})
    table = pd.DataFrame(rows)
    for p, holm in (("p", "holm"), ("p_family", "holm_family")):
        table[holm] = table.groupby(["statistic", "pairs"])[p].transform(lambda p: stats.holm(p))
    table["confounded"] = table["statistic"] == "pooled"
    keys = [key for key in EXPERIMENT if key in table]
    shown = ["r", "low", "high", "p", "holm", "p_family", "holm_family", "n", "confounded"]
    return table[[*keys, "measure", "statistic", "pairs", *shown]]


def mrqap(
    scores: pd.DataFrame, similarity: pd.DataFrame, tree: Tree | None = None, *, permutations: int = 999, seed: int = 0
) -> pd.DataFrame:
    """table[task, representation, metric, measure, beta, partial_r, p, p_family, n]: several measures in one model.

    Target and source means are removed from everything. Double semi-partialling (Dekker, Krackhardt and Snijders 2007):
    what the other measures leave of one measure is permuted jointly over languages; partial correlations, which rank as
    t statistics do, are compared, two-sided, over free permutations and over those that keep the tree (p_family). beta
    is in standard deviations. On the n pairs that every measure knows; where those are not all pairs, a permuted cell
    from outside counts as zero. NaN for a measure that the others, or the means, determine; ValueError where the common
    pairs are no more than what is estimated.
    """
    rows = []
    for keys, table in experiments(scores):
        S, V = stacked(table, similarity)
        known = ~np.isnan(S.to_numpy() + sum(V.values()))
        ends = known.any(0).sum() + known.any(1).sum() - 1
        if known.sum() - ends - len(V) < 1:
            raise ValueError(
                f"{known.sum()} pairs are known to all {len(V)} measures, which with {ends} means leaves nothing to "
                "estimate from; take more languages, or leave out measures, those first that know few pairs"
            )
        left = [prepared(np.where(known, cells, np.nan), "centred")[known] for cells in (S.to_numpy(), *V.values())]
        y, *x = (cells / (cells.std() or 1) for cells in left)
        place = np.full(known.shape, len(y))  # of each known cell; all others share the one after the last
        place[known] = np.arange(len(y))
        orders = {p: shuffled(S, permutations, seed, kept) for p, kept in (("p", None), ("p_family", tree))}
        for m, name in enumerate(V):
            others = np.column_stack([np.zeros(len(y)), *x[:m], *x[m + 1 :]])
            found = {"measure": name}
            for p, order in orders.items():
                one = _semipartial(y, x[m], others, (moved[:, known] for moved in _permuted(place, *order)))
                found |= one | {p: one["p"]} if p == "p" else {p: one["p"]}
            rows.append({**keys, **found, "n": len(y)})
    return pd.DataFrame(rows)


def experiments(scores: pd.DataFrame) -> Iterator[tuple[dict[str, str], pd.DataFrame]]:
    """The keys and the rows of each experiment of a score table, in order of appearance."""
    keys = [key for key in EXPERIMENT if key in scores]
    for found, table in scores.groupby(keys, sort=False, dropna=False) if keys else [((), scores)]:
        yield dict(zip(keys, found)), table


def square(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """[target x source] frame of one column, a language with itself set to NaN; labels in order of appearance.

    Raises ValueError where a pair repeats or a value is infinite.
    """
    repeated = int(table.duplicated(["source", "target"]).sum())
    if repeated:
        advice = "keep one task, representation, metric and measure, and average over seeds"
        raise ValueError(f"{repeated} of {len(table)} {column} rows repeat a source and target; {advice}")
    infinite = int(np.isinf(table[column].to_numpy(float)).sum())
    if infinite:
        raise ValueError(f"{infinite} of {len(table)} {column}s are infinite; use NaN for unknown")
    wide = table.pivot(index="target", columns="source", values=column).astype(float)
    wide = wide.loc[table["target"].unique(), table["source"].unique()]
    return wide.mask(wide.index.to_numpy()[:, None] == wide.columns.to_numpy())


def aligned(scores: pd.DataFrame, values: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores and values [target x source] with the labels of the scores; ValueError where they share no pair."""
    S, V = square(scores, "score"), square(values, "value")
    if not (S.index.isin(V.index).any() and S.columns.isin(V.columns).any()):
        example = f"scores start with {scores['source'].iloc[0]!r}, values with {values['source'].iloc[0]!r}"
        raise ValueError(f"{len(scores)} scores and {len(values)} values share no pair of languages; {example}")
    return S, V.reindex(index=S.index, columns=S.columns)


def stacked(scores: pd.DataFrame, similarity: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Scores [target x source] and, for each measure, values [target, source] with the labels of the scores."""
    found = {name: aligned(scores, table)[1].to_numpy() for name, table in similarity.groupby("measure", sort=False)}
    if not found:
        raise ValueError("0 rows of similarity to rank sources by; name measures or baselines")
    return square(scores, "score"), found


def common(V: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same measures, unknown wherever any of them is, but for those that know nothing at all here."""
    gap = np.isnan(sum(values for values in V.values() if not np.isnan(values).all()))
    return {name: np.where(gap, np.nan, values) for name, values in V.items()}


def prepared(x: np.ndarray, statistic: str, method: str = "pearson") -> np.ndarray:
    """x [..., target, source] ready for sums: residuals for `centred`, ranks for spearman, about a mean of zero."""
    if statistic not in STATISTICS or method not in ("pearson", "spearman"):
        raise ValueError(f"{statistic!r} by {method!r}; statistics are {', '.join(STATISTICS)}, by pearson or spearman")
    if statistic == "centred":
        x = residuals(x)
    if method == "spearman":
        flat = x if statistic == "within_target" else x.reshape(*x.shape[:-2], -1)
        x = rankdata(flat, axis=-1, nan_policy="omit").reshape(x.shape)
    return x - mean(x, (-2, -1), keepdims=True)


def residuals(x: np.ndarray) -> np.ndarray:
    """x [..., target, source] less target and source effects: means are removed in turn until none is left.

    What rounding leaves of a table of nothing but effects becomes exactly 0.
    """
    left = x - mean(x, (-2, -1), keepdims=True)
    scale = np.sqrt(mean(left**2, (-2, -1), keepdims=True))
    for _ in range(500):
        left = left - mean(left, -1, keepdims=True)
        effect = mean(left, -2, keepdims=True)
        left = left - effect
        if not (np.abs(effect) > 1e-12 * scale).any():
            break
    noise = np.sqrt(mean(left**2, (-2, -1), keepdims=True)) <= 1e-9 * scale
    return np.where(noise & ~np.isnan(left), 0.0, left)


def correlation(terms: np.ndarray) -> np.ndarray:
    """Pearson's r from sums of 1, v, v^2, s, s^2 and s*v, first axis; NaN for under three cells or no variation."""
    n, v, vv, s, ss, sv = terms
    with np.errstate(invalid="ignore", divide="ignore"):
        spread_v, spread_s = vv - v * v / n, ss - s * s / n
        r = np.clip((sv - s * v / n) / np.sqrt(spread_v * spread_s), -1, 1)
        varied = (spread_v > 1e-12 * vv) & (spread_s > 1e-12 * ss)
    return np.where(varied & (n >= _FEWEST), r, np.nan)


def mean(x: np.ndarray, axis: int | tuple[int, ...], *, keepdims: bool = False) -> np.ndarray:
    """Mean over what is known; NaN, without a warning, where nothing is."""
    known = ~np.isnan(x)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(known, x, 0).sum(axis, keepdims=keepdims) / known.sum(axis, keepdims=keepdims)


def _products(S: np.ndarray, V: np.ndarray, statistic: str, method: str) -> np.ndarray:
    """The sums that `correlation` takes, for each target [term, target]."""
    known = ~np.isnan(S + V)
    s, v = (np.where(known, prepared(np.where(known, x, np.nan), statistic, method), 0) for x in (S, V))
    return np.stack([known, v, v * v, s, s * s, s * v]).sum(2)


def _estimate(terms: np.ndarray, statistic: str, kin: np.ndarray, draws: int, seed: int) -> dict[str, float]:
    """r (a mean over targets where it is taken within them), its interval by families `kin` [target], and n."""
    codes, names = pd.factorize(kin)

    def r(weights: np.ndarray) -> np.ndarray:
        rows = weights[:, codes]
        if statistic != "within_target":
            return correlation(terms @ rows.T)
        each = correlation(terms)
        with np.errstate(invalid="ignore"):
            return rows @ np.nan_to_num(each) / (rows @ ~np.isnan(each))

    found = stats.grouped(r, len(names), n=draws, seed=seed)
    return {"r": float(found.estimate), "low": float(found.low), "high": float(found.high), "n": int(terms[0].sum())}


def _permutation_p(
    S: np.ndarray, V: np.ndarray, rows: np.ndarray, columns: np.ndarray, statistic: str, method: str
) -> list[float]:
    """Two-sided p of every measure; V [measure, target, source], where permutations take rows and columns from.

    The statistic is the correlation itself, but that residuals and ranks are taken of all scores once, not of each
    measure's pairs: a permutation test is exact for any statistic that treats all labellings alike.
    """
    v = _grouped(prepared(np.where(np.isnan(S), np.nan, V), statistic, method), statistic)
    moved = _permuted(prepared(S, statistic, method), rows, columns)
    null = [mean(correlation(_sums(v, _grouped(s, statistic).swapaxes(1, 2))), 0) for s in moved]
    return [_two_sided(row) for row in np.concatenate(null, axis=1)]


def _sums(v: np.ndarray, s: np.ndarray) -> np.ndarray:
    """The sums of `correlation` [term, group, measure, draw] of v [group, measure, cell] and s [group, cell, draw]."""
    of_v, of_s = ((~np.isnan(x)).astype(float) for x in (v, s))
    v, s = np.nan_to_num(v), np.nan_to_num(s)
    return np.stack([of_v @ of_s, v @ of_s, (v * v) @ of_s, of_v @ s, of_v @ (s * s), v @ s])


def _grouped(x: np.ndarray, statistic: str) -> np.ndarray:
    """[table, target, source] as [group, table, cell]: a group holds the cells that one correlation runs over."""
    return x.swapaxes(0, 1) if statistic == "within_target" else x.reshape(1, len(x), -1)


def _two_sided(found: np.ndarray) -> float:
    """p of the first value among the others, rounding apart."""
    if np.isnan(found[0]):
        return np.nan
    null = found[1:][~np.isnan(found[1:])]
    return stats.permutation_p(np.abs(found[0]) - 1e-12, null)


def _semipartial(y: np.ndarray, x: np.ndarray, others: np.ndarray, places: Iterator[np.ndarray]) -> dict[str, float]:
    """beta, partial r and p of one measure; y and x [cell], others [cell, measure], `places` [draw, cell]."""
    basis = orth(others, rcond=np.sqrt(_RANK))
    x, y = (values - basis @ (basis.T @ values) for values in (x, y))
    if x @ x <= _RANK * len(x):
        return dict.fromkeys(("beta", "partial_r", "p"), np.nan)
    padded = np.append(x, 0)  # for cells that nothing known moves to
    shuffled = (padded[part] for part in places)
    sums = [(cells @ y, (cells**2).sum(1) - ((cells @ basis) ** 2).sum(1)) for cells in shuffled]
    across, length = np.concatenate(sums, axis=1)
    partial = across / np.sqrt(length * (y @ y))
    return {"beta": float(across[0] / length[0]), "partial_r": float(partial[0]), "p": _two_sided(partial)}


def _permuted(x: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> Iterator[np.ndarray]:
    """The permuted tables [draw, target, source] of x [target, source], some draws at a time."""
    for start in range(0, len(rows), _CHUNK):
        part = slice(start, start + _CHUNK)
        yield x[rows[part, :, None], columns[part, None, :]]
