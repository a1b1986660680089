"""What became of form and meaning: tables in, one sentence and a table out, verdicts from intervals alone."""

import pandas as pd

KEYS = ("corpus", "pool", "variant", "pairs", "layer")
SUNK = 0.05


def changes(curves: pd.DataFrame) -> pd.DataFrame:
    """table[*keys, first, last, change, low, high, sunk]: accuracy at the first and the last step, layer if one step.

    low and high take the far ends of both intervals; `sunk` is how far the last interval lies below that at the peak.
    """
    over = "step" if curves["step"].nunique() > 1 else "layer"
    keys = [key for key in KEYS if key in curves and key != over]
    curves = curves.sort_values(over, ignore_index=True)
    rows = curves.groupby(keys, sort=False)
    first, last, peak = rows.first(), rows.last(), curves.loc[rows.accuracy.idxmax()].set_index(keys)
    found = pd.DataFrame({"first": first.accuracy, "last": last.accuracy, "change": last.accuracy - first.accuracy})
    return found.assign(low=last.low - first.high, high=last.high - first.low, sunk=peak.low - last.high).reset_index()


def trade_off(curves: pd.DataFrame, by: str) -> tuple[str, pd.DataFrame]:
    """Whether form is lost while meaning is gained, for each value of `by`: a sentence, and a table of what changed.

    A case is a layer, pooling and kind of pair; it rises or falls from first to last, or sinks below a peak by SUNK.
    """
    moved = changes(curves[curves["variant"].isin(("meaning", "form")) & (curves["pairs"] != "all")])
    moved = moved.assign(cases=1, rises=moved.low > 0, falls=moved.high < 0, sinks=moved.sunk > SUNK)
    counts = {name: (name, "sum") for name in ("cases", "rises", "falls", "sinks")}
    table = moved.groupby([by, "variant"], sort=False).agg(**counts, first=("first", "mean"), last=("last", "mean"))
    said = [f"{_traded(rows.loc[name])} ({name})" for name, rows in table.groupby(level=0, sort=False)]
    return "; ".join(said) + ".", table.reset_index()


def _traded(rows: pd.DataFrame) -> str:
    form, meaning = rows.loc["form"], rows.loc["meaning"]
    early = form.sinks > form.falls and 5 * form.sinks > form.cases
    if lost := form.sinks if early else form.falls:
        where = "most" if 2 * lost > form.cases else "some"
        return f"form is {'told early and then lost' if early else 'given up'} in {where} places"
    return "meaning is added to form, not traded for it" if meaning.rises else "neither does meaning rise nor form fall"
