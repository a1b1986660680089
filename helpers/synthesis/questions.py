"""Three views of a pair of languages in one table, and what one of them predicts of another beyond a third.

Pairs are not independent, since each language takes part in many. So source and target effects are removed first,
p-values permute the languages (double semi-partialling), and intervals resample whole languages, or whole families: a
pair counts as often as its source was drawn times as often as its target was.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd

from helpers.common import stats
from helpers.common.lookup import known
from helpers.synthesis.dyads import KEYS, VARIANTS
from helpers.transfer import qap

_KNOWN = 0.9  # the least share of pairs that a measure of similarity has to be known for
_ENDS = ["low", "high", "low_family", "high_family"]


class Question(NamedTuple):
    """Does `predictor` go with `outcome` where the quantities of `given` are held fixed?"""

    outcome: str
    predictor: str
    given: tuple[str, ...]


def join(parts: Mapping[tuple[str, str], pd.DataFrame]) -> pd.DataFrame:
    """table[source, target, quantity, role, sentences, value] of tables[source, target, quantity, value].

    `parts` maps (role, sentences) to a table: role says what a quantity is for (similarity, predictor, transfer ...),
    sentences which ones it was measured on, such as "dev". Pairs that not all parts have are dropped, and so is a
    similarity that does not vary or is unknown for more than a tenth of the pairs. Raise ValueError where no pair is in
    all parts.
    """
    tables = [
        part[[*KEYS, "value"]].assign(role=role, sentences=where, part=number)
        for number, ((role, where), part) in enumerate(parts.items())
    ]
    table = pd.concat(tables, ignore_index=True).query("source != target")
    values = table.groupby("quantity")["value"]
    vary = (values.count() >= _KNOWN * values.size()) & (values.nunique() > 1)
    table = table[(table["role"] != "similarity") | table["quantity"].map(vary)]
    kept = table[table.groupby(["source", "target"])["part"].transform("nunique") == table["part"].nunique()]
    if kept.empty:
        raise ValueError(f"{len(parts)} parts share no pair of languages; take languages that all of them have")
    return kept[[*KEYS, "role", "sentences", "value"]].reset_index(drop=True)


def ask(table: pd.DataFrame, layer: int, last: int) -> list[Question]:
    """The questions of the notebook about a table from `join`: every variant of ABX about every outcome.

    Given all similarities, transfer is asked about by ABX at the last layer; retrieval after steering by ABX at the
    layer steered, given also retrieval before on other sentences.
    """
    names = {role: tuple(part["quantity"].unique()) for role, part in table.groupby("role", sort=False)}
    given = dict.fromkeys(names["transfer"], (last, names["similarity"]))
    after = [name for name in names["retrieval"] if name != "before"]
    given |= dict.fromkeys(after, (layer, (*names["similarity"], "before, on dev")))
    return [Question(y, f"{x}@{at}", held) for y, (at, held) in given.items() for x in VARIANTS]


def answers(
    table: pd.DataFrame,
    questions: Sequence[Question],
    families: Mapping[str, str],
    *,
    permutations: int = 1999,
    seed: int = 0,
) -> pd.DataFrame:
    """table[outcome, predictor, given, r, partial_r, low, high, low_family, high_family, p, holm, significant, n].

    One row for each question. r is the correlation of what source and target effects leave of outcome and predictor,
    partial_r the same with the quantities of `given` held fixed too (`given` is their number). low and high bound 95 %
    of resampled languages, low_family and high_family of resampled families; p permutes the languages (`qap.mrqap`),
    Holm corrects it over all questions. significant: Holm's p under 5 %, and both intervals off 0; with one family
    there is no interval over families, and nothing is. A given quantity that is unknown for every pair is left out;
    NaN for a predictor without variation.
    """
    rows = []
    for outcome, predictor, given in questions:
        scores, x, *held = (_frame(table, name) for name in (outcome, predictor, *given))
        held, scored = [z for z in held if z["value"].notna().any()], scores.rename(columns={"value": "score"})
        found = qap.mrqap(scored, pd.concat([x, *held]), permutations=permutations, seed=seed)
        row, ends = found.set_index("measure").loc[predictor], [np.nan] * 4
        if np.isfinite(row.partial_r):
            cells, source, target = _cells([scores, x, *held])
            statistic = partial(partial_r, cells[:, 0], cells[:, 1], cells[:, 2:])
            ends = _ends(statistic, source, target, families, seed)
        raw = qap.overall(scored, x)["r"]
        rows.append((outcome, predictor, len(held), raw, row.partial_r, *ends, row.p, int(row.n)))
    names = ["outcome", "predictor", "given", "r", "partial_r", *_ENDS, "p", "n"]
    out = pd.DataFrame(rows, columns=names)
    out["holm"] = stats.holm(out["p"])
    out["significant"] = (out["holm"] < 0.05) & _off_zero(out)
    return out[[*names[:-1], "holm", "significant", "n"]]


def pair_means(values: pd.DataFrame, by: Sequence[str], families: Mapping[str, str], *, seed: int = 0) -> pd.DataFrame:
    """table[*by, value, low, high, low_family, high_family, n, significant]: means over pairs, their ends as above.

    values[source, target, *by, value]; n counts the rows of a group. Draws in which a group has no pair are left out.
    """
    rows = []
    for key, part in values.groupby(list(by), sort=False):
        x = part["value"].to_numpy(float)
        ends = _ends(partial(_weighted_mean, x), part["source"], part["target"], families, seed)
        rows.append((*key, x.mean(), *ends, len(x)))
    return pd.DataFrame(rows, columns=[*by, "value", *_ENDS, "n"]).assign(significant=_off_zero)


def pair_weights(source: Sequence[str], target: Sequence[str], groups: Mapping[str, str], seed: int) -> np.ndarray:
    """How often each pair counts in each resample [draw, pair]: its source's count times its target's.

    Languages are resampled whole, or their `groups` (language -> family; one it lacks is a group of its own).
    """
    names = pd.Index([*source, *target]).unique()
    codes, kinds = pd.factorize(np.array([groups.get(name) or name for name in names], dtype=object))
    counts = stats.weights(len(kinds), seed=seed)[:, codes]
    return counts[:, names.get_indexer(source)] * counts[:, names.get_indexer(target)]


def partial_r(y: np.ndarray, x: np.ndarray, held: np.ndarray, weights: np.ndarray) -> np.ndarray:
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


def _off_zero(table: pd.DataFrame) -> pd.Series:
    """Whether the intervals over languages and over families both leave out 0, on the same side."""
    return (table[_ENDS] > 0).all(axis=1) | (table[_ENDS] < 0).all(axis=1)


def _frame(table: pd.DataFrame, quantity: str) -> pd.DataFrame:
    """table[measure, source, target, value] of one quantity."""
    part = table[table["quantity"] == known(quantity, table["quantity"].unique(), "quantity")]
    return part.rename(columns={"quantity": "measure"})[["measure", "source", "target", "value"]]


def _cells(frames: Sequence[pd.DataFrame]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Residuals [cell, quantity] of the pairs that all know, in standard deviations, with each cell's languages."""
    wide = [qap.square(frame, "value") for frame in frames]
    values = np.stack([part.reindex_like(wide[0]).to_numpy() for part in wide])
    there = ~np.isnan(values).any(0)
    left = qap.residuals(np.where(there, values, np.nan))[:, there].T
    scale, (target, source) = left.std(0), np.nonzero(there)
    return left / np.where(scale > 0, scale, 1), wide[0].columns.to_numpy()[source], wide[0].index.to_numpy()[target]


def _ends(statistic: Callable, source, target, families: Mapping, seed: int) -> list[float]:
    """The middle 95 % of a statistic of weights [draw, pair], languages resampled, then families; NaN for one group."""
    ends = []
    for groups in ({}, families):
        several = len({groups.get(name) or name for name in (*source, *target)}) > 1
        found = stats.interval(0, statistic(pair_weights(source, target, groups, seed))) if several else [np.nan] * 3
        ends += found[1:]
    return ends


def _weighted_mean(x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return weights @ x / weights.sum(1)
