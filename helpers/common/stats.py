"""How far a number may be off: intervals over sentences, targets or trainings, permutation tests, Holm.

A bootstrap replicate is a row of whole-number weights, so that resampling a mean is a matrix product, and analyses
that share `weights` are resampled together and can be compared pair by pair. Intervals hold the central 95 %: by
`grouped` from fifteen independent groups on percentiles of resamples, below that Student's.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats
from scipy.optimize import brentq

from helpers.common.lookup import known

FEW = 15  # independent groups; of fewer, resamples miss the truth too often: six in one case of seven


class Interval(NamedTuple):
    """An estimate with its 95 % interval; numbers, or arrays alike."""

    estimate: Any
    low: Any
    high: Any


@lru_cache(maxsize=16)
def weights(items: int, n: int = 1000, seed: int = 0) -> np.ndarray:
    """How often each item is drawn in each of `n` resamples [replicate, item], read-only; rows sum to `items`."""
    if items < 2:
        raise ValueError(f"{items} item to resample, at least 2 are needed; gather more sentences or clusters")
    drawn = np.random.default_rng(seed).multinomial(items, np.full(items, 1 / items), size=n)
    drawn.flags.writeable = False
    return drawn


def interval(estimate, replicates) -> Interval:
    """The estimate with the central 95 % of its replicates [replicate, ...]; undefined (NaN) ones are left out."""
    return Interval(estimate, *np.nanquantile(replicates, [0.025, 0.975], axis=0))


def grouped(statistic: Callable[[np.ndarray], Any], groups: int, *, n: int = 1000, seed: int = 0) -> Interval:
    """A statistic and its interval where whole groups are independent of each other; NaN ends for a single group.

    `statistic` takes weights [draw, group], how often each group counts, and gives [draw, ...]. From `FEW` groups on
    these are `weights`; below, each group is left out in turn, and the interval is Student's with the jackknife's error
    (for the mean of equal groups, that of `few_interval`). Undefined (NaN) values are left out.
    """
    found = np.asarray(statistic(np.ones((1, groups))), float)[0]
    if groups < 2:
        return Interval(found, found * np.nan, found * np.nan)
    drawn = np.asarray(statistic(weights(groups, n, seed) if groups >= FEW else 1 - np.eye(groups)), float)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # NaN throughout stays NaN
        if groups >= FEW:
            return interval(found, drawn)
        error = np.sqrt((groups - 1) * np.nanmean((drawn - np.nanmean(drawn, axis=0)) ** 2, axis=0))
    return _students(found, error, groups - 1)


def mean_interval(values, clusters=None, *, seed: int = 0) -> Interval:
    """Mean over items and its interval by `grouped`, items or whole clusters of them independent; NaN for only one.

    `values` are [item, ...], columns resampled together; `clusters` names each item's. For the difference of two
    conditions on the same items, give the difference of their values.
    """
    sums = values = _finite(values)
    sizes = np.ones(len(values))
    if clusters is not None:
        if len(values) != len(clusters):
            raise ValueError(f"{len(values)} values but {len(clusters)} cluster names; give one for each value")
        codes, names = pd.factorize(np.asarray(clusters))
        sums = np.zeros((len(names), *values.shape[1:]))
        np.add.at(sums, codes, values)
        sizes = np.bincount(codes)

    def mean(draws: np.ndarray) -> np.ndarray:
        return (np.tensordot(draws, sums, axes=1).T / (draws @ sizes)).T

    return Interval(values.mean(axis=0), *grouped(mean, len(sizes), seed=seed)[1:])


def dyadic_interval(estimate: float, influence, source, target, groups: Mapping[str, str] | None = None) -> Interval:
    """An estimate over ordered pairs of languages and its t interval; NaN for fewer than two languages.

    influence [pair] is what each pair adds to the error of the estimate: (x - mean) / n for a mean. Pairs that share a
    language may go together, all others not, so the variance is the sum of products of influences over pairs with a
    language in common (Aronow, Samii and Assenova 2015). `groups` (language -> family) makes families the units.
    """
    ends, groups = [np.asarray(end, dtype=object) for end in (source, target)], groups or {}
    codes, names = pd.factorize(np.array([groups.get(name) or name for name in np.concatenate(ends)], dtype=object))
    n = len(names)
    if n < 2:
        return Interval(estimate, np.nan, np.nan)
    both = np.zeros((n, n))
    np.add.at(both, tuple(codes.reshape(2, -1)), influence)
    own, apart = np.diag(both), both + both.T - 2 * np.diag(np.diag(both))
    once = (np.triu(apart) ** 2).sum()  # of two units that share both of their languages: counted twice below
    variance = ((own + apart.sum(axis=1)) ** 2).sum() - once
    least = once + (own**2).sum()  # as if pairs of units were independent, since chance can even make the sum negative
    return _students(estimate, np.sqrt(max(variance, least) * n / (n - 1)), n - 1)


def few_interval(values, groups=None) -> Interval:
    """Mean over few independent items [item], or over their groups' means, and Student's t interval, NaN for one.

    Resampling three items gives intervals that miss the truth in one case of four instead of twenty.
    """
    values = _finite(values if groups is None else pd.Series(np.asarray(values)).groupby(np.asarray(groups)).mean())
    if len(values) < 2:
        return Interval(values.mean(), np.nan, np.nan)
    return _students(values.mean(), stats.sem(values), len(values) - 1)


def crossed_interval(cells) -> Interval:
    """Mean over cells [row, column] and its t interval where both vary at random, such as trainings and languages.

    The variance of the mean is (rows + columns - rest) / cells in mean squares, with Satterthwaite's degrees of
    freedom, and at least that of the rows, or of the columns, alone. One row or column speaks of that one.
    """
    cells = _finite(cells)
    if min(cells.shape) < 2:
        return few_interval(cells.ravel())
    mean, (rows, columns), free = cells.mean(), cells.shape, np.array(cells.shape) - 1
    down, across = cells.mean(axis=1), cells.mean(axis=0)
    rest = ((cells - down[:, None] - across + mean) ** 2).sum() / free.prod()
    sides = np.array([columns * down.var(ddof=1), rows * across.var(ddof=1)])
    square, degrees = sides.max(), free[sides.argmax()]
    if sides.sum() - rest > square:
        square, size = sides.sum() - rest, (sides**2 / free).sum() + rest**2 / free.prod()
        degrees = np.clip(square**2 / size, 1, free.prod())
    return _students(mean, np.sqrt(square / cells.size), degrees)


def _students(mean, error, degrees) -> Interval:
    half = stats.t.ppf(0.975, degrees) * error
    return Interval(mean, mean - half, mean + half)


def by_group(
    table: pd.DataFrame, keys: Sequence[str], value: str, *, over=None, interval: Callable[..., Interval] = few_interval
) -> pd.DataFrame:
    """table[*keys, value, low, high, n]: the mean of `value` and its interval for each value of `keys`, as they appear.

    `over` names the columns that tell apart independent groups of rows, such as seed and original, which n counts
    (without it each row is one): `interval(values, groups)`, such as `few_interval` or `mean_interval`, uses them.
    """
    rows = []
    for key, part in table.groupby(list(keys), sort=False):
        groups = None if over is None else part.groupby(over, sort=False).ngroup()
        rows.append((*key, *interval(part[value], groups), len(part) if over is None else groups.nunique()))
    return pd.DataFrame(rows, columns=[*keys, value, "low", "high", "n"])


def contrasts(table: pd.DataFrame, column: str, value: str) -> pd.DataFrame:
    """The table, and for each other level of `column` rows `first less other`: differences at equal other columns."""
    first, *others = table[column].unique()
    keys = [name for name in table if name not in (column, value)]
    wide = table.pivot(index=keys, columns=column, values=value)
    less = wide[others].rsub(wide[first], axis=0).rename(columns=lambda other: f"{first} less {other}")
    less = less.melt(value_name=value, ignore_index=False).reset_index()
    return pd.concat([table, less[[*table]]], ignore_index=True)


def bootstrap(table: pd.DataFrame, statistic: Callable[[pd.DataFrame], Any], clusters: str, *, n: int, seed: int = 0):
    """`statistic` (a number or an array) of a table, its interval by `grouped` over clusters that a column names."""
    codes, names = pd.factorize(table[known(clusters, table, "column")])
    rows = np.arange(len(table))

    def each(draws: np.ndarray) -> list[np.ndarray]:
        counts = draws[:, codes].astype(int)
        return [np.asarray(statistic(table.take(np.repeat(rows, count))), float) for count in counts]

    return grouped(each, len(names), n=n, seed=seed)


def smallest_effect(error: float, degrees: int, power: float = 0.8) -> float:
    """The smallest mean whose t interval leaves out 0 in `power` of all cases, for a standard error; NaN for one group.

    The noncentrality of Student's t at which its upper tail beyond the interval's bound is `power`.
    """
    if degrees < 1 or not error >= 0:
        return np.nan
    bound = stats.t.ppf(0.975, degrees)
    return error * brentq(lambda shift: stats.nct.sf(bound, degrees, shift) - power, 0, 40)


def permutation_p(observed, null):
    """Two-sided p of `observed` among values under permutation [replicate, ...], itself counted in: never 0."""
    null = np.asarray(null)
    return (1 + (np.abs(null) >= np.abs(observed)).sum(axis=0)) / (1 + len(null))


def holm(p) -> np.ndarray:
    """Holm's adjusted p values, in the order given, for the whole family; NaN stays NaN and does not count."""
    p = pd.Series(np.asarray(p, float))
    steps = p.sort_values().dropna()
    return (steps * np.arange(len(steps), 0, -1)).cummax().clip(upper=1).reindex(p.index).to_numpy()


def partial_correlation(x, y, controls=None, *, ranks: bool = False) -> float:
    """Correlation of x and y when the controls [item, control] are held fixed: that of what they leave of both.

    `ranks` makes it Spearman's. Items with a NaN anywhere are left out; NaN where nothing is left of x or y.
    """
    columns = np.column_stack([x, y] if controls is None else [x, y, controls]).astype(float)
    columns, needed = columns[~np.isnan(columns).any(axis=1)], columns.shape[1] + 1
    if len(columns) < needed:
        raise ValueError(f"{len(columns)} complete items for {needed - 3} controls; at least {needed} are needed")
    columns = stats.rankdata(columns, axis=0) if ranks else columns
    design, both = np.column_stack([np.ones(len(columns)), columns[:, 2:]]), columns[:, :2]
    left = both - design @ np.linalg.lstsq(design, both, rcond=None)[0]
    sizes = np.linalg.norm(left, axis=0)
    if (sizes <= 1e-10 * np.linalg.norm(both, axis=0)).any():
        return np.nan  # constant, or wholly explained by the controls
    return float(np.clip(left[:, 0] @ left[:, 1] / sizes.prod(), -1, 1))


def _finite(values) -> np.ndarray:
    """The values in float64, at least one and none of them missing."""
    values = np.asarray(values, float)
    if not len(values):
        raise ValueError("0 items, at least 1 is needed; has everything been filtered out?")
    missing = (~np.isfinite(values).reshape(len(values), -1).all(axis=1)).sum()
    if missing:
        raise ValueError(f"{missing} of {len(values)} items hold NaN or infinity; drop them first")
    return values


OFF = ("above", "below")  # verdicts of an interval that does not hold the reference


def verdict(low: float, high: float, reference: float = 0.0) -> str:
    """The word for where an interval lies: "above" or "below" the reference, or "not distinguishable from" it."""
    if low > reference:
        return "above"
    return "below" if high < reference else "not distinguishable from"


def span(low: float, high: float, digits: int = 3) -> str:
    """An interval with its signs, such as `[-0.020, +0.100]`; `[no interval]` where nothing could be resampled."""
    return f"[{low:+.{digits}f}, {high:+.{digits}f}]" if low == low else "[no interval]"
