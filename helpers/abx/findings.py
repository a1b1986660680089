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
    said = [
        f"{part.falls.sum()} of {len(part)} layers of {model}, and at the end is {_left(last.loc[model])}"
        for model, part in found.groupby(level=0, sort=False)
    ]
    return f"Language's share of variance falls from its peak in {'; in '.join(said)}.", found.reset_index()


def _left(last: pd.DataFrame) -> str:
    """Where in depth the share of language is largest, by the intervals of a table with one row a layer."""
    top, layers = last.accuracy.idxmax(), last.index.sort_values()
    low = top <= layers[-1] / 2
    clear = last.low[top] > last.high[layers[-1 if low else 0]]
    return f"largest in {('low ones' if low else 'deep ones') if clear else 'no clear part'}"


def beyond(leads: pd.DataFrame) -> tuple[str, pd.DataFrame]:
    """Whether a layer tells meaning better than the embeddings and the surface: a sentence, and the least clear lead.

    Yes where every lead over a baseline, of all triples and of those of one length, has an interval above 0, so that
    no correction is due. table[model, yes, triples, baseline, layer, accuracy, lead, low, high], a row for each model.
    """
    least = leads.loc[leads.groupby("model", sort=False).low.idxmin()].set_index("model")
    least.insert(0, "yes", least.low > 0)
    said = [
        f"{model}: {'yes' if row.yes else 'no'}, layer {row.layer} less {row.baseline} "
        f"({row.triples}) is {row.lead:+.3f} [{row.low:+.3f}, {row.high:+.3f}]"
        for model, row in least.iterrows()
    ]
    return "; ".join(said) + ".", least.reset_index()
