"""What became of form, and what a layer adds to the surface: tables in, one sentence and a table out.

Verdicts come from intervals alone.
"""

import pandas as pd


def declines(curves: pd.DataFrame) -> tuple[str, pd.DataFrame]:
    """Whether language's share of variance falls while a model is trained, and in which layers it is left at the end.

    The sentence, and table[model, layer, peak, at, last, fall, low, high, falls] from curves[model, layer, step,
    variant, accuracy, low, high]: the largest share, at which step, and how far the last lies below it. Its interval
    takes the far ends of both. What is left is in low layers where the largest last share is in the lower half and
    clearly above that of the deepest layer, in deep ones where it is in the upper half and clearly above layer 0's.
    """
    rows = (
        curves[curves["variant"] == "by language"]
        .sort_values("step", kind="stable")
        .groupby(["model", "layer"], sort=False)
    )
    peak, last = curves.loc[rows.accuracy.idxmax()].set_index(["model", "layer"]), rows.last()
    found = pd.DataFrame({"peak": peak.accuracy, "at": peak.step, "last": last.accuracy})
    found = found.assign(fall=found["peak"] - found["last"], low=peak.low - last.high, high=peak.high - last.low)
    found["falls"] = (found.low > 0) & (found["at"] < last.step)
    if curves["step"].nunique() == 1:
        said = [f"{model} is {_left(part.droplevel(0))}" for model, part in last.groupby(level=0, sort=False)]
        return f"Language's share of variance in {'; in '.join(said)}.", found.reset_index()
    said = [
        f"{part.falls.sum()} of {len(part)} layers of {model}, and at the end is {_left(last.loc[model])}"
        for model, part in found.groupby(level=0, sort=False)
    ]
    return f"Language's share of variance falls from its peak in {'; in '.join(said)}.", found.reset_index()


def _left(last: pd.DataFrame) -> str:
    """Where in depth the share of language is largest, by the intervals of a table with one row a layer."""
    last = last.sort_index()
    top, halfway = last.accuracy.idxmax(), last.index[-1] / 2
    end = last.index[-1] if top <= halfway else last.index[0]
    if last.low[top] <= last.high[end]:
        return "largest in no clear part"
    return f"largest in {'low' if top <= halfway else 'deep'} ones"


def beyond(leads: pd.DataFrame) -> tuple[str, pd.DataFrame]:
    """Whether a layer tells meaning better than the embeddings and the surface: a sentence, and the smallest leads.

    Yes where every lead over a baseline, of all triples and of those of one length, has an interval above 0, so that
    no correction is due. table[model, layer, yes, baseline, triples, lead, low, high]: the least certain lead of each.
    """
    least = leads.loc[leads.groupby("model", sort=False).low.idxmin()].reset_index(drop=True)
    least.insert(0, "yes", least.low > 0)
    said = [
        f"{row.model}: {'yes' if row.yes else 'no'}, layer {row.layer} less {row.baseline} "
        f"({row.triples}) is {row.lead:+.3f} [{row.low:+.3f}, {row.high:+.3f}]"
        for row in least.itertuples()
    ]
    return "; ".join(said) + ".", least[["model", "layer", "yes", "baseline", "triples", "lead", "low", "high"]]
