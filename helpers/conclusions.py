"""What pairs of languages show, in sentences: tables in, text out, verdicts from intervals and Holm's p alone.

Transfer and what foretells it first, then the synthesis.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from helpers.stats import OFF, cluster_interval, mean_interval, span, verdict


def predictors(found: pd.DataFrame) -> str:
    """Which measure goes best with transfer, by experiment, from one statistic of `ranking.correlate`."""
    parts = []
    for key, rows in found.dropna(subset="r").groupby(["task", "representation", "metric"], sort=False):
        best, *others = (row for _, row in rows.sort_values("r", ascending=False).head(2).iterrows())
        second = [
            f", {'ahead of' if best.low > x.high else 'not told apart from'} {x.measure} ({x.r:.2f} [{x.low:.2f}, "
            f"{x.high:.2f}])"
            for x in others
        ]
        sure = f"Holm p {best.holm:.3f}" if best.holm < 0.05 else f"not significant (Holm p {best.holm:.2f})"
        parts.append(
            f"- {_experiment(key)}, {best.n} pairs: **{best.measure}**, r = {best.r:.2f} [{best.low:.2f}, "
            f"{best.high:.2f}], {sure}{''.join(second)}"
        )
    return "\n".join(parts)


def costs(curves: pd.DataFrame, found: pd.DataFrame) -> str:
    """What it costs to take one source by the measure that correlates best, beside the rules that need no measure."""
    parts, best = [], found.dropna(subset="r").sort_values("r", ascending=False)
    for key, rows in curves[curves.k == 1].groupby(["task", "representation", "metric"], sort=False):
        own = best[(best[["task", "representation", "metric"]] == list(key)).all(axis=1)].measure.iloc[0]
        rows = rows.set_index("measure")
        cheapest, chosen, random = rows[~rows.baseline].regret.idxmin(), rows.loc[own], rows.loc["random"]
        word = "less than" if chosen.high < random.low else "no less than" if chosen.low > random.high else "about"
        rules = [name for name in ("best single source", "same family") if name in rows.index]
        rest = ", ".join(f"{rows.regret[name]:.3f} by {name}" for name in rules)
        other = "" if cheapest == own else f"; cheapest measure: {cheapest} ({rows.regret[cheapest]:.3f})"
        parts.append(
            f"- {_experiment(key)}: **{own}** loses {chosen.regret:.3f} [{chosen.low:.3f}, {chosen.high:.3f}], {word} "
            f"a random source ({random.regret:.3f}); {rest}{other}"
        )
    return "\n".join(parts)


def guide(curves: pd.DataFrame) -> str:
    """Whether the scores of another task are a safe guide to a source: their regret at one source, by experiment.

    Safe is what costs less than chance and is not told apart from the best measure of similarity.
    """
    parts = []
    for key, rows in curves[curves.k == 1].groupby(["task", "representation", "metric"], sort=False):
        label = rows.measure.str.removeprefix("other ").str.split(" / ")
        other = rows.baseline & (label.str[1] == key[1]) & (label.str[0] != key[0])
        others = rows[other].sort_values("regret")
        if others.empty:
            continue
        random = rows.set_index("measure").loc["random"]
        best = rows[~rows.baseline].sort_values("regret").iloc[0]
        said = []
        for row in others.itertuples():
            word = "**safe**" if row.low <= best.high else "better than chance"
            name = row.measure.split(" / ")[0].removeprefix("other ")
            word = word if row.high < random.low else "no guide"
            said.append(f"{name} {row.regret:.3f} [{row.low:.3f}, {row.high:.3f}], {word}")
        parts.append(
            f"- {_experiment(key)} chosen by {'; by '.join(said)} (random {random.regret:.3f} [{random.low:.3f}, "
            f"{random.high:.3f}], best measure {best.measure} {best.regret:.3f} "
            f"[{best.low:.3f}, {best.high:.3f}])"
        )
    return "\n".join(parts) or "There is one task only, so no other task can guide it."


def twin_effects(table: pd.DataFrame) -> str:
    """For every task, what changing one property does, what correlation said of it, and whether the two agree."""
    parts = []
    for key, rows in table.groupby(["task", "representation", "metric"], sort=False):
        for row in rows.itertuples():
            parts.append(
                f"- {_experiment(key)}, **{row.change}**: {row.effect:+.3f} [{row.low:+.3f}, {row.high:+.3f}] by "
                f"intervention; r = {row.r:+.2f} (Holm p {row.holm:.3f}), partial r = {row.partial_r:+.2f} "
                f"(p {row.p:.3f}): **{row.verdict}**"
            )
        ranks = {
            "intervention": rows.sort_values("effect").change,
            "correlation": rows.sort_values("r", ascending=False).change,
            "regression": rows.sort_values("partial_r", ascending=False).change,
        }
        said = "; ".join(f"by {name} {', '.join(order)}" for name, order in ranks.items())
        parts.append(f"- {_experiment(key)}, what matters most first: {said}")
    return "\n".join(parts)


def transferred(scores: pd.DataFrame, floor: pd.DataFrame) -> str:
    """In-language and cross-language means, the share of pairs at the floor and the most helpful source."""
    parts = []
    for key, rows in scores.groupby(["task", "representation", "metric"], sort=False):
        apart = rows[rows.source != rows.target]
        targets = apart.groupby("target").score.mean()
        mean = cluster_interval(apart.score, apart.target)
        low = floor[(floor[["task", "representation", "metric"]] == list(key)).all(axis=1)] if len(floor) else floor
        at = f", {low.share.iloc[0]:.0%} of pairs no better than guessing" if len(low) else ""
        helps, home = apart.groupby("source").score.mean().idxmax(), rows[rows.source == rows.target].score.mean()
        parts.append(
            f"- {_experiment(key)}: {home:.2f} in-language, **{mean.estimate:.2f}** [{mean.low:.2f}, {mean.high:.2f}] "
            f"across languages{at}; the hardest target is {targets.idxmin()} ({targets.min():.2f}), the most helpful "
            f"source {helps}"
        )
    return "\n".join(parts)


def pooling(found: pd.DataFrame) -> str:
    """Where pooling all pairs tells another story than the same pairs within targets, from `ranking.correlate`."""
    wide = found.pivot_table(
        index=["task", "representation", "metric", "measure"], columns="statistic", values="r", sort=False
    ).dropna()
    apart = (wide.pooled - wide.within_target).abs()
    cases = "; ".join(
        f"{at[3]} for {at[0]} from {at[1]}, {wide.within_target[at]:+.2f} within and {wide.pooled[at]:+.2f} pooled"
        for at in apart.nlargest(3).index
    )
    return (
        f"Pooled over all pairs the correlations differ from those within targets by {apart.max():.2f} at most, and by "
        f"{apart.mean():.2f} on average. The largest differences: {cases}."
    )


def optimism(honest: pd.DataFrame) -> str:
    """How much of the best source's score is luck of selection, from tables of `ranking.split_half`."""
    parts = []
    for key, rows in honest.groupby(["task", "representation", "metric"], sort=False):
        gap = mean_interval((rows.optimistic - rows.honest).dropna())
        parts.append(
            f"- {_experiment(key)}: the best source has {rows.optimistic.mean():.3f}, and {rows.honest.mean():.3f} on "
            f"sentences that did not select it: {gap.estimate:.3f} [{gap.low:.3f}, {gap.high:.3f}] is luck"
        )
    return "\n".join(parts)


def planted(found: pd.DataFrame, expected: Mapping[tuple[str, str], float]) -> str:
    """What `synthesis.answers` finds in `planted.pairs`, beside what was put there."""
    parts = []
    for row in found.itertuples():
        truth = expected[row.outcome, row.predictor]
        inside = "holds" if row.low <= truth <= row.high else "misses"
        parts.append(
            f"{row.predictor} with {row.outcome}: {row.r:+.2f} raw, **{row.partial_r:+.2f}** [{row.low:+.2f}, "
            f"{row.high:+.2f}] beyond what is held fixed; planted {truth:+.2f}, which the interval {inside}"
        )
    return "; ".join(parts) + "."


def answered(found: pd.DataFrame, predictor: str, expected: str) -> str:
    """For which outcomes a predictor tells more than what is given, from `synthesis.answers`.

    `expected` is the side of 0, "above" or "below", that the question asks about; a claim has to be `sure`.
    """
    yes, other, none, mute = [], [], [], []
    for row in found[found["predictor"].str.startswith(f"{predictor}@")].itertuples():
        if pd.isna(row.partial_r):
            mute.append(row.outcome)
        elif row.sure:
            said = (
                f"{row.outcome}, partial r **{row.partial_r:+.2f}** [{row.low:+.2f}, {row.high:+.2f}] over languages, "
                f"[{row.low_family:+.2f}, {row.high_family:+.2f}] over families, Holm p {row.holm:.3f} "
                f"(raw {row.r:+.2f})"
            )
            (yes if verdict(row.low, row.high) == expected else other).append(said)
        else:
            none.append(f"{row.outcome} ({row.partial_r:+.2f}; raw {row.r:+.2f})")
    way = {"above": "more of it goes with more", "below": "more of it goes with less"}
    parts = [(way[expected], yes), (way[({*OFF} - {expected}).pop()], other)]
    parts += [("nothing established beyond what is given", none), ("cannot be asked, since it does not vary", mute)]
    return "\n".join(f"- **{predictor}**, {name}: {'; '.join(rows)}" for name, rows in parts if rows)


def reliable(again: pd.DataFrame) -> str:
    """How well a predictor agrees with itself on other sentences, from `synthesis.reliability`."""
    parts = [f"{row.quantity} {row.r:+.2f} (it varies over pairs by {row.spread:.3f})" for row in again.itertuples()]
    return "Measured again on other sentences, a predictor correlates with itself over pairs: " + "; ".join(parts) + "."


def helped(
    relations: pd.DataFrame, kin: pd.DataFrame, level: pd.DataFrame, contrasts: pd.DataFrame, best: pd.DataFrame
) -> str:
    """Whom steering helps: by the language steered to, by kinship, by where the pair stood; and the best pairs.

    Tables of `synthesis.pair_means` by (units, toward), (units, kin) and (units, level), of `contrasts` and of
    `most_helped`.
    """
    lines = [
        f"- {title}: {'; '.join(_group(part, name) for name, part in table.groupby('units', sort=False))}"
        for title, table in (("steered to the pair's", relations), ("by kinship", kin), ("by retrieval before", level))
    ]
    said = [
        f"{row.contrast} {row.value:+.3f} {span(row.low, row.high)}, families {span(row.low_family, row.high_family)}, "
        f"{_both(row)} 0"
        for row in contrasts.itertuples()
    ]
    lines.append(f"- differences: {'; '.join(said)}")
    named = [
        f"{row.target} from {row.source} ({row.chosen:+.2f}, then {row.held_out:+.2f})" for row in best.itertuples()
    ]
    lines.append(f"- most helped, and then on sentences that did not choose them: {', '.join(named)}")
    lines.append(
        "- ns: not told apart from 0 by both intervals, the one over languages (shown) and the one over families"
    )
    return "\n".join(lines)


def causes(table: pd.DataFrame, agreement: pd.DataFrame) -> str:
    """What matters most by intervention and by correlation, from `causes.beside` and `causes.agreement`."""
    lines, kinds = [], {"sibling": "pairs with a sibling", "itself": "pairs with its original"}
    for row in agreement.itertuples():
        part = table[(table["kin"] == row.kin) & (table["outcome"] == row.outcome)].set_index("change")
        found = part[part["cause_sure"]].sort_values("cause_rank")
        named = [f"{change} {x.effect:+.2f} [{x.low:+.2f}, {x.high:+.2f}]" for change, x in found.iterrows()]
        claim = ", ".join(f"{change} (r {part.r[change]:+.2f})" for change in filter(None, row.claim.split(", ")))
        lines.append(
            f"- **{row.outcome}**, {kinds[row.kin]}: {', '.join(named) or 'no effect found'}; by correlation first: "
            f"{claim or 'none'}{f'; **{row.first}**' if row.first else ''}"
        )
    for kin, part in table.groupby("kin", sort=False):
        counts = ", ".join(f"{name} {count}" for name, count in part["verdict"].value_counts().items())
        rows = agreement[(agreement["kin"] == kin) & (agreement["first"] != "")]
        first = ", ".join(f"{name} {count}" for name, count in rows["first"].value_counts().items())
        real, right = part[part["r_sure"]], part["verdict"].str.startswith("agree: it matters")
        lines.append(
            f"- **{kinds[kin]}**, {len(part)} cases: {counts}. Of {len(real)} significant correlations {right.sum()} "
            "go with an effect of the same direction. Which property comes first, in "
            f"{len(rows)} outcomes where both say: {first or 'none'}."
        )
    return "\n".join(lines)


def left_out(names: Sequence[str], kept: Sequence[str], why: str) -> str:
    """Which of the names are not among those kept, and why; empty where all are."""
    gone = [name for name in names if name not in set(kept)]
    return f"Left out, {why}: {', '.join(gone)}." if gone else ""


def _group(part: pd.DataFrame, units: str) -> str:
    label = [name for name in ("toward", "kin", "level") if name in part][0]
    said = ", ".join(
        f"{getattr(row, label)} {row.value:+.3f} {span(row.low, row.high)}{'' if _both(row) in OFF else ' ns'}"
        f"{' (one family only)' if np.isnan(row.low_family) else ''}"
        for row in part.dropna(subset="value").itertuples()
    )
    return f"{units}: {said}"


def _both(row: NamedTuple) -> str:
    """The verdict against 0 that the interval over languages and the one over families both allow."""
    return verdict(np.minimum(row.low, row.low_family), np.maximum(row.high, row.high_family))


def _experiment(key: Sequence[str]) -> str:
    task, representation, metric = key
    return f"{task} ({metric}) from {representation}"
