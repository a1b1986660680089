"""What steering did, in one sentence each: tables in, text out, verdicts from intervals alone."""

import pandas as pd

from helpers.common.lookup import known
from helpers.common.stats import OFF, mean_interval, span, verdict


def finding(question: str, *tables, **options) -> str:
    """The answer to one of the questions gain, price, left_out and written: a sentence in bold."""
    return f"**{_ANSWERS[known(question, _ANSWERS, 'question')](*tables, **options)}**"


def gain(table: pd.DataFrame, k: int) -> str:
    """At which layers experts change retrieval, and gain more than other units, from `stats.contrasts` at one k."""
    if table.low.isna().all():
        return f"With one language steered to, what {k} experts change cannot be judged."
    told = {units: _layers(rows) for units, rows in table.groupby("units", sort=False)}
    more = [f"than {name.partition(' less ')[2]} {above}" for name, (above, _) in told.items() if " less " in name]
    up, down = told["experts"]
    return f"{k} experts overwritten raise top-1 {up} and lower it {down}; they gain more {' and '.join(more)}."


def _layers(rows: pd.DataFrame) -> list[str]:
    """Where the interval lies above 0, and where below."""
    found = [verdict(row.low, row.high) for row in rows.itertuples()]
    places = ([layer for layer, way in zip(rows.layer, found) if way == side] for side in OFF)
    return [f"at layer {', '.join(map(str, at))}" if at else "at no layer" for at in places]


def price(table: pd.DataFrame, posthoc: float) -> str:
    """How the best method of `comparison.compare` stands to post-hoc projection, and what it costs."""
    untouched, best = table.iloc[0], table.loc[table.top1.idxmax()]
    how = verdict(untouched.top1 + best.low, untouched.top1 + best.high, posthoc)
    text = f"The best edit, {_named(best)}, takes top-1 from {untouched.top1:.2f} to {best.top1:.2f}, {how} post-hoc"
    text = f"{text} projection ({posthoc:.2f})"
    if table.perplexity.isna().all():
        return f"{text}; an encoder has no perplexity."
    cheap = table[table.perplexity <= 1.1 * untouched.perplexity]
    fair, times = cheap.loc[cheap.top1.idxmax()], best.perplexity / untouched.perplexity
    return f"{text}, at {times:.2f} times the perplexity; within 1.10 times, {_named(fair)} reaches {fair.top1:.2f}."


def left_out(table: pd.DataFrame, *, seed: int = 0) -> str:
    """What erasure gains for languages that it was not fitted on, at the best layer, from `measuring.left_out`."""
    text = []
    for kind, part in table.groupby("left_out", sort=False):
        layer = part.groupby("layer").seen.mean().idxmax()
        at = part[part.layer == layer]
        seen, unseen = (mean_interval(at[fit] - at.untouched, at.group, seed=seed) for fit in ("seen", "unseen"))
        told = f"{unseen.estimate:+.3f} {span(unseen.low, unseen.high)}, {verdict(unseen.low, unseen.high)} zero"
        text.append(f"fitted without the {kind} by {told}, and with it by {seen.estimate:+.3f} (layer {layer})")
    return f"Erasure changes top-1, {'; '.join(text)}." if text else "With so few languages none can be left out."


def written(table: pd.DataFrame, toward: str) -> str:
    """The largest k whose text costs at most twice the untouched perplexity, from `comparison.written`."""
    untouched, fair = table.iloc[0], table[(table.own <= 2 * table.own.iloc[0]) & (table.k > 0)]
    if fair.empty:
        return f"No k keeps held-out {toward} within twice its untouched perplexity."
    best = fair.loc[fair.k.idxmax()]
    share = f"the share of text in {toward} goes from {untouched.share:.2f} to {best.share:.2f}"
    return f"The largest k within twice the untouched perplexity of held-out {toward} is {best.k:.0f}: {share}."


def _named(row: pd.Series) -> str:
    return f"{row.method} ({row.setting}, strength {row.strength:g})" if row.setting else row.method


_ANSWERS = dict(gain=gain, price=price, left_out=left_out, written=written)
