"""What transfers and what predicts it: for each question one sentence and one small table, verdicts from intervals."""

import numpy as np
import pandas as pd

from helpers.common.lookup import known
from helpers.common.stats import by_group, mean_interval
from helpers.transfer.qap import EXPERIMENT
from helpers.transfer.ranking import floor_share, guides

Answer = tuple[str, pd.DataFrame]


def answer(question: str, *tables: pd.DataFrame) -> Answer:
    """A sentence in bold and the table that it sums up, for one of the questions of `QUESTIONS`, from its tables."""
    said, table = QUESTIONS[known(question, QUESTIONS, "question")](*tables)
    return f"**{said}**", table.round(3)


def transfer(scores: pd.DataFrame) -> Answer:
    """How well languages transfer to others and to themselves; the share of pairs no better than guessing."""
    table = by_group(scores.query("source != target"), EXPERIMENT, "score", over="target", interval=mean_interval)
    home = scores.query("source == target").groupby(EXPERIMENT).score.mean().rename("in-language")
    floor = floor_share(scores.query("task != 'parsing'")).share.rename("at the floor")
    best = table.loc[table.groupby("task", sort=False).score.idxmax()]
    parts = [f"{x.task} {x.score:.2f} [{x.low:.2f}, {x.high:.2f}] from {x.representation}" for x in best.itertuples()]
    said = f"Across languages, scores are at best: {'; '.join(parts)}."
    return said, table.drop(columns="n").join(home, on=EXPERIMENT).join(floor, on=EXPERIMENT)


def measure(found: pd.DataFrame) -> Answer:
    """Which measure goes best with transfer, by experiment, from one statistic of `qap.correlate`."""
    ranked = found.sort_values("r", ascending=False, kind="stable").groupby(EXPERIMENT)
    best, second = ranked.head(1), ranked.nth([1])
    ahead = best.merge(second, on=EXPERIMENT).query("low_x > high_y")
    clear = best.query("holm < 0.05").measure.value_counts()
    names = ", ".join(f"{name} {count}" for name, count in clear.items()) or "none"
    said = f"The best measure goes significantly with transfer in {clear.sum()} of {len(best)} experiments ({names})"
    table = pd.concat([best, second]).sort_values(EXPERIMENT, kind="stable")
    columns = [*EXPERIMENT, "measure", "r", "low", "high", "holm"]
    return f"{said}; in {len(ahead)} it is clearly ahead of the next.", table[columns]


def cost(curves: pd.DataFrame, found: pd.DataFrame) -> Answer:
    """What one source costs by the measure that correlates best, beside a random one."""
    best = found.loc[found.groupby(EXPERIMENT, sort=False).r.idxmax(), [*EXPERIMENT, "measure"]]
    table = _beside(best.merge(curves.query("k == 1")), curves.query("measure == 'random'"), "random")
    less, more = (table.high < table["low of random"]).sum(), (table.low > table["high of random"]).sum()
    said = "One source by the measure that correlates best costs significantly less than a random one in"
    return f"{said} {less} of {len(table)} experiments, and significantly more in {more}.", table


def luck(oracle: pd.DataFrame) -> Answer:
    """How much of the best source's score is luck of selection, from tables of `ranking.split_half`."""
    gaps = oracle.assign(luck=oracle.optimistic - oracle.honest).dropna(subset="luck")
    table = by_group(gaps, EXPERIMENT, "luck", interval=mean_interval)
    most = table.loc[table.luck.idxmax()]
    said = f"Luck of selection makes up {most.luck:.3f} [{most.low:.3f}, {most.high:.3f}] of the best source's score"
    return f"{said} at most, for {most.task} from {most.representation}.", table


def guide(curves: pd.DataFrame) -> Answer:
    """Whether the scores of another task are a safe guide to a source, by experiment.

    Safe is what costs less than chance and is not distinguishable from the best measure of similarity.
    """
    found = guides(curves)
    if found.empty:
        return "There is one task only, so no other task can guide it.", found
    best = curves.query("k == 1 and not baseline").sort_values("regret").groupby(EXPERIMENT).head(1)
    table = _beside(_beside(found, curves.query("measure == 'random'"), "random"), best, "best measure")
    better, equal = table.high < table["low of random"], table.low <= table["high of best measure"]
    table["verdict"] = np.select([~better, equal], ["no guide", "safe"], "better than chance")
    return f"Another task is a safe guide in {(better & equal).sum()} of {len(table)} cases.", table


def cause(table: pd.DataFrame) -> Answer:
    """What changing one property does, what correlation said of it, and how often the two agree."""
    counts = table.verdict.str.partition(":")[0].value_counts()
    told = ", ".join(f"{counts.get(word, 0)} {word}" for word in ("agree", "misleads", "missed", "opposed"))
    shown = ["change", "effect", "low", "high", "r", "holm", "partial_r", "p", "verdict"]
    said = f"Correlation against intervention, over {len(table)} changes of a task's sources: {told}."
    return said, table[[*EXPERIMENT, *shown]]


def _beside(table: pd.DataFrame, other: pd.DataFrame, name: str) -> pd.DataFrame:
    """The choice of one source in each row beside another one of the same experiment, and its interval."""
    kept = [column for column in table if column not in ("baseline", "k", "n")]
    other = other[other["k"] == 1][[*EXPERIMENT, "regret", "low", "high"]]
    return table[kept].merge(other, on=EXPERIMENT, suffixes=("", f" of {name}"))


QUESTIONS = dict(transfer=transfer, measure=measure, cost=cost, luck=luck, guide=guide, cause=cause)
