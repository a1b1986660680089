"""What script, words, order and endings cause inside a model, beside what correlations claim.

One idea: a twin differs from its original in one property alone. What changes when it takes its original's place as the
target of a pair is what that property causes; the natural pairs of the same model say what a correlation would have
claimed. The two are ranked side by side.
"""

from collections.abc import Mapping, Sequence

import pandas as pd

from helpers.common import stats
from helpers.synthesis import trainings
from helpers.transfer import ranking, twins
from helpers.transfer.twins import MEASURES
from helpers.world import mini, worlds

ITSELF = {"shared": 1.0, "auroc": 0.5, "form": 0.5, "meaning": 1.0, "retrieval": 1.0, "gain": 0.0}
"""What a language has when it meets itself, by definition; transfer has to be measured."""
TITLES = {"shared": "experts shared", "auroc": "AUROC of experts", "form": "form ABX", "meaning": "meaning ABX"} | {
    "retrieval": "retrieval", "gain": "steering gain", "topics": "topic transfer", "pos": "POS transfer",
}  # fmt: skip


def tables(measured: Mapping[str, pd.DataFrame]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Two tables of what `trainings.measure` found, name of the model -> table: natural pairs, and `effects`.

    Both have the model's name in the column `trained`.
    """
    natural, changed = [], []
    for name, found in measured.items():
        twins = trainings.originals(mini.recipe(name))
        plain = found[~found["target"].isin(twins) & (found["source"] != found["target"])]
        natural.append(plain.assign(trained=name))
        changed.append(effects(found, twins).assign(trained=name))
    return pd.concat(natural, ignore_index=True), pd.concat(changed, ignore_index=True)


def effects(found: pd.DataFrame, twins: Mapping[str, tuple[str, str, float]]) -> pd.DataFrame:
    """table[outcome, kin, original, change, dose, before, after, effect], from a table of `trainings.measure`.

    The target of a pair is the original (`before`) or its twin (`after`). kin is `itself` where the source is the
    original: a language with itself, whose values need no measuring but for transfer; and `sibling` where it is another
    language of the family, mean over these.
    """
    value = found.set_index(["outcome", "source", "target"])["value"]
    rows = []
    for outcome, source, target in value.index:
        if target in twins:
            original, change, dose = twins[target]
            itself = source == original
            start = ITSELF[outcome] if itself and outcome in ITSELF else value[outcome, source, original]
            kin = "itself" if itself else "sibling"
            rows.append((outcome, kin, original, change, dose, start, value[outcome, source, target]))
    keys = ["outcome", "kin", "original", "change", "dose"]
    table = pd.DataFrame(rows, columns=[*keys, "before", "after"]).groupby(keys, sort=False, as_index=False).mean()
    return table.assign(effect=table["after"] - table["before"])


def summary(effects: pd.DataFrame) -> pd.DataFrame:
    """table[outcome, kin, change, dose, effect, low, high, n]: means over trainings and originals, n of each pair.

    effects[trained, original, ...]: originals share a training and trainings share the twins, so the interval is
    `stats.crossed_interval`; with one training it speaks of that one.
    """
    rows = []
    for key, part in effects.groupby(["outcome", "kin", "change", "dose"], sort=False):
        cells = part.pivot_table(index="trained", columns="original", values="effect").to_numpy()
        rows.append((*key, *stats.crossed_interval(cells), cells.size))
    return pd.DataFrame(rows, columns=["outcome", "kin", "change", "dose", "effect", "low", "high", "n"])


def correlations(found: pd.DataFrame, *, permutations: int = 999, seed: int = 0) -> pd.DataFrame:
    """table[outcome, change, r, r_low, r_high, holm, partial_r, p] over the natural pairs, means over trainings.

    found[outcome, source, target, value, ...]; each change has the world's measure of similarity that it lowers. r is
    within targets, low and high resample them; partial_r holds the other three measures fixed (MRQAP).
    """
    scores = found.groupby(["outcome", "source", "target"], sort=False, as_index=False)["value"].mean()
    scores = scores.rename(columns={"outcome": "task", "value": "score"})
    similar = natural_similarity(scores["source"].unique())
    told = ranking.correlate(scores, similar, statistics=("within_target",), permutations=permutations, seed=seed)
    told = told[told["pairs"] == "common"].rename(columns={"low": "r_low", "high": "r_high"})
    together = ranking.mrqap(scores, similar, permutations=permutations, seed=seed)
    table = told[["task", "measure", "r", "r_low", "r_high", "holm"]].merge(
        together[["task", "measure", "partial_r", "p"]], on=["task", "measure"]
    )
    back = {measure: change for change, measure in MEASURES.items()}
    table.insert(1, "change", table.pop("measure").map(back))
    return table.rename(columns={"task": "outcome"})


def natural_similarity(languages: Sequence[str]) -> pd.DataFrame:
    """table[measure, source, target, value] of the default world's four measures that a twin can change."""
    exact = worlds.build().similarity()
    kept = exact["measure"].isin(MEASURES.values()) & exact["source"].isin(languages) & exact["target"].isin(languages)
    return exact[kept & (exact["source"] != exact["target"])].reset_index(drop=True)


def beside(causes: pd.DataFrame, told: pd.DataFrame) -> pd.DataFrame:
    """table[outcome, change, kin, effect, low, high, n, r, ..., cause_rank, r_rank, cause_sure, r_sure, verdict].

    At the full dose, for each kin. Ranks run from 1, the largest in size, within an outcome. The last three columns
    are those of `twins.verdicts`.
    """
    full = causes[causes["dose"] == causes["dose"].max()].drop(columns="dose")
    table = full.merge(told, on=["outcome", "change"], how="left")
    for name, column in {"cause_rank": "effect", "r_rank": "r", "partial_rank": "partial_r"}.items():
        sizes = table[column].abs().groupby([table["outcome"], table["kin"]])
        table[name] = sizes.rank(ascending=False)
    return table.join(twins.verdicts(table))


def ranking_table(table: pd.DataFrame) -> pd.DataFrame:
    """table[outcome, change, by, rank, sure] from `beside`: by correlation, and by twins with sibling and original."""
    sides = {"correlation": ("sibling", "r"), "twin and\nsibling": ("sibling", "cause")}
    sides |= {"twin and\noriginal": ("itself", "cause")}
    parts = []
    for by, (kin, what) in sides.items():
        rows = table[table["kin"] == kin]
        keys = rows[["outcome", "change"]].assign(by=by)
        parts.append(keys.assign(rank=rows[f"{what}_rank"], sure=rows[f"{what}_sure"]))
    return pd.concat(parts, ignore_index=True)


def with_start(summary: pd.DataFrame) -> pd.DataFrame:
    """The table of `summary` with a row of no effect at dose 0 in front of each curve: there a twin is its original."""
    keys = ["outcome", "kin", "change"]
    start = summary.drop_duplicates(keys).assign(dose=0.0, effect=0.0, low=0.0, high=0.0)
    return pd.concat([start, summary], ignore_index=True)


def agreement(table: pd.DataFrame) -> pd.DataFrame:
    """table[kin, outcome, rho, cause, claim, first]: how alike interventions and correlations rank the changes.

    rho is Spearman's correlation of the sizes of effect and r over the changes, for which no test is made: they are
    four. cause lists the changes that may matter most: that of the largest effect off 0, and those whose intervals
    reach into its own; claim likewise those of the largest significant r. first is `another` where
    none is in both, `opposed` where the signs of those in both contradict each other, `same` where each is that one
    change, else `not told apart`; empty where one of them is empty.
    """
    rows = []
    for (kin, outcome), part in table.groupby(["kin", "outcome"], sort=False):
        ranked = part[["effect", "r"]].abs().rank()
        cause = _leaders(part[part["cause_sure"]], "effect", "low", "high")
        claim = _leaders(part[part["r_sure"]], "r", "r_low", "r_high")
        first = _first(cause, claim, part.set_index("change")["verdict"])
        rho = float(ranked["effect"].corr(ranked["r"]))
        rows.append((kin, outcome, rho, ", ".join(cause), ", ".join(claim), first))
    return pd.DataFrame(rows, columns=["kin", "outcome", "rho", "cause", "claim", "first"])


def _first(cause: list[str], claim: list[str], signs: pd.Series) -> str:
    """How the first places of both sides stand to each other, in the words of `agreement`."""
    if not cause or not claim:
        return ""
    both = [change for change in cause if change in claim]
    if not both:
        return "another"
    if (signs[both] == "opposed").all():
        return "opposed"
    return "same" if len(cause) == len(claim) == 1 else "not told apart"


def _leaders(part: pd.DataFrame, column: str, low: str, high: str) -> list[str]:
    """The changes, largest first, whose intervals reach into that of the largest; all have intervals off 0."""
    if part.empty:
        return []
    part = part.iloc[part[column].abs().argsort()[::-1]]
    ends = part[[low, high]].abs()
    return list(part["change"][ends.max(axis=1) >= ends.iloc[0].min()])
