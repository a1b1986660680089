"""What an association over language pairs is worth: intervals over targets, permuted languages, measures together.

The cells of a source-by-target table are not independent. Intervals therefore resample whole targets, and p-values
permute the languages' labels, of rows and columns jointly, as Mantel did; languages that are only sources, only targets
or both are permuted among their like, so that no cell leaves the table.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from helpers.common import stats
from helpers.transfer.association import (
    EXPERIMENT,
    FEWEST,
    STATISTICS,
    correlation,
    estimate,
    experiments,
    mean,
    prepared,
    products,
    stacked,
)

_RANK = 1e-10  # a share of variance below this is rounding
_CHUNK = 50  # permuted tables held at once


def correlate(
    scores: pd.DataFrame,
    similarity: pd.DataFrame,
    *,
    statistics: Sequence[str] = STATISTICS,
    method: str = "pearson",
    draws: int = 1000,
    permutations: int = 999,
    seed: int = 0,
) -> pd.DataFrame:
    """table[task, representation, metric, measure, statistic, pairs, r, low, high, p, holm, n, confounded].

    scores[(task, representation, metric,) source, target, score], similarity[measure, source, target, value]. `pairs`
    is common (those that every measure knows, if it knows any: compare measures there) or full (all that this one
    knows), n their number. r is the mean over targets, or over sources, for the two within statistics; low and high its
    95 % interval over resampled targets (residuals and ranks are taken once, not per draw); p is two-sided, over joint
    permutations of the languages; holm corrects it over measures and experiments, for each statistic and kind of pairs.
    """
    rows = []
    for keys, table in experiments(scores):
        S, V = stacked(table, similarity)
        most = int(S.notna().sum(axis=1).max())
        if "within_target" in statistics and most < FEWEST:
            raise ValueError(f"{most} sources of one target, but a correlation needs {FEWEST}; take more languages")
        weights = stats.weights(len(S), draws, seed)
        moved = _shuffled(S, permutations, seed)
        for pairs, shown in (("common", common(V)), ("full", V)):
            for statistic in statistics:
                p = _mantel(moved, np.stack(list(shown.values())), statistic, method)
                for (name, values), level in zip(shown.items(), p):
                    found = estimate(products(S.to_numpy(), values, statistic, method), statistic, weights)
                    rows.append({**keys, "measure": name, "statistic": statistic, "pairs": pairs, **found, "p": level})
    return _corrected(pd.DataFrame(rows))


def mrqap(
    scores: pd.DataFrame, similarity: pd.DataFrame, *, effects: bool = True, permutations: int = 999, seed: int = 0
) -> pd.DataFrame:
    """table[task, representation, metric, measure, beta, partial_r, p, n]: several measures in one regression.

    Double semi-partialling (Dekker, Krackhardt and Snijders 2007): what the other measures leave of one measure is
    permuted jointly over languages; partial correlations, which rank as t statistics do, are compared, two-sided. beta
    is in standard deviations. `effects` first removes target and source means from everything. On the n pairs that
    every measure knows; where those are not all pairs, a permuted cell from outside counts as zero. NaN for a measure
    that the others, or the effects, determine; ValueError where the common pairs are no more than what is estimated.
    """
    rows = []
    for keys, table in experiments(scores):
        S, V = stacked(table, similarity)
        known = ~np.isnan(S.to_numpy() + sum(V.values()))
        ends = known.any(0).sum() + known.any(1).sum() - 1 if effects else 1
        if known.sum() - ends - len(V) < 1:
            raise ValueError(
                f"{known.sum()} pairs are known to all {len(V)} measures, which with {ends} means leaves nothing to "
                "estimate from; take more languages, or leave out measures, those first that know few pairs"
            )
        y, *x = (_standard(np.where(known, cells, np.nan), effects)[known] for cells in (S.to_numpy(), *V.values()))
        _, *places = _shuffled(S, permutations, seed)
        found = _semipartial(y, np.stack(x, axis=1), _moved_cells(known, *places))
        rows += [{**keys, "measure": name, **one, "n": len(y)} for name, one in zip(V, found)]
    return pd.DataFrame(rows)


def common(V: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same measures, unknown wherever any of them is, but for those that know nothing at all here."""
    gap = np.isnan(sum(values for values in V.values() if not np.isnan(values).all()))
    return {name: np.where(gap, np.nan, values) for name, values in V.items()}


def _mantel(
    moved: tuple[np.ndarray, np.ndarray, np.ndarray], V: np.ndarray, statistic: str, method: str
) -> list[float]:
    """Two-sided p of every measure; V [measure, target, source], `moved` the scores with their permutations.

    The statistic is the correlation itself, but that residuals and ranks are taken of all scores once, not of each
    measure's pairs: a permutation test is exact for any statistic that treats all labellings alike.
    """
    S, rows, columns = moved
    v = _grouped(prepared(np.where(np.isnan(S), np.nan, V), statistic, method), statistic)
    patterns = [np.packbits(np.isnan(v[:, m])).tobytes() for m in range(v.shape[1])]
    different = list(dict.fromkeys(patterns))  # measures with the same gaps share products
    masks = ~np.isnan(v[:, [patterns.index(pattern) for pattern in different]])
    sums = (np.nan_to_num(v), masks.astype(float), [different.index(pattern) for pattern in patterns])
    null = [
        mean(correlation(_terms(_grouped(part, statistic), *sums)), 0)
        for part in _permuted(prepared(S, statistic, method), rows, columns)
    ]
    return [_two_sided(row) for row in np.concatenate(null, axis=1)]


def _two_sided(found: np.ndarray) -> float:
    """p of the first value among the others, rounding apart."""
    if np.isnan(found[0]):
        return np.nan
    null = found[1:][~np.isnan(found[1:])]
    return stats.permutation_p(np.abs(found[0]) - 1e-12, null, tail="two-sided")


def _semipartial(y: np.ndarray, x: np.ndarray, moved: Iterator[np.ndarray]) -> list[dict[str, float]]:
    """beta, partial r and p of each measure; y [cell], x [cell, measure], `moved` where permuted cells come from."""
    padded = np.vstack([_left(x), np.zeros(x.shape[1])])  # the last row serves cells that nothing known moves to
    both = np.column_stack([y, x])
    crossed, lengths = [], []
    for places in moved:
        cells = padded[places]
        crossed.append(both.T @ cells)  # [y and every measure, permuted measure]
        lengths.append((cells**2).sum(0))
    crossed, lengths, gram, out = np.stack(crossed), np.stack(lengths), both.T @ both, []
    for m in range(x.shape[1]):
        others = [1 + i for i in range(x.shape[1]) if i != m]
        inverse = np.linalg.pinv(gram[np.ix_(others, others)], rcond=_RANK, hermitian=True)
        fit = inverse @ np.column_stack([gram[others, 0], crossed[:, others, m].T])
        across = crossed[:, 0, m] - crossed[:, others, m] @ fit[:, 0]
        length = lengths[:, m] - (crossed[:, others, m].T * fit[:, 1:]).sum(0)
        partial = across / np.sqrt(length * (gram[0, 0] - gram[0, others] @ fit[:, 0]))
        out.append({"beta": float(across[0] / length[0]), "partial_r": float(partial[0]), "p": _two_sided(partial)})
    return out


def _left(x: np.ndarray) -> np.ndarray:
    """What the other measures leave of each [cell, measure]; NaN where that is nothing."""
    left = np.empty_like(x)
    for m in range(x.shape[1]):
        others = np.delete(x, m, axis=1)
        left[:, m] = x[:, m] - others @ np.linalg.lstsq(others, x[:, m], rcond=np.sqrt(_RANK))[0]
    return np.where((left**2).sum(0) > _RANK * len(x), left, np.nan)


def _moved_cells(known: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> Iterator[np.ndarray]:
    """For each permutation, which known cell each known cell takes its value from; one past the last if from none."""
    place = np.full(known.shape, known.sum())
    place[known] = np.arange(known.sum())
    for row, column in zip(rows, columns):
        yield place[row[:, None], column][known]


def _standard(x: np.ndarray, effects: bool) -> np.ndarray:
    x = prepared(x, "centred" if effects else "pooled")
    scale = np.sqrt(mean(x**2, (-2, -1)))
    return x / scale if scale > 0 else x


def _shuffled(S: pd.DataFrame, permutations: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The table, and where each permutation takes rows [draw, target] and columns [draw, source] from."""
    names = S.index.union(S.columns, sort=False)
    role = 2 * names.isin(S.index) + names.isin(S.columns)
    order = np.tile(np.arange(len(names)), (permutations + 1, 1))
    rng = np.random.default_rng(seed)
    for kind in np.unique(role):
        here = np.flatnonzero(role == kind)
        order[1:, here] = rng.permuted(order[1:, here], axis=1)
    places = [labels.get_indexer(names)[order[:, names.get_indexer(labels)]] for labels in (S.index, S.columns)]
    return S.to_numpy(), *places


def _permuted(S: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> Iterator[np.ndarray]:
    """The permuted tables [draw, target, source], some draws at a time."""
    for start in range(0, len(rows), _CHUNK):
        part = slice(start, start + _CHUNK)
        yield S[rows[part, :, None], columns[part, None, :]]


def _grouped(x: np.ndarray, statistic: str) -> np.ndarray:
    """[table, target, source] as [group, table, cell]: a group holds the cells that one correlation runs over."""
    if statistic == "within_target":
        return x.swapaxes(0, 1)
    if statistic == "within_source":
        return np.moveaxis(x, 2, 0)
    return x.reshape(1, len(x), -1)


def _terms(s: np.ndarray, v: np.ndarray, masks: np.ndarray, which: list[int]) -> np.ndarray:
    """The sums of `correlation` [term, group, measure, draw] of s [group, draw, cell] and v [group, measure, cell].

    `masks` [group, mask, cell] are the different patterns of known values, `which` tells each measure's. Where
    permuting moves no gap of the scores, as when only the diagonal is unknown, half of the terms need no product.
    """
    known = ~np.isnan(s)
    s = np.where(known, s, 0).swapaxes(1, 2)
    if (known == known[:, :1]).all():
        n, first, second = (x.sum(2)[..., None] for x in (masks, v, v * v))
    else:
        n, first, second = (x @ known.swapaxes(1, 2).astype(float) for x in (masks, v, v * v))
    once = (n[:, which], first, second, (masks @ s)[:, which], (masks @ (s * s))[:, which])
    return np.stack(np.broadcast_arrays(*once, v @ s))


def _corrected(table: pd.DataFrame) -> pd.DataFrame:
    groups = table.groupby(["statistic", "pairs"])["p"]
    table = table.assign(holm=groups.transform(lambda p: stats.holm(p)), confounded=table["statistic"] == "pooled")
    keys = [key for key in EXPERIMENT if key in table]
    return table[[*keys, "measure", "statistic", "pairs", "r", "low", "high", "p", "holm", "n", "confounded"]]
