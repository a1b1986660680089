"""What steering did, in sentences: tables in, text out, verdicts from intervals alone."""

import pandas as pd

from helpers.common.lookup import known
from helpers.common.stats import OFF, mean_interval, span, verdict
from helpers.steering.comparison import frontier


def steering_gain(gain: pd.DataFrame, k: int, over: str) -> str:
    """Where each kind of units changes retrieval, from table[units, k, layer, change, low, high]: words, then numbers.

    Units `a less b` are contrasts (`stats.contrasts`): where a gains more than b does. The numbers are a table in
    Markdown, a column for each layer, bold where the interval is off 0.
    """
    part = gain[gain["k"] == known(k, gain["k"].unique(), "k")]
    part = part.assign(way=[verdict(row.low, row.high) for row in part.itertuples()])
    told = "; ".join(_where(units, rows) for units, rows in part.groupby("units", sort=False))
    cells = {(row.units, row.layer): _cell(row) for row in part.itertuples()}
    layers = sorted(set(part["layer"]))
    lines = [["change of top-1", *(f"layer {layer}" for layer in layers)], ["---"] * (len(layers) + 1)]
    lines += [[units, *(cells.get((units, layer), "") for layer in layers)] for units in part["units"].unique()]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{over}, retrieval when {k} units are overwritten: {told}.\n\n{table}"


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
    edge = frontier(table)
    steps = [edge.iloc[0]]
    for _, row in edge.iterrows():
        steps += [row] if row.top1 - steps[-1].top1 >= 0.02 else []
    told = "; ".join(f"{_named(row)} ({row.perplexity:.1f}, {row.top1:.2f})" for row in steps)
    how = verdict(untouched.top1 + best.low, untouched.top1 + best.high, posthoc)
    return (
        f"{text}, at a perplexity of {best.perplexity:.1f} against {untouched.perplexity:.1f}. Within ten per cent of "
        f"the untouched perplexity the best is {_named(fair)} with {fair.top1:.2f}. The best edit is {how} post-hoc "
        f"projection, which costs nothing. {len(edge)} of {len(table)} lie on the frontier; its steps of 0.02 and more "
        f"(perplexity, top-1): {told}."
    )


def left_out(table: pd.DataFrame, *, seed: int = 0) -> str:
    """How much of erasure's gain is left for languages it was not fitted on, from `steering.left_out` by left_out."""
    text = []
    for kind, part in table.groupby("left_out", sort=False):
        layer = part.groupby("layer").seen.mean().idxmax()
        at = part[part.layer == layer]
        seen = mean_interval(at.seen - at.untouched, at.group, seed=seed)
        unseen = mean_interval(at.unseen - at.untouched, at.group, seed=seed)
        text.append(
            f"without the **{kind}** the gain at layer {layer}, the best after erasure, is {unseen.estimate:+.3f} "
            f"{span(unseen.low, unseen.high)} against {seen.estimate:+.3f} with it, "
            f"{verdict(unseen.low, unseen.high)} zero"
        )
    if not text:
        return "Without one of so few languages there is nothing left to fit on, so this part is skipped."
    alone = "" if len(text) > 1 else " The languages are too few, or of one group, to leave a group out."
    return f"Fitted {'; '.join(text)}. What erasure gains for a language it has not seen is the smaller number.{alone}"


def choice(written: pd.DataFrame, toward: str, *, limit: float = 2.0) -> str:
    """The k to take by what a model writes, from `comparison.written`; `limit` is of the untouched perplexity."""
    untouched, edited = written[written.k == 0].iloc[0], written[written.k > 0]
    text = ", ".join(f"k = {row.k}: {row.share:.2f} at {row.own / untouched.own:.1f} x" for row in edited.itertuples())
    fair = edited[edited.own <= limit * untouched.own]
    taken = (
        f"The largest k within {limit:g} x is **{fair.k.max()}**." if len(fair) else f"No k stays within {limit:g} x."
    )
    return (
        f"Untouched, {untouched.share:.2f} of the text is in {toward}. Overwritten, the share and the perplexity of "
        f"held-out {toward} over the untouched are: {text}. {taken}"
    )


def _cell(row) -> str:
    change = f"**{row.change:+.3f}**" if row.way in OFF else f"{row.change:+.3f}"
    return f"{change} {span(row.low, row.high)}"


def _where(units: str, rows: pd.DataFrame) -> str:
    """The layers at which one kind of units, or one less another, is told apart from 0."""
    own, less, other = units.partition(" less ")
    if rows.low.isna().all():
        return f"**{units}** cannot be judged, with one language steered to"
    above, below = (", ".join(map(str, rows.layer[rows.way == way])) for way in OFF)
    if less:
        found = [f"{word} at layer {at}" for word, at in (("more", above), ("less", below)) if at]
        start = f"{own} gain {' and '.join(found)} than **{other}**"
        return start if found else f"{own} and **{other}** are told apart at no layer"
    found = [f"{word} at layer {at}" for word, at in (("raise it", above), ("lower it", below)) if at]
    return f"**{own}** {' and '.join(found) or 'are told apart from no change at no layer'}"


def _named(row: pd.Series) -> str:
    detail = f" ({row.setting}, strength {row.strength:g})" if row.setting else ""
    return f"{row.method}{detail}"
