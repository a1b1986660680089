"""What transfers and what predicts it: for each question one sentence and one small table, verdicts from intervals."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from helpers.common.lookup import known
from helpers.common.stats import by_group, dyadic_interval, mean_interval, smallest_effect
from helpers.transfer import ranking, trees
from helpers.transfer.qap import EXPERIMENT
from helpers.transfer.ranking import ALL, BEST, floor_share, guides

Answer = tuple[str, pd.DataFrame]
MARGIN = 0.02  # of a score: a guide that surely costs less than this more than the best measure is safe


def answer(question: str, *tables: pd.DataFrame) -> Answer:
    """A sentence in bold and the table that it sums up, for one of the questions of `QUESTIONS`, from its tables."""
    said, table = QUESTIONS[known(question, QUESTIONS, "question")](*tables)
    return f"**{said}**", table.round(3)


def transfer(scores: pd.DataFrame, families: Mapping[str, str] | None = None) -> Answer:
    """How well languages transfer to others and to themselves; the share of pairs no better than guessing."""
    rows = []
    for key, part in scores.query("source != target").groupby(EXPERIMENT, sort=False):
        mean, n = part["score"].mean(), len(part)
        found = dyadic_interval(mean, (part["score"] - mean) / n, part["source"], part["target"], families)
        rows.append((*key, *found))
    table = pd.DataFrame(rows, columns=[*EXPERIMENT, "score", "low", "high"])
    home = scores.query("source == target").groupby(EXPERIMENT).score.mean().rename("in-language")
    floor = floor_share(scores.query("task != 'parsing'")).share.rename("at the floor")
    best = table.loc[table.groupby("task", sort=False).score.idxmax()]
    parts = [f"{x.task} {x.score:.2f} [{x.low:.2f}, {x.high:.2f}] from {x.representation}" for x in best.itertuples()]
    said = f"Across languages, scores are at best: {'; '.join(parts)}."
    return said, table.join(home, on=EXPERIMENT).join(floor, on=EXPERIMENT)


def reach(families: trees.Tree) -> Answer:
    """In how many ways the languages can be permuted so that the tree stays, and whether that can reach 5 %."""
    ways = trees.arrangements(list(families), families)
    sizes = pd.Series(trees.family(list(families), families)).value_counts()
    table = sizes.value_counts().rename_axis("languages in a family").rename("families").reset_index()
    said = f"{len(families)} languages in {len(sizes)} families have {ways:,} arrangements that keep the tree"
    if ways >= 20:
        return f"{said}, enough for p < .05 beyond family.", table
    size = int(sizes.median())
    needed = f"{trees.families_needed(size)} families of {size}"
    return f"{said}: p beyond family cannot fall below {1 / ways:.2f}; {needed} would do.", table


def measure(found: pd.DataFrame, scores: pd.DataFrame, similarity: pd.DataFrame, families: Mapping[str, str]) -> Answer:
    """What holds freely and beyond family, and the measure that other families would have chosen.

    From one statistic of `qap.correlate`; the chosen measure's r is a mean over targets whose family had no say
    (`ranking.chosen`), its interval by families.
    """
    chosen = ranking.chosen(scores, similarity, families)
    table = by_group(chosen.dropna(subset="r"), EXPERIMENT, "r", over="family", interval=mean_interval)
    names = chosen.groupby(EXPERIMENT, sort=False)["measure"].agg(lambda names: ", ".join(names.value_counts().index))
    free, beyond = found["holm"] < 0.05, (found["holm"] < 0.05) & (found["holm_family"] < 0.05)
    held = {"freely": free, "beyond family": beyond}
    for name, rows in held.items():
        kept = found[rows].sort_values("r", ascending=False, kind="stable").groupby(EXPERIMENT)["measure"]
        held[name] = kept.agg(", ".join).rename(f"holds {name}")
    table = table.join(names.rename("best elsewhere"), on=EXPERIMENT)
    table = table.join(held["freely"], on=EXPERIMENT).join(held["beyond family"], on=EXPERIMENT).fillna("none")
    said = f"Of {found['r'].notna().sum()} correlations {free.sum()} hold freely and {beyond.sum()} beyond family"
    clear = f"in {(table.low > 0).sum()} of {len(table)} experiments"
    return f"{said}; the measure that is best in other families goes with transfer {clear}.", table


def cost(singles: pd.DataFrame) -> Answer:
    """What one source costs by the best measure of other families, and by all together, less than a random one."""
    table = pd.concat([_less(singles, "random", name).assign(by=name) for name in (BEST, ALL)], ignore_index=True)
    table = table[[*EXPERIMENT, "by", "saved", "low", "high", "n"]].sort_values(EXPERIMENT, kind="stable")
    saves, loses = (clear.groupby(table["by"]).sum() for clear in (table.low > 0, table.high < 0))
    n = table["by"].eq(BEST).sum()
    said = "Against a random source, one by the measure that is best in other families costs significantly less in"
    both = f"{saves[BEST]} of {n} experiments, more in {loses[BEST]}"
    return f"{said} {both}; by all measures together, less in {saves[ALL]}, more in {loses[ALL]}.", table


def luck(oracle: pd.DataFrame) -> Answer:
    """How much of the best source's score is luck of selection, from tables of `ranking.split_half`."""
    gaps = oracle.assign(luck=oracle.optimistic - oracle.honest).dropna(subset="luck")
    table = by_group(gaps, EXPERIMENT, "luck", interval=mean_interval)
    most = table.loc[table.luck.idxmax()]
    said = f"Luck of selection makes up {most.luck:.3f} [{most.low:.3f}, {most.high:.3f}] of the best source's score"
    return f"{said} at most, for {most.task} from {most.representation}.", table


def guide(singles: pd.DataFrame) -> Answer:
    """Whether the scores of another task are a safe guide to a source, by experiment.

    Safe is what costs less than chance, and surely less than `MARGIN` more than the best measure of other families.
    """
    names = singles[guides(singles)]["measure"].unique()
    if not len(names):
        return "There is one task only, so no other task can guide it.", pd.DataFrame(columns=[*EXPERIMENT, "verdict"])
    own = singles.loc[guides(singles), [*EXPERIMENT, "measure"]].drop_duplicates()
    tables = [_less(singles, than, name).assign(measure=name) for name in names for than in ("random", BEST)]
    table, beside = (pd.concat(tables[start::2], ignore_index=True) for start in (0, 1))
    beside = beside.rename(columns=dict(saved="saved beside best", low="least", high="most")).drop(columns="n")
    table = own.merge(table).merge(beside)
    better, safe = table["low"] > 0, table["least"] > -MARGIN
    table["verdict"] = np.select([better & safe, better], ["safe", "better than chance"], "no guide")
    count = (better & safe).sum()
    return f"Another task is a safe guide, by a margin of {MARGIN}, in {count} of {len(table)} cases.", table


def power(worlds: int) -> Answer:
    """The smallest effect that t intervals over so many worlds see, and over others, before any is looked at."""
    table = pd.DataFrame({"worlds": [worlds, 3, 4, 6, 9, 12, 24]})
    table["smallest"] = [smallest_effect(n**-0.5, n - 1) for n in table["worlds"]]
    seen = table["smallest"][0]
    return (
        f"{worlds} worlds see an effect of {seen:.1f} standard deviations between worlds in four of five cases.",
        table,
    )


def cause(table: pd.DataFrame) -> Answer:
    """What twins say of the correlations that hold, from `twins.judged`, and all effects with their verdicts."""
    near = table[table["kin"] == "sibling"]
    parts = []
    for name, held in (("freely", near["r_significant"]), ("beyond family", near["r_beyond"])):
        words = near[held]["verdict"].str.partition(":")[0].value_counts()
        told = ", ".join(f"{words.get(word, 0)} {word}" for word in ("agree", "misleads", "opposed", "open"))
        parts.append(f"of {held.sum()} that hold {name}: {told}")
    keys = [key for key in (*EXPERIMENT, "outcome") if key in near]
    shown = ["effect", "low", "high", "smallest", "r", "holm", "holm_family", "partial_r", "p_family", "verdict"]
    missed = (near["verdict"] == "missed").sum()
    return f"Correlations beside twins, {'; '.join(parts)}; {missed} missed.", near[[*keys, "change", *shown]]


def _less(singles: pd.DataFrame, than: str, name: str) -> pd.DataFrame:
    """table[*EXPERIMENT, saved, low, high, n]: the regret of one ranker less that of another, target by target."""
    keys = [*EXPERIMENT, "target", "family"]
    both = [singles[singles["measure"] == one].set_index(keys)["regret"] for one in (than, name)]
    saved = (both[0] - both[1]).rename("saved").dropna().reset_index()
    return by_group(saved, EXPERIMENT, "saved", over="family", interval=mean_interval)


QUESTIONS = dict(
    transfer=transfer, reach=reach, measure=measure, cost=cost, luck=luck, guide=guide, power=power, cause=cause
)
