"""What steering did: tables in; one sentence, its verdict from intervals alone, and at most one table out."""

import pandas as pd

from helpers.common.lookup import known
from helpers.common.stats import OFF, verdict

Answer = tuple[str, pd.DataFrame]
SHOWN = {  # metrics of `measuring`, as figures and tables name them
    "top1": "plain",
    "offset": "part: a constant",
    "language": "part: language offsets",
    "left": "part: left",
    "global": "globally centred",
    "centred": "language-centred",
    "euclidean": "Euclidean",
    "margin": "margin",
}
_CENTRED = ("global", "centred")


def answer(question: str, *tables: object) -> Answer:
    """A sentence in bold and the table that it sums up, for one of the questions of `QUESTIONS`, from its tables."""
    said, table = QUESTIONS[known(question, QUESTIONS, "question")](*tables)
    return f"**{said}**", table.round(3)


def planted(table: pd.DataFrame) -> Answer:
    """What `survives` says of each wired model, table[case, metric, change, low, high], and its rows."""
    rows = {case: part.set_index("metric") for case, part in table.groupby("case", sort=False)}
    told = []
    for case, part in rows.items():
        ways = [f"{part.change[key]:+.2f} ({verdict(part.low[key], part.high[key])} 0)" for key in ("left", "global")]
        told.append(f"{case}: of {part.change['top1']:+.2f} left is {ways[0]}, and {ways[1]} survives global centring")
    shown = table.pivot(index="case", columns="metric", values="change")[list(SHOWN)].rename(columns=SHOWN)
    return f"{'; '.join(told)}.", shown


def gain(table: pd.DataFrame, k: int) -> Answer:
    """At which layers k experts raise each score, and globally centred more than controls; from `stats.contrasts`."""
    named = table[table.metric == "global"]
    shown = table.pivot(index=["metric", "units"], columns="layer", values="change").rename(index=SHOWN)
    if table.low.isna().all():
        return f"With one language steered to, what {k} experts change cannot be judged.", shown
    own = table[table.units == "experts"].groupby("metric", sort=False)
    told = [f"{SHOWN[metric]} {_layers(part)[0]}" for metric, part in own if metric in ("top1", "global", "centred")]
    less = {units.partition(" less ")[2]: _layers(part)[0] for units, part in named.groupby("units", sort=False)}
    more = [f"than {name} {at}" for name, at in less.items() if name]
    return f"{k} experts raise top-1 {', '.join(told)}; globally centred more {', '.join(more)}.", shown


def _layers(rows: pd.DataFrame) -> list[str]:
    """Where the interval lies above 0, and where below."""
    ways = [verdict(row.low, row.high) for row in rows.itertuples()]
    places = [", ".join(str(layer) for layer, way in zip(rows.layer, ways) if way == side) for side in OFF]
    return [f"at layer {place}" if place else "at no layer" for place in places]


def survives(table: pd.DataFrame, name: str) -> Answer:
    """How much of a gain no shift explains, table[metric, change, low, high]: its parts, and what centring leaves."""
    rows = table.set_index("metric")
    g, low, high = rows.loc["top1", ["change", "low", "high"]]
    shown = rows.loc[list(SHOWN), ["change", "low", "high"]].rename(SHOWN)
    if low <= 0 <= high or low != low:
        way = "not distinguishable from zero" if low == low else "without an interval"
        return f"{name} change plain top-1 by {g:+.3f}, {way}: there is no gain to explain.", shown
    what = "gain" if g > 0 else "loss"
    return f"{name}: of the {what} of {g:+.3f} in plain top-1, {_left(rows)}.", shown


def _left(rows: pd.DataFrame) -> str:
    parts = {name: f"{rows.change[name]:+.3f}" for name in ("offset", "language", "left", "global")}
    ways = {name: verdict(rows.low[name], rows.high[name]) for name in ("left", "global")}
    return (
        f"a constant gives {parts['offset']}, language offsets {parts['language']}, left is {parts['left']} "
        f"({ways['left']} 0); after global centring {parts['global']} survives ({ways['global']} 0)"
    )


def headroom(table: pd.DataFrame, layer: int) -> Answer:
    """Who wrote the differences between languages at a layer, and what taking them away gives; `streams.headroom`."""
    rows = table[table.layer == layer].set_index("component")
    told = [f"{name} {row.share:.0%} ({row.change:+.3f})" for name, row in rows.iterrows() if name != "all"]
    text = f"At layer {layer}, of the variance of language means (and top-1 without it): {', '.join(told)}"
    return f"{text}; all of it gives {rows.change['all']:+.3f}.", rows.drop(columns="layer")


def price(table: pd.DataFrame, posthoc: float) -> Answer:
    """How the method chosen on `dev` stands to post-hoc projection, and what it costs; all methods under controls."""
    columns = ["method", "setting", "on_dev", "perplexity", "neighbours", "share"]
    shown = table[[*columns, *(name for name in table if name.startswith("gain_"))]].copy()
    shown["survives"] = ["+" * sum(row[f"low_{score}"] > 0 for score in _CENTRED) for _, row in table.iterrows()]
    untouched, best = table.iloc[0], table[table.chosen].iloc[0]
    how = verdict(best.low_posthoc, best.high_posthoc)
    text = f"Chosen on dev, {_named(best)} has globally centred top-1 {best['global']:.2f} ({untouched['global']:.2f}"
    text = f"{text} untouched), {best.over_posthoc:+.2f}, {how} 0, beside post-hoc projection ({posthoc:.2f})"
    if table.perplexity.isna().all():
        return f"{text}; {best.neighbours:.0%} of neighbours stay.", shown
    return f"{text}, at {best.perplexity / untouched.perplexity:.2f} times the perplexity.", shown


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
    return f"{row.method} ({row.setting})" if row.setting else row.method


QUESTIONS = dict(
    planted=planted, gain=gain, survives=survives, headroom=headroom, price=price, left_out=left_out, written=written
)
