"""How strongly two tables over the same source-target pairs go together.

Cells of one target share that target's difficulty, which dwarfs what sources add: so the statistic to lead with is
taken within each target, and the pooled one is shown as confounded. A language paired with itself never counts, nor
does a pair that either table leaves unknown; to leave out more (one language in two scripts, say), drop rows of the
scores. Arrays are S [target, source] for scores and V [target, source] for values, NaN where unknown.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from helpers.common import stats

STATISTICS = ("within_target", "within_source", "centred", "pooled")  # the last is confounded by hard targets
EXPERIMENT = ["task", "representation", "metric"]  # keys of scores beside source and target, where present
_AXIS = {"within_target": -1, "within_source": -2}  # what one correlation runs over; the others run over both
FEWEST = 3  # a correlation of two points is always 1 or -1


def within_target(scores: pd.DataFrame, values: pd.DataFrame, method: str = "pearson") -> pd.DataFrame:
    """table[target, r, n]: correlation of scores and values over the n sources of each target.

    scores[source, target, score], values[source, target, value]; method pearson or spearman. NaN for fewer than three
    sources and where scores or values are constant. Raises ValueError where a pair repeats or none is in both tables.
    """
    S, V = aligned(scores, values)
    terms = products(S.to_numpy(), V.to_numpy(), "within_target", method).sum(2)
    return pd.DataFrame({"target": S.index, "r": correlation(terms), "n": terms[0].astype(int)})


def within_source(scores: pd.DataFrame, values: pd.DataFrame, method: str = "pearson") -> pd.DataFrame:
    """table[source, r, n]: the same as `within_target`, over the n targets of each source."""
    S, V = aligned(scores, values)
    terms = products(S.to_numpy(), V.to_numpy(), "within_source", method).sum(1)
    return pd.DataFrame({"source": S.columns, "r": correlation(terms), "n": terms[0].astype(int)})


def centred(scores: pd.DataFrame, values: pd.DataFrame, method: str = "pearson") -> pd.DataFrame:
    """table[r, n, confounded], one row: correlation over all pairs of what target and source effects leave of both."""
    return _overall(scores, values, "centred", method)


def pooled(scores: pd.DataFrame, values: pd.DataFrame, method: str = "pearson") -> pd.DataFrame:
    """table[r, n, confounded], one row: correlation over all pairs as they are, confounded by how hard targets are."""
    return _overall(scores, values, "pooled", method)


def crossed(
    table: pd.DataFrame, by: str | Sequence[str], value: str, *, statistic: str = "pooled", method: str = "pearson"
) -> pd.DataFrame:
    """table[a, b, r, n]: correlation of each two groups of a long table, over the pairs of languages that both know.

    `crossed(similarity, "measure", "value")` sets measures beside measures, `crossed(scores, ["task",
    "representation"], "score", statistic="within_target")` experiments beside experiments; keys join with " / ".
    """
    by = [by] if isinstance(by, str) else list(by)
    frames = {
        " / ".join(map(str, name)): square(group, value) for name, group in table.groupby(by, sort=False, dropna=False)
    }
    rows = []
    for a, left in frames.items():
        for b, right in frames.items():
            S, V = (x.to_numpy() for x in left.align(right, join="inner"))
            found = estimate(products(S, V, statistic, method), statistic)
            rows.append({"a": a, "b": b, "r": found["r"], "n": found["n"]})
    return pd.DataFrame(rows)


def experiments(scores: pd.DataFrame) -> Iterator[tuple[dict[str, str], pd.DataFrame]]:
    """The keys and the rows of each experiment of a score table, in order of appearance."""
    keys = [key for key in EXPERIMENT if key in scores]
    if not keys:
        yield {}, scores
        return
    for found, table in scores.groupby(keys, sort=False, dropna=False):
        yield dict(zip(keys, found)), table


def square(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """[target x source] frame of one column, a language with itself set to NaN; labels in order of appearance.

    Raises ValueError where a pair repeats or a value is infinite.
    """
    repeated = int(table.duplicated(["source", "target"]).sum())
    if repeated:
        advice = "keep one task, representation, metric and measure, and average over seeds"
        raise ValueError(f"{repeated} of {len(table)} {column} rows repeat a source and target; {advice}")
    if np.isinf(table[column].to_numpy(float)).any():
        raise ValueError(
            f"{int(np.isinf(table[column]).sum())} of {len(table)} {column}s are infinite; use NaN for unknown"
        )
    wide = table.pivot(index="target", columns="source", values=column).astype(float)
    wide = wide.loc[table["target"].unique(), table["source"].unique()]
    return wide.mask(wide.index.to_numpy()[:, None] == wide.columns.to_numpy())


def aligned(scores: pd.DataFrame, values: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores and values [target x source] with the labels of the scores; ValueError where they share no pair."""
    S = square(scores, "score")
    V = square(values, "value")
    if not (S.index.isin(V.index).any() and S.columns.isin(V.columns).any()):
        example = f"scores start with {scores['source'].iloc[0]!r}, values with {values['source'].iloc[0]!r}"
        raise ValueError(f"{len(scores)} scores and {len(values)} values share no pair of languages; {example}")
    return S, V.reindex(index=S.index, columns=S.columns)


def stacked(scores: pd.DataFrame, similarity: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Scores [target x source] and, for each measure, values [target, source] with the labels of the scores."""
    groups = similarity.groupby("measure", sort=False)
    found = {name: aligned(scores, table) for name, table in groups}
    if not found:
        raise ValueError("0 rows of similarity to rank sources by; name measures or baselines")
    S = next(iter(found.values()))[0]
    return S, {name: V.to_numpy() for name, (_, V) in found.items()}


def products(S: np.ndarray, V: np.ndarray, statistic: str, method: str = "pearson") -> np.ndarray:
    """The six terms [term, target, source] that a correlation sums: 1, v, v^2, s, s^2 and s*v, zero where unknown."""
    known = ~np.isnan(S + V)
    s, v = (np.where(known, prepared(np.where(known, x, np.nan), statistic, method), 0) for x in (S, V))
    return np.stack([known.astype(float), v, v * v, s, s * s, s * v])


def prepared(x: np.ndarray, statistic: str, method: str = "pearson") -> np.ndarray:
    """x [..., target, source] ready for sums: residuals for `centred`, ranks for spearman, about a mean of zero."""
    if statistic not in STATISTICS or method not in ("pearson", "spearman"):
        raise ValueError(f"{statistic!r} by {method!r}; statistics are {', '.join(STATISTICS)}, by pearson or spearman")
    if statistic == "centred":
        x = residuals(x)
    if method == "spearman":
        flat = x if statistic in _AXIS else x.reshape(*x.shape[:-2], -1)
        x = rankdata(flat, axis=_AXIS.get(statistic, -1), nan_policy="omit").reshape(x.shape)
    return x - mean(x, (-2, -1), keepdims=True)


def residuals(x: np.ndarray) -> np.ndarray:
    """x [..., target, source] less target and source effects: means are removed in turn until none is left.

    What rounding leaves of a table of nothing but effects becomes exactly 0.
    """
    start = x - mean(x, (-2, -1), keepdims=True)
    left, scale = start, np.sqrt(mean(start**2, (-2, -1), keepdims=True))
    for _ in range(500):
        left = left - mean(left, -1, keepdims=True)
        effect = mean(left, -2, keepdims=True)
        left = left - effect
        if not (np.abs(effect) > 1e-12 * scale).any():
            break
    noise = np.sqrt(mean(left**2, (-2, -1), keepdims=True)) <= 1e-9 * scale
    return np.where(noise & ~np.isnan(left), 0.0, left)


def correlation(terms: np.ndarray) -> np.ndarray:
    """Pearson's r from sums of the six terms of `products`, first axis; NaN for under three cells or no variation."""
    n, v, vv, s, ss, sv = terms
    with np.errstate(invalid="ignore", divide="ignore"):
        spread_v, spread_s = vv - v * v / n, ss - s * s / n
        r = np.clip((sv - s * v / n) / np.sqrt(spread_v * spread_s), -1, 1)
        varied = (spread_v > 1e-12 * vv) & (spread_s > 1e-12 * ss)
    return np.where(varied & (n >= FEWEST), r, np.nan)


def estimate(terms: np.ndarray, statistic: str, weights: np.ndarray | None = None) -> dict[str, float]:
    """r (a mean over targets or sources for the within statistics), n, and with weights [draw, target] low and high.

    terms [term, target, source] as `products` makes them; the interval is the middle 95 % of the draws.
    """
    rows = np.ones((1, terms.shape[1])) if weights is None else np.vstack([np.ones(terms.shape[1]), weights])
    if statistic == "within_target":
        each = correlation(terms.sum(2))
        found = resampled(each, rows)
    elif statistic == "within_source":
        found = mean(correlation(np.moveaxis(np.tensordot(rows, terms, (1, 1)), 1, 0)), -1)
    else:
        found = correlation(terms.sum(2) @ rows.T)
    low, high = interval(found[1:])
    return {"r": float(found[0]), "low": low, "high": high, "n": int(terms[0].sum())}


def interval(draws: np.ndarray) -> tuple[float, float]:
    """The middle 95 % of bootstrap draws, unknown ones left out; NaN for none."""
    known = draws[~np.isnan(draws)]
    return tuple(float(end) for end in stats.interval(0, known)[1:]) if len(known) else (np.nan, np.nan)


def resampled(each: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Means [draw] of one number per target, unknown ones left out; weights [draw, target]."""
    with np.errstate(invalid="ignore"):
        return weights @ np.nan_to_num(each) / (weights @ ~np.isnan(each))


def mean(x: np.ndarray, axis: int | tuple[int, ...], *, keepdims: bool = False) -> np.ndarray:
    """Mean over what is known; NaN, without a warning, where nothing is."""
    known = ~np.isnan(x)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(known, x, 0).sum(axis, keepdims=keepdims) / known.sum(axis, keepdims=keepdims)


def _overall(scores: pd.DataFrame, values: pd.DataFrame, statistic: str, method: str) -> pd.DataFrame:
    S, V = aligned(scores, values)
    found = estimate(products(S.to_numpy(), V.to_numpy(), statistic, method), statistic)
    return pd.DataFrame([{"r": found["r"], "n": found["n"], "confounded": statistic == "pooled"}])
