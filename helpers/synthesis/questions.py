"""Three views of a pair of languages in one table, and what one of them predicts of another beyond a third.

Pairs are not independent, since each language takes part in many. So source and target effects are removed first,
p-values permute the languages (double semi-partialling), freely and so that the tree stays, and intervals let pairs go
together that share a language, or a family (`stats.dyadic_interval`).
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from helpers.common import stats
from helpers.common.lookup import known
from helpers.synthesis.dyads import KEYS, VARIANTS
from helpers.transfer import qap, trees

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
    table: pd.DataFrame, questions: Sequence[Question], tree: trees.Tree, *, permutations: int = 1999, seed: int = 0
) -> pd.DataFrame:
    """table[outcome, predictor, given, r, partial_r, low, ..., p, p_family, holm, holm_family, freely, significant, n].

    One row for each question. r is the correlation of what source and target effects leave of outcome and predictor,
    partial_r the same with the quantities of `given` held fixed too (`given` is their number). low and high bound 95 %
    over languages, low_family and high_family over families; p permutes the languages (`qap.mrqap`), p_family keeping
    the tree, Holm corrects both over all questions. freely: Holm's p under 5 %, and both intervals off 0; significant:
    beyond family too. With one family there is no interval over families, and nothing is. A given quantity that is
    unknown for every pair is left out; NaN for a predictor without variation.
    """
    rows = []
    for outcome, predictor, given in questions:
        scores, x, *held = (_frame(table, name) for name in (outcome, predictor, *given))
        held, scored = [z for z in held if z["value"].notna().any()], scores.rename(columns={"value": "score"})
        found = qap.mrqap(scored, pd.concat([x, *held]), tree, permutations=permutations, seed=seed)
        row, ends = found.set_index("measure").loc[predictor], [np.nan] * 4
        if np.isfinite(row.partial_r):
            cells, source, target = _cells([scores, x, *held])
            ends = _ends(row.partial_r, _pull(cells), source, target, tree)
        raw = qap.overall(scored, x)["r"]
        rows.append((outcome, predictor, len(held), raw, row.partial_r, *ends, row.p, row.p_family, int(row.n)))
    names = ["outcome", "predictor", "given", "r", "partial_r", *_ENDS, "p", "p_family", "n"]
    out = pd.DataFrame(rows, columns=names)
    out["holm"], out["holm_family"] = (stats.holm(out[p]) for p in ("p", "p_family"))
    out["freely"] = (out["holm"] < 0.05) & _off_zero(out)
    out["significant"] = out["freely"] & (out["holm_family"] < 0.05)
    return out[[*names[:-1], "holm", "holm_family", "freely", "significant", "n"]]


def pair_means(values: pd.DataFrame, by: Sequence[str], families: Mapping[str, str]) -> pd.DataFrame:
    """table[*by, value, low, high, low_family, high_family, n, significant]: means over pairs, their ends as above.

    values[source, target, *by, value]; n counts the rows of a group.
    """
    rows = []
    for key, part in values.groupby(list(by), sort=False):
        x = part["value"].to_numpy(float)
        mean = x.mean()
        ends = _ends(mean, (x - mean) / len(x), part["source"], part["target"], families)
        rows.append((*key, mean, *ends, len(x)))
    return pd.DataFrame(rows, columns=[*by, "value", *_ENDS, "n"]).assign(significant=_off_zero)


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


def _pull(cells: np.ndarray) -> np.ndarray:
    """What each cell adds to the error of the partial correlation of the first two columns, the others held fixed."""
    held = cells[:, 2:]
    x, y = (cells[:, :2] - held @ np.linalg.lstsq(held, cells[:, :2], rcond=None)[0]).T
    x, y = x / x.std(), y / y.std()
    return (x * y - (x * y).mean() * (x**2 + y**2) / 2) / len(x)


def _ends(estimate: float, influence: np.ndarray, source: Sequence, target: Sequence, tree: trees.Tree) -> list[float]:
    """The ends of the interval over languages, then over families; NaN for one of them."""
    families = dict(zip(tree, trees.family(list(tree), tree)))
    return [end for g in ({}, families) for end in stats.dyadic_interval(estimate, influence, source, target, g)[1:]]
