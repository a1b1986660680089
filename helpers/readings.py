"""What a figure shows, in a sentence: tables in, text out, verdicts following from intervals and from nothing else."""

import pandas as pd

from helpers.comparison import frontier
from helpers.stats import verdict


def steering_gain(gain: pd.DataFrame, k: int, count: int) -> str:
    """Where each kind of units changes retrieval, from table[units, layer, change, low, high] at one k."""
    text = []
    for units, part in gain.groupby("units", sort=False):
        said = {"above": [], "below": [], "not distinguishable from": []}
        for row in part.itertuples():
            said[verdict(row.low, row.high)].append(
                f"{row.layer} ({row.change:+.3f} [{row.low:+.3f}, {row.high:+.3f}])"
            )
        words = {"above": "raises retrieval at layer", "below": "lowers it at layer"}
        found = [f"{words[way]} {', '.join(said[way])}" for way in words if said[way]]
        text.append(f"overwriting {k} **{units}** " + (" and ".join(found) or "changes retrieval at no layer"))
    return f"Mean over {count} languages steered to: {'; '.join(text)}."


def trade(table: pd.DataFrame, posthoc: float) -> str:
    """The frontier's best points and how they stand to post-hoc projection, from `comparison.compare`."""
    best = table.loc[table.top1.idxmax()]
    untouched = table[table.method == "untouched"].iloc[0]
    text = (
        f"The untouched model has top-1 **{untouched.top1:.2f}**, post-hoc projection **{posthoc:.2f}** at no cost to "
        f"the text. The most retrieval inside the model comes from {_named(best)}: **{best.top1:.2f}**"
    )
    if table.perplexity.isna().all():
        return text + ". An encoder has no perplexity, so no price can be named."
    cheap = table[table.perplexity <= 1.1 * untouched.perplexity]
    fair = cheap.loc[cheap.top1.idxmax()]
    points = [row for _, row in frontier(table).iterrows()]
    edge = "; ".join(f"{_named(row)} ({row.perplexity:.1f}, {row.top1:.2f})" for row in points)
    beats = "Some edit beats" if best.top1 > posthoc else "No edit beats"
    return (
        f"{text}, at a perplexity of {best.perplexity:.1f} against {untouched.perplexity:.1f}. Within ten per cent of "
        f"the untouched perplexity the best is {_named(fair)} with {fair.top1:.2f}. {beats} post-hoc projection. "
        f"On the frontier (perplexity, top-1): {edge}."
    )


def _named(row: pd.Series) -> str:
    detail = f" ({row.setting}, strength {row.strength:g})" if row.setting else ""
    return f"{row.method}{detail}"
