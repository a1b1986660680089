"""How sure a number is: bootstrap over sentences or targets, permutation tests, Holm, partial correlation.

One idea: a bootstrap replicate is a row of whole-number weights, so that resampling a mean is a matrix product, and
analyses that share `weights` are resampled together and can be compared pair by pair.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats


class Interval(NamedTuple):
    """An estimate with its interval, by percentiles of a bootstrap unless said; numbers, or arrays of one shape."""

    estimate: Any
    low: Any
    high: Any


class Correlation(NamedTuple):
    """A correlation, its two-sided p value (for independent items), and the number of complete items."""

    r: float
    p: float
    n: int


@lru_cache(maxsize=16)
def weights(items: int, n: int = 1000, seed: int = 0) -> np.ndarray:
    """How often each item is drawn in each of `n` resamples [replicate, item], read-only; rows sum to `items`."""
    if items < 2:
        raise ValueError(f"{items} item to resample, at least 2 are needed; gather more sentences or clusters")
    drawn = np.random.default_rng(seed).multinomial(items, np.full(items, 1 / items), size=n)
    drawn.flags.writeable = False
    return drawn


def interval(estimate, replicates, level: float = 0.95) -> Interval:
    """The estimate with the central `level` of its replicates [replicate, ...]; undefined (NaN) ones are left out."""
    if not 0 < level < 1:
        raise ValueError(f"level = {level}, but it is a share between 0 and 1, such as 0.95")
    low, high = np.nanquantile(replicates, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return Interval(estimate, low, high)


def mean_interval(values, *, n: int = 1000, level: float = 0.95, seed: int = 0) -> Interval:
    """Mean over items and its interval, items resampled; `values` [item] or [item, ...], columns resampled together.

    For the difference of two conditions on the same items, give the difference of their values.
    """
    values = _finite(values)
    replicates = np.tensordot(weights(len(values), n, seed), values, axes=1) / len(values)
    return interval(values.mean(axis=0), replicates, level)


def few_interval(values, groups=None, *, level: float = 0.95) -> Interval:
    """Mean over few independent items [item], or over their groups' means, and Student's t interval, NaN for one.

    Resampling three items gives intervals that miss the truth in one case of four instead of twenty.
    """
    values = _finite(values if groups is None else pd.Series(np.asarray(values)).groupby(np.asarray(groups)).mean())
    if len(values) < 2:
        return Interval(values.mean(), np.nan, np.nan)
    half = stats.t.ppf((1 + level) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return Interval(values.mean(), values.mean() - half, values.mean() + half)


def crossed_interval(cells, *, level: float = 0.95) -> Interval:
    """Mean over cells [row, column] and its t interval where rows and columns both vary at random, such as trainings
    and languages; with one row or column it speaks of that one.

    The variance of the mean is (rows + columns - rest) / cells in mean squares, with Satterthwaite's degrees of
    freedom, and at least that of the rows, or of the columns, alone.
    """
    cells = _finite(cells)
    if min(cells.shape) < 2:
        return few_interval(cells.ravel(), level=level)
    mean, free = cells.mean(), np.array([cells.shape[0] - 1, cells.shape[1] - 1])
    down, across = cells.mean(axis=1), cells.mean(axis=0)
    rest = ((cells - down[:, None] - across + mean) ** 2).sum() / free.prod()
    sides = np.array([cells.shape[1] * down.var(ddof=1), cells.shape[0] * across.var(ddof=1)])
    square, size = sides.sum() - rest, (sides**2 / free).sum() + rest**2 / free.prod()
    if square > sides.max():
        degrees = np.clip(square**2 / size, 1, free.prod())
    else:
        square, degrees = sides.max(), free[sides.argmax()]
    half = stats.t.ppf((1 + level) / 2, degrees) * np.sqrt(square / cells.size)
    return Interval(mean, mean - half, mean + half)


def by_group(
    table: pd.DataFrame,
    keys: Sequence[str],
    value: str,
    *,
    over: str | Sequence[str] | None = None,
    interval: Callable[..., Interval] = few_interval,
) -> pd.DataFrame:
    """table[*keys, value, low, high, n]: the mean of `value` and its interval for each value of `keys`, as they appear.

    `over` names the columns that tell independent groups of rows apart, such as seed and original: `interval(values,
    groups)` makes use of them, as `few_interval` and `cluster_interval` do, and n counts them. Without `over` each row
    is independent: `interval(values)`.
    """
    rows = []
    for key, part in table.groupby(list(keys), sort=False):
        groups = [] if over is None else [part.groupby(over, sort=False).ngroup()]
        rows.append((*key, *interval(part[value], *groups), groups[0].nunique() if groups else len(part)))
    return pd.DataFrame(rows, columns=[*keys, value, "low", "high", "n"])


def contrasts(table: pd.DataFrame, column: str, value: str) -> pd.DataFrame:
    """The table, and for each other level of `column` rows `first less other`: differences at equal other columns."""
    keys = [name for name in table if name not in (column, value)]
    wide = table.set_index([*keys, column])[value].unstack(column)
    first, *others = dict.fromkeys(table[column])
    parts = [(wide[first] - wide[other]).rename(value).reset_index() for other in others]
    named = [part.assign(**{column: f"{first} less {other}"}) for part, other in zip(parts, others)]
    return pd.concat([table, *(part[list(table)] for part in named)], ignore_index=True)


def cluster_interval(values, clusters, *, n: int = 1000, level: float = 0.95, seed: int = 0) -> Interval:
    """Mean over items and its interval, whole clusters resampled; `clusters` names the cluster of each item.

    With a single cluster the interval is NaN.
    """
    values = _finite(values)
    if len(values) != len(clusters):
        raise ValueError(f"{len(values)} values but {len(clusters)} cluster names; give one for each value")
    codes, names = pd.factorize(np.asarray(clusters))
    if len(names) < 2:
        return Interval(values.mean(), np.nan, np.nan)
    draws = weights(len(names), n, seed)
    totals = draws @ np.bincount(codes, values)
    return interval(values.mean(), totals / (draws @ np.bincount(codes)), level)


def bootstrap(
    table: pd.DataFrame,
    statistic: Callable[[pd.DataFrame], Any],
    *,
    clusters: str | Sequence[str],
    n: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """`statistic` of a table and its interval, whole clusters (a key column, such as `target`) resampled.

    With several columns, such as source and target, each is resampled by itself and a row's weights multiply. The
    statistic may return a number or an array of one shape; replicates where it is NaN are left out. With a single
    cluster the interval is NaN.
    """
    columns = [clusters] if isinstance(clusters, str) else clusters
    for column in columns:
        if column not in table:
            raise LookupError(f"no column {column!r} to resample; the table has {', '.join(map(str, table.columns))}")
    if min(table[column].nunique() for column in columns) < 2:
        estimate = np.asarray(statistic(table), float)
        return Interval(estimate, *2 * [np.full_like(estimate, np.nan)])
    counts = np.ones((n, len(table)), int)
    for place, column in enumerate(columns):
        codes, names = pd.factorize(table[column])
        counts *= weights(len(names), n, seed + place)[:, codes]
    rows = np.arange(len(table))
    replicates = [np.asarray(statistic(table.take(np.repeat(rows, count)))) for count in counts]
    return interval(statistic(table), np.stack(replicates).astype(float), level)


def permutation_p(observed, null, *, tail: str = "greater"):
    """p value of `observed` among values under permutation [replicate, ...], the observed one counted in: never 0.

    (1 + number at least as extreme) / (1 + number of permutations); `tail` is greater, less or two-sided (in size).
    """
    tails = {"greater": lambda x: x, "less": lambda x: -x, "two-sided": np.abs}
    if tail not in tails:
        raise LookupError(f"unknown tail {tail!r}; choose among {', '.join(tails)}")
    observed, null = tails[tail](np.asarray(observed)), tails[tail](np.asarray(null))
    p = (1 + (null >= observed).sum(axis=0)) / (1 + len(null))
    return float(p) if np.ndim(p) == 0 else p


def holm(p) -> np.ndarray:
    """Holm's adjusted p values, in the order given, for the whole family; NaN stays NaN and does not count."""
    p = np.asarray(p, float)
    adjusted, order = np.full(p.shape, np.nan), np.argsort(p)[: np.isfinite(p).sum()]
    steps = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(steps))
    return adjusted


def partial_correlation(x, y, controls=(), *, ranks: bool = False) -> Correlation:
    """Correlation of x and y when the controls (a table, or arrays [item]) are held fixed: that of the residuals.

    `ranks` makes it Spearman's. Items with a NaN anywhere are left out. The p value is for independent items, which
    pairs of languages are not: permute languages for those.
    """
    parts = controls.to_numpy().T if isinstance(controls, pd.DataFrame) else list(controls)
    columns = np.column_stack([x, y, *parts]).astype(float)
    columns = columns[~np.isnan(columns).any(axis=1)]
    free = len(columns) - 2 - len(parts)
    if free < 1:
        raise ValueError(
            f"{len(columns)} complete items for {len(parts)} controls; at least {len(parts) + 3} are needed"
        )
    columns = stats.rankdata(columns, axis=0) if ranks else columns
    design = np.column_stack([np.ones(len(columns)), columns[:, 2:]])
    left = columns[:, :2] - design @ np.linalg.lstsq(design, columns[:, :2], rcond=None)[0]
    if (np.linalg.norm(left, axis=0) <= 1e-10 * np.linalg.norm(columns[:, :2], axis=0)).any():
        return Correlation(np.nan, np.nan, len(columns))  # constant, or wholly explained by the controls
    r = float(np.clip(left[:, 0] @ left[:, 1] / np.prod(np.linalg.norm(left, axis=0)), -1, 1))
    with np.errstate(divide="ignore"):
        t = r * np.sqrt(free / (1 - np.square(r)))
    return Correlation(r, float(2 * stats.t.sf(abs(t), free)), len(columns))


def _finite(values):
    """The values in float64, none of them missing."""
    values = np.asarray(values, float)
    if not len(values):
        raise ValueError("0 items, at least 1 is needed; has everything been filtered out?")
    missing = len(values) - np.isfinite(values).reshape(len(values), -1).all(axis=1).sum()
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


def standardised(values) -> np.ndarray:
    """The values less their mean, in units of their standard deviation; zeros where they do not vary."""
    values = _finite(values)
    spread = values.std(axis=0)
    return (values - values.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
