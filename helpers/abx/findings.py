"""What became of form and meaning: tables in, one sentence and a table out, verdicts from intervals alone."""

import pandas as pd

KEYS = ("corpus", "pool", "variant", "pairs", "layer")


def changes(curves: pd.DataFrame) -> pd.DataFrame:
    """table[*keys, first, last, change, low, high, sunk]: accuracy at the first and the last step, layers if one step.

    The interval takes the far ends of both, so it is wider than one of paired replicates would be. `sunk` is how far
    the interval at the end lies below that at the peak.
    """
    over = "step" if curves["step"].nunique() > 1 else "layer"
    keys = [key for key in KEYS if key in curves and key != over]
    curves = curves.sort_values(over, ignore_index=True)
    rows = curves.groupby(keys, sort=False)
    first, last, peak = rows.first(), rows.last(), curves.loc[rows.accuracy.idxmax()].set_index(keys)
    found = pd.DataFrame({"first": first.accuracy, "last": last.accuracy, "change": last.accuracy - first.accuracy})
    return found.assign(low=last.low - first.high, high=last.high - first.low, sunk=peak.low - last.high).reset_index()


def trade_off(curves: pd.DataFrame, by: str, least: float = 0.05) -> tuple[str, pd.DataFrame]:
    """Whether form is lost while meaning is gained, for each value of `by`: a sentence, and a table of what changed.

    `curves` is table[step, layer, variant, pairs, accuracy, low, high] and `by`. A case is a layer, pooling and kind of
    pair; it rises or falls from the first to the last step, or sinks by more than `least` from a peak.
    """
    moved = changes(curves[curves["variant"].isin(("meaning", "form")) & (curves["pairs"] != "all")])
    moved = moved.assign(cases=1, rises=moved.low > 0, falls=moved.high < 0, sinks=moved.sunk > least)
    counts = {name: (name, "sum") for name in ("cases", "rises", "falls", "sinks")}
    table = moved.groupby([by, "variant"], sort=False).agg(**counts, first=("first", "mean"), last=("last", "mean"))
    said = [f"{name}: {_traded(rows.loc[name])}" for name, rows in table.groupby(level=0, sort=False)]
    return "; ".join(said) + ".", table.reset_index()


def _traded(rows: pd.DataFrame) -> str:
    form, meaning = rows.loc["form"], rows.loc["meaning"]
    if form.sinks > form.falls and 5 * form.sinks > form.cases:
        return f"form is told early and then lost in {'most' if 2 * form.sinks > form.cases else 'some'} places"
    if form.falls:
        return f"form is given up in {'most' if 2 * form.falls > form.cases else 'some'} places"
    return (
        "meaning is added to form, not traded for it" if meaning.rises else "meaning does not rise, form does not fall"
    )
