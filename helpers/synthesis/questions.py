"""Three views of a pair of languages in one table, and what one of them foretells of another beyond a third.

One idea: pairs are not independent, since each language takes part in many. So source and target effects are removed
first, p-values permute the languages (double semi-partialling), and intervals resample whole languages, or whole
families: a pair counts as often as its source was drawn times as often as its target was.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from helpers.common import stats
from helpers.transfer import association, ranking

KEYS = ["source", "target", "quantity"]


class Question(NamedTuple):
    """Does `predictor` go with `outcome` where the quantities of `given` are held fixed?"""

    outcome: str
    predictor: str
    given: tuple[str, ...]


def join(parts: Mapping[tuple[str, str], pd.DataFrame]) -> pd.DataFrame:
    """table[source, target, quantity, role, sentences, value] of tables[source, target, quantity, value].

    `parts` maps (role, sentences) to a table: role says what a quantity is for (similarity, predictor, outcome ...),
    sentences which ones it was measured on, such as "dev". Pairs of a language with itself are dropped, and so are
    those that not all parts have. Raises ValueError where a quantity of a pair is there twice or no pair is in all.
    """
    tables = [part[[*KEYS, "value"]].assign(role=role, sentences=where) for (role, where), part in parts.items()]
    table = pd.concat([part[part["source"] != part["target"]] for part in tables], ignore_index=True)
    if twice := int(table.duplicated(KEYS).sum()):
        row = table[table.duplicated(KEYS)].iloc[0]
        raise ValueError(f"{twice} rows are there twice, such as {row.quantity!r} of {row.source}, {row.target}")
    each = [set(map(tuple, part[["source", "target"]].to_numpy())) for part in tables]
    both = set.intersection(*each) & set(map(tuple, table[["source", "target"]].to_numpy()))
    if not both:
        raise ValueError(f"{len(each)} parts share no pair of languages; they have {list(map(len, each))} pairs")
    kept = pd.MultiIndex.from_frame(table[["source", "target"]]).isin(both)
    return table[kept][[*KEYS, "role", "sentences", "value"]].reset_index(drop=True)


def shared_sentences(table: pd.DataFrame, used: Mapping[str, set], questions: Sequence[Question]) -> list[str]:
    """The questions, as "predictor -> outcome", whose two sides were measured on common sentences; best none.

    `used` maps the names in the table's column `sentences` to the ids behind them; names that it lacks have none.
    """
    where = table.drop_duplicates("quantity").set_index("quantity")["sentences"]
    return [
        f"{q.predictor} -> {q.outcome}"
        for q in questions
        if used.get(where[q.predictor], set()) & used.get(where[q.outcome], set())
    ]


def reliability(table: pd.DataFrame, again: pd.DataFrame) -> pd.DataFrame:
    """table[quantity, r, n, spread]: how well quantities of `table` agree with the same ones measured `again`.

    r is the correlation over pairs of what source and target effects leave of both, n their number, spread the
    standard deviation of the quantity over pairs; for the quantities of tables[source, target, quantity, value] that
    are in both. The square root of r bounds what a predictor can go with.
    """
    rows = []
    for quantity in [name for name in table["quantity"].unique() if name in set(again["quantity"])]:
        here, there = (_frame(part, quantity) for part in (table, again))
        found = ranking.centred(here.rename(columns={"value": "score"}), there).iloc[0]
        rows.append((quantity, found.r, int(found.n), here["value"].std()))
    return pd.DataFrame(rows, columns=["quantity", "r", "n", "spread"])


def answers(
    table: pd.DataFrame,
    questions: Sequence[Question],
    families: Mapping[str, str],
    *,
    draws: int = 1000,
    permutations: int = 1999,
    seed: int = 0,
) -> pd.DataFrame:
    """table[outcome, predictor, given, r, partial_r, low, high, low_family, high_family, p, holm, sure, n].

    One row for each question. r is the correlation of what source and target effects leave of outcome and predictor,
    partial_r the same with the quantities of `given` held fixed too (`given` is their number). low and high bound 95 %
    of resampled languages, low_family and high_family of resampled families; p permutes the languages
    (`ranking.mrqap`), Holm corrects it over all questions. sure: Holm's p under 5 %, and both intervals off 0; with
    one family there is no interval over families, and nothing is sure. A given quantity that is unknown for every pair
    is left out; NaN for a predictor without variation.
    """
    rows = []
    for outcome, predictor, given in questions:
        scores, (x, *held) = _frame(table, outcome), (_frame(table, name) for name in (predictor, *given))
        held = [part for part in held if part["value"].notna().any()]
        measures = pd.concat([x, *held])
        found = ranking.mrqap(scores.rename(columns={"value": "score"}), measures, permutations=permutations, seed=seed)
        told = found.set_index("measure").loc[predictor]
        raw = ranking.centred(scores.rename(columns={"value": "score"}), x)["r"].iloc[0]
        cells, source, target = _cells([scores, x, *held])
        statistic, ends = functools.partial(partial, cells[:, 0], cells[:, 1], cells[:, 2:]), (np.nan,) * 4
        if np.isfinite(told.partial_r):
            kinds = ({}, families)
            ends = [end for kind in kinds for end in _ends(statistic, source, target, kind, draws, seed)]
        rows.append((outcome, predictor, len(held), raw, told.partial_r, *ends, told.p, int(told.n)))
    names = ["outcome", "predictor", "given", "r", "partial_r", "low", "high", "low_family", "high_family", "p", "n"]
    out = pd.DataFrame(rows, columns=names)
    out["holm"] = stats.holm(out["p"])
    off = [(out[f"low{kind}"] > 0) | (out[f"high{kind}"] < 0) for kind in ("", "_family")]
    return out.assign(sure=(out["holm"] < 0.05) & off[0] & off[1])[[*names[:-1], "holm", "sure", "n"]]


def pair_means(
    values: pd.DataFrame,
    by: Sequence[str],
    families: Mapping[str, str],
    *,
    value: str = "value",
    draws: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """table[*by, value, low, high, low_family, high_family, n]: means over pairs, languages or families resampled.

    values[source, target, *by, value]; n counts the rows of a group. Draws in which a group has no pair are left out.
    Where all languages are of one family, the interval over families is NaN.
    """
    rows = []
    for key, part in values.groupby(list(by), sort=False):
        x, source, target = part[value].to_numpy(float), part["source"].to_numpy(), part["target"].to_numpy()
        ends = [
            _ends(functools.partial(_weighted_mean, x), source, target, groups, draws, seed)
            for groups in ({}, families)
        ]
        rows.append((*key, x.mean(), *ends[0], *ends[1], len(x)))
    return pd.DataFrame(rows, columns=[*by, value, "low", "high", "low_family", "high_family", "n"])


def pair_weights(
    source: Sequence[str], target: Sequence[str], groups: Mapping[str, str], draws: int, seed: int
) -> np.ndarray:
    """How often each pair counts in each resample [draw, pair]: its source's count times its target's.

    Languages are resampled whole, or their `groups` (language -> family; one it lacks is a group of its own).
    """
    names = list(dict.fromkeys([*source, *target]))
    codes, kinds = pd.factorize(np.array([groups.get(name) or name for name in names], dtype=object))
    counts = stats.weights(len(kinds), draws, seed)[:, codes]
    place = {name: i for i, name in enumerate(names)}
    return counts[:, [place[name] for name in source]] * counts[:, [place[name] for name in target]]


def partial(y: np.ndarray, x: np.ndarray, held: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted correlation of y and x [cell] given the columns held [cell, column], for each row of weights [draw].

    NaN where held leaves nothing of x or y.
    """
    columns = np.column_stack([y, x, np.ones(len(y)), held])
    products = (columns[:, :, None] * columns[:, None, :]).reshape(len(y), -1)
    gram = (weights @ products).reshape(len(weights), columns.shape[1], -1)
    inverse = np.linalg.pinv(gram[:, 2:, 2:], rcond=1e-10, hermitian=True)
    left = gram[:, :2, :2] - gram[:, :2, 2:] @ inverse @ gram[:, 2:, :2]
    size = np.diagonal(left, axis1=1, axis2=2)
    gone = (size <= 1e-9 * np.diagonal(gram[:, :2, :2], axis1=1, axis2=2)).any(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        r = left[:, 0, 1] / np.sqrt(np.prod(np.where(size > 0, size, np.nan), axis=1))
    return np.where(gone, np.nan, np.clip(r, -1, 1))


def questions(outcomes: Mapping[str, Sequence[str]], predictors: Mapping[str, Sequence[str]]) -> list[Question]:
    """Every predictor of a kind of outcome asked about each of its outcomes.

    `outcomes` maps an outcome to what is given when it is asked about; `predictors` maps it to its predictors.
    """
    return [Question(name, x, tuple(given)) for name, given in outcomes.items() for x in predictors[name]]


def known_measures(table: pd.DataFrame, least: float = 0.9) -> list[str]:
    """The measures of table[measure, source, target, value] that vary and are known for that share of pairs or more."""
    groups = table[table["source"] != table["target"]].groupby("measure", sort=False)["value"]
    return [name for name, values in groups if values.notna().mean() >= least and values.nunique() > 1]


def gains(before: np.ndarray, cubes: Mapping[str, Mapping[str, np.ndarray]], languages: Sequence[str]) -> pd.DataFrame:
    """table[source, target, units, toward, value]: what steering adds to each pair's retrieval.

    before [source, target, sentence] are hits of the untouched model, `cubes` maps the kind of units to language
    steered to -> hits. toward: the pair's source, its target, or another language (mean over these).
    """
    names, rows = np.array(languages, dtype=object), []
    source, target = np.nonzero(~np.eye(len(names), dtype=bool))
    for units, cube in cubes.items():
        each = np.stack([cube[name].mean(-1) - before.mean(-1) for name in languages])  # [toward, source, target]
        ends = {"source": each[source, source, target], "target": each[target, source, target]}
        rest = each.sum(0)[source, target] - ends["source"] - ends["target"]
        ends["another"] = rest / (len(names) - 2) if len(names) > 2 else np.full(len(source), np.nan)
        for toward, value in ends.items():
            keys = dict(source=names[source], target=names[target], units=units, toward=toward)
            rows.append(pd.DataFrame(keys | {"value": value}))
    return pd.concat(rows, ignore_index=True)


def contrasts(gained: pd.DataFrame, families: Mapping[str, str], *, seed: int = 0) -> pd.DataFrame:
    """`pair_means` of two differences of gains, by `contrast`: experts less random units, and source less another.

    The first is of pairs steered to their source; the second, of experts, says whether it matters who is steered to.
    """
    wide = gained.pivot_table(index=["source", "target"], columns=["units", "toward"], values="value", sort=False)
    units = list(gained["units"].unique())
    found = {f"{units[0]} less {units[1]}": wide[units[0], "source"] - wide[units[1], "source"]}
    if (units[0], "another") in wide:
        found["steered to the source less to another"] = wide[units[0], "source"] - wide[units[0], "another"]
    rows = [each.rename("value").reset_index().assign(contrast=name) for name, each in found.items()]
    return pair_means(pd.concat(rows, ignore_index=True), ["contrast"], families, seed=seed)


def thirds(table: pd.DataFrame, by: pd.DataFrame, names: Sequence[str] = ("low", "middle", "high")) -> pd.Series:
    """For each row of table[source, target, ...] the third that its pair falls in by by[source, target, value]."""
    value = by.set_index(["source", "target"])["value"].rank(method="first", pct=True)
    place = value.reindex(pd.MultiIndex.from_frame(table[["source", "target"]])).to_numpy()
    return pd.Series(np.array(names, dtype=object)[np.minimum((place * 3).astype(int), 2)], table.index)


def most_helped(before: np.ndarray, after: np.ndarray, languages: Sequence[str], top: int = 5) -> pd.DataFrame:
    """table[source, target, chosen, held_out]: the pairs whose retrieval rises most, and their gain where not chosen.

    Hits [source, target, sentence]. Pairs are ranked on every other sentence (`chosen`), so that `held_out`, on the
    rest, is not too good to be true.
    """
    gain = np.where(np.eye(len(languages), dtype=bool)[..., None], np.nan, after - before)
    chosen, rest = gain[..., ::2].mean(-1), gain[..., 1::2].mean(-1)
    best = np.argsort(-np.nan_to_num(chosen, nan=-np.inf).ravel(), kind="stable")[:top]
    names = np.array(languages, dtype=object)
    source, target = np.unravel_index(best, chosen.shape)
    found = dict(source=names[source], target=names[target], chosen=chosen.ravel()[best], held_out=rest.ravel()[best])
    return pd.DataFrame(found).dropna(ignore_index=True)


def _frame(table: pd.DataFrame, quantity: str) -> pd.DataFrame:
    """table[measure, source, target, value] of one quantity; LookupError where the table lacks it."""
    part = table[table["quantity"] == quantity]
    if part.empty:
        raise LookupError(f"no quantity {quantity!r} in the table; it has {', '.join(table['quantity'].unique())}")
    return part.rename(columns={"quantity": "measure"})[["measure", "source", "target", "value"]]


def _cells(frames: Sequence[pd.DataFrame]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Residuals [cell, quantity] of the pairs that all know, in standard deviations, with each cell's languages."""
    wide = [association.square(frame, "value") for frame in frames]
    index, columns = wide[0].index, wide[0].columns
    values = np.stack([part.reindex(index=index, columns=columns).to_numpy() for part in wide])
    known = ~np.isnan(values).any(0)
    left = association.residuals(np.where(known, values, np.nan))[:, known].T
    scale = left.std(0)
    target, source = np.nonzero(known)
    return left / np.where(scale > 0, scale, 1), columns.to_numpy()[source], index.to_numpy()[target]


def _ends(statistic: Callable, source, target, groups: Mapping, draws: int, seed: int) -> tuple[float, float]:
    """The middle 95 % of a statistic of weights [draw, pair]; NaN where there is but one group to resample."""
    if len({groups.get(name) or name for name in (*source, *target)}) < 2:
        return np.nan, np.nan
    return association.interval(statistic(pair_weights(source, target, groups, draws, seed)))


def _weighted_mean(x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return weights @ x / weights.sum(1)
