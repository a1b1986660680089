"""What transfers and what predicts it, in sentences: tables in, text out, verdicts from intervals alone."""

from collections.abc import Sequence

import pandas as pd

from helpers.common.stats import mean_interval


def transferred(scores: pd.DataFrame, floor: pd.DataFrame) -> str:
    """In-language and cross-language means, the share of pairs at the floor and the most helpful source."""
    parts = []
    for key, rows in scores.groupby(["task", "representation", "metric"], sort=False):
        apart = rows[rows.source != rows.target]
        targets = apart.groupby("target").score.mean()
        mean = mean_interval(apart.score, apart.target)
        low = floor[(floor[["task", "representation", "metric"]] == list(key)).all(axis=1)] if len(floor) else floor
        at = f", {low.share.iloc[0]:.0%} of pairs no better than guessing" if len(low) else ""
        helps, home = apart.groupby("source").score.mean().idxmax(), rows[rows.source == rows.target].score.mean()
        parts.append(
            f"- {_experiment(key)}: {home:.2f} in-language, **{mean.estimate:.2f}** [{mean.low:.2f}, {mean.high:.2f}] "
            f"across languages{at}; the hardest target is {targets.idxmin()} ({targets.min():.2f}), the most helpful "
            f"source {helps}"
        )
    return "\n".join(parts)


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


def _experiment(key: Sequence[str]) -> str:
    task, representation, metric = key
    return f"{task} ({metric}) from {representation}"
