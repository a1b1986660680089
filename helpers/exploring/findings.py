"""What a setting of the explorer changes, in sentences."""

import pandas as pd

from helpers.common.stats import verdict


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
