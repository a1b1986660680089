"""What became of form and meaning, in sentences: tables in, text out, verdicts from intervals alone."""

from collections.abc import Sequence

import pandas as pd

from helpers.abx import profiles
from helpers.common.stats import span, verdict


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
