"""What a figure of one model shows, in a sentence: tables in, text out, verdicts following from intervals alone."""

from collections.abc import Sequence

import pandas as pd

from helpers import profiles
from helpers.comparison import frontier
from helpers.names import known
from helpers.stats import OFF, cluster_interval, span, verdict


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
        seen = cluster_interval(at.seen - at.untouched, at.group, seed=seed)
        unseen = cluster_interval(at.unseen - at.untouched, at.group, seed=seed)
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


def _named(row: pd.Series) -> str:
    detail = f" ({row.setting}, strength {row.strength:g})" if row.setting else ""
    return f"{row.method}{detail}"


def moved(measured: pd.DataFrame, price: pd.DataFrame) -> str:
    """What a setting changes and costs, from `measured` and `price` of an Explorer."""
    parts = []
    for row in pd.concat([part for part in (measured, price) if len(part)]).itertuples():
        how = f" ({row.change:+.2f} [{row.low:+.2f}, {row.high:+.2f}], {verdict(row.low, row.high)} 0)"
        parts.append(f"{row.metric} {row.before:.3g} to **{row.after:.3g}**{how if row.low == row.low else ''}")
    text = "; ".join(parts)
    mute = " The model is an encoder: it reads but cannot write, so there is no perplexity and no sample."
    return f"{text[:1].upper()}{text[1:]}.{'' if len(price) else mute}"


def translated(found: pd.DataFrame) -> str:
    """In how many languages a sentence finds its translation first, from `found` of an Explorer."""
    before, after = (found[when].sum() for when in ("before", "after"))
    return f"Its translation comes first in {before:.3g} of {len(found)} languages before, in **{after:.3g}** after."


def training(curves: pd.DataFrame, pool: str) -> str:
    """What happened to meaning and form, from table[step, layer, variant, pairs, accuracy, low, high] of one pooling.

    Changes are from the first to the last step, between the far ends of their intervals; so is the fall from a peak.
    """
    curves = curves[curves.variant.isin(profiles.VARIANTS) & (curves.pairs != "all")]
    curves = curves.reset_index(drop=True)
    keys, lines = ["variant", "pairs", "layer"], [f"{profiles.POOLS.get(pool, pool).capitalize()}:", ""]
    peak = curves.loc[curves.groupby(keys).accuracy.idxmax()].set_index(keys).sort_index()
    for (variant, pairs), rows in profiles.change(curves, keys).groupby(keys[:2], sort=False):
        words = [verdict(row.low, row.high) for row in rows.itertuples()]
        most, tops = rows.loc[rows.change.abs().idxmax()], peak.loc[(variant, pairs)]
        ends = curves[curves.step == curves.step.max()].set_index(keys).sort_index().loc[(variant, pairs)]
        fallen = [str(layer) for layer in ends.index[ends.high < tops.low.loc[ends.index]]]
        counts = f"rises in {words.count('above')} and falls in {words.count('below')} of {len(rows)} layers"
        ends = f"from {most['first']:.2f} to **{most['last']:.2f}** ({most.change:+.2f}"
        after = f"below an earlier peak in layer {', '.join(fallen)}" if fallen else "no fall from a peak"
        lines.append(
            f"- **{variant}**, pairs {pairs} groups: {counts}, most in layer {most.layer}, {ends} "
            f"[{most.low:+.2f}, {most.high:+.2f}]); {after}"
        )
    return "\n".join(lines)


def trade_off(curves: pd.DataFrame, least: float = 0.05) -> str:
    """Whether form is lost while meaning is gained: all layers, poolings and kinds of pair counted together."""
    keys = ["pool", "variant", "pairs", "layer"]
    curves = curves[curves.variant.isin(profiles.VARIANTS) & (curves.pairs != "all")]
    moved = profiles.change(curves, keys)
    way = [verdict(row.low, row.high) for row in moved.itertuples()]
    count = moved.assign(way=way).groupby(["variant", "way"]).size().unstack(fill_value=0)
    count = count.reindex(columns=["above", "below"], fill_value=0)
    total, fell = len(moved[moved.variant == "form"]), count.below["form"]
    told = curves[curves.variant == "form"].sort_values("step", ignore_index=True).groupby(keys)
    sunk = sum(part.loc[part.accuracy.idxmax()].low - part.high.iloc[-1] > least for _, part in told)
    text = (
        f"Over layers, poolings and kinds of pair, meaning rises in **{count.above['meaning']}** of {total} cases and "
        f"form falls in **{fell}**, rises in **{count.above['form']}**; form ends more than {least} below an earlier "
        f"peak in **{sunk}**."
    )
    if sunk > fell and 5 * sunk > total:
        where = "most places" if 2 * sunk > total else "some places"
        return f"{text} Form is told early and then lost in {where}."
    if not fell and not count.above["meaning"]:
        return f"{text} Meaning does not rise here, and form does not fall."
    if not fell:
        return f"{text} Meaning is added to form here, and not traded for it."
    return f"{text} Form is given up " + ("in most places" if 2 * fell > total else "in some places only") + "."


def layers(curves: pd.DataFrame, pool: str) -> str:
    """Where in one model meaning and form are told best and worst, from table[layer, variant, pairs, accuracy, ...]."""
    parts = []
    for (variant, pairs), rows in curves[curves.variant.isin(profiles.VARIANTS)].groupby(["variant", "pairs"]):
        best, worst = rows.loc[rows.accuracy.idxmax()], rows.loc[rows.accuracy.idxmin()]
        apart = verdict(best.low, best.high, worst.high)
        parts.append(
            f"**{variant}** ({pairs}) is highest in layer {best.layer}, {best.accuracy:.2f} [{best.low:.2f}, "
            f"{best.high:.2f}], {apart} its lowest, {worst.accuracy:.2f} in layer {worst.layer}"
        )
    return f"{profiles.POOLS.get(pool, pool).capitalize()}: {'; '.join(parts)}."


def reached(curves: pd.DataFrame, level: float = 0.9) -> str:
    """The first step at which the whole interval of meaning, mean over all pairs, is above a level in some layer."""
    rows = curves[(curves.variant == "meaning") & (curves.pairs == "all") & (curves.low > level)]
    if rows.empty:
        return f"Meaning is not above {level:.2f} at any step."
    first = rows.sort_values(["step", "accuracy"], ascending=[True, False]).iloc[0]
    return (
        f"Meaning is first above {level:.2f} at step **{first.step}**, in layer {first.layer}: {first.accuracy:.2f} "
        f"[{first.low:.2f}, {first.high:.2f}]."
    )


def correlations(found: pd.DataFrame) -> str:
    """What is left of each correlation once step and layer are held fixed, from `probes.association` tables."""
    parts = []
    for (x, y), rows in found.groupby(["x", "y"], sort=False):
        raw, held = rows.set_index("kind").loc["raw"], rows.set_index("kind").loc["partial"]
        parts.append(
            f"{y} with {x}: {raw.r:+.2f} {span(raw.low, raw.high, 2)} raw, **{held.r:+.2f}** "
            f"{span(held.low, held.high, 2)} with checkpoint and layer held fixed, {verdict(held.low, held.high)} 0"
        )
    return "; ".join(parts) + "."


def probing(found: pd.DataFrame, sources: Sequence[str]) -> str:
    """The best layer of each probe in languages never seen, from `probes.scores` of one checkpoint."""
    parts = []
    for task, rows in found[~found.seen].groupby("task") if len(found) else ():
        best = rows.groupby("layer")[["accuracy", "baseline"]].mean().sort_values("accuracy").iloc[-1]
        parts.append(
            f"{task} **{best.accuracy:.2f}** in layer {best.name} ({best.baseline:.2f} by the most frequent label)"
        )
    return f"Trained in {', '.join(sources)}, read in other languages: {'; '.join(parts) or 'no labels to read'}."


def edits(found: pd.DataFrame, least: float = 0.01) -> str:
    """Which edits lower form and which raise or lower meaning by more than `least`, from `profiles.edited`."""
    parts = []
    for variant in profiles.VARIANTS:
        rows = found[(found.variant == variant) & (found.pairs == "all")].sort_values("change")
        for word, part in {"lower": rows[rows.high < -least], "raise": rows[rows.low > least][::-1]}.items():
            named = ", ".join(f"{row.edit} ({row.change:+.2f})" for row in part.itertuples()) or "none"
            parts.append(f"- {len(part)} of {len(rows)} {word} **{variant}** by more than {least}: {named}")
    return "\n".join(parts)
