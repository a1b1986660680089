"""What steering did: tables in; one sentence, its verdict from intervals alone, and at most one table out."""

import pandas as pd

from helpers.common.lookup import known
from helpers.common.stats import OFF, verdict

Answer = tuple[str, pd.DataFrame]


def answer(question: str, *tables: object) -> Answer:
    """A sentence in bold and the table that it sums up, for one of the questions of `QUESTIONS`, from its tables."""
    said, table = QUESTIONS[known(question, QUESTIONS, "question")](*tables)
    return f"**{said}**", table.round(3)


def gain(table: pd.DataFrame, k: int) -> Answer:
    """At which layers k experts change retrieval, and gain more than other units, from `stats.contrasts`."""
    part = table[table["k"] == known(k, table["k"].unique(), "k")]
    shown = part.pivot(index="units", columns="layer", values="change")
    if part.low.isna().all():
        return f"With one language steered to, what {k} experts change cannot be judged.", shown
    told = {units: _layers(rows) for units, rows in part.groupby("units", sort=False)}
    more = [f"than {name.partition(' less ')[2]} {above}" for name, (above, _) in told.items() if " less " in name]
    up, down = told["experts"]
    return f"{k} experts overwritten raise top-1 {up} and lower it {down}; they gain more {' and '.join(more)}.", shown


def _layers(rows: pd.DataFrame) -> list[str]:
    """Where the interval lies above 0, and where below."""
    ways = [verdict(row.low, row.high) for row in rows.itertuples()]
    places = [", ".join(str(layer) for layer, way in zip(rows.layer, ways) if way == side) for side in OFF]
    return [f"at layer {place}" if place else "at no layer" for place in places]


def beyond(table: pd.DataFrame, k: int) -> Answer:
    """How each kind of retrieval changes at one layer, beyond what as many random units do."""
    rows = table[table.units == "experts less random units"]
    told = [f"{row.metric} {row.change:+.3f} ({verdict(row.low, row.high)} zero)" for row in rows.itertuples()]
    text = f"At layer {rows.layer.iloc[0]}, {k} experts change top-1 by this much more than as many random units"
    return f"{text}: {', '.join(told)}.", table


def price(table: pd.DataFrame, posthoc: float) -> Answer:
    """How the best method of `comparison.compare` stands to post-hoc projection, and what it costs; the frontier."""
    shown = table.loc[table.frontier, ["method", "setting", "strength", "perplexity", "top1", "share"]]
    untouched, best = table.iloc[0], table.loc[table.top1.idxmax()]
    how = verdict(untouched.top1 + best.low, untouched.top1 + best.high, posthoc)
    text = f"The best edit, {_named(best)}, has top-1 {best.top1:.2f} ({untouched.top1:.2f} untouched), {how} post-hoc"
    text, times = f"{text} projection, {posthoc:.2f}", table.perplexity / untouched.perplexity
    if times.isna().all():
        return f"{text}; an encoder has no perplexity.", shown
    fair = table.loc[table.top1[times <= 1.1].idxmax()]
    text = f"{text}, at {times[best.name]:.2f} times the perplexity; up to 1.1 times, {_named(fair)}"
    return f"{text} has {fair.top1:.2f}.", shown.sort_values("perplexity")


def left_out(table: pd.DataFrame) -> Answer:
    """What erasure gains for languages that it was not fitted on, from table[left_out, fit, layer, gain, low, high]."""
    text, shown = [], []
    for kind, part in table.groupby("left_out", sort=False):
        seen = part.loc[part[part.fit == "fitted with it"].gain.idxmax()]
        shown.append(part[part.layer == seen.layer])
        row = shown[-1].set_index("fit").loc["fitted without it"]
        way = f"{row.gain:+.3f}, {verdict(row.low, row.high)} zero"
        text.append(f"without the {kind} {way}, against {seen.gain:+.3f} with it (layer {seen.layer})")
    if not text:
        return "With so few languages none can be left out.", table
    return f"Erasure's gain in top-1: fitted {'; '.join(text)}.", pd.concat(shown)


def written(table: pd.DataFrame, toward: str) -> Answer:
    """The largest k whose text costs at most twice the untouched perplexity, from `comparison.written`."""
    if table.empty:
        return "This model is an encoder: it writes nothing.", table
    best = table[table.own <= 2 * table.own[0]].nlargest(1, "k").iloc[0]
    share = f"{best.share:.2f} of the text is in {toward}, against {table.share[0]:.2f} untouched"
    return f"The largest k within twice the untouched perplexity of {toward} is {best.k:.0f}: {share}.", table


def _named(row: pd.Series) -> str:
    return f"{row.method} ({row.setting}, strength {row.strength:g})" if row.setting else row.method


QUESTIONS = dict(gain=gain, beyond=beyond, price=price, left_out=left_out, written=written)
