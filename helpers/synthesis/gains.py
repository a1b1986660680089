"""Which pairs of languages steering helps: by the language steered to, by kinship, by where the pair stood before."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace

import numpy as np
import pandas as pd

from helpers.synthesis import dyads, findings
from helpers.synthesis.questions import pair_means

_THIRDS = np.array(["low", "middle", "high"], dtype=object)


def helped(views: SimpleNamespace, families: Mapping[str, str]) -> SimpleNamespace:
    """Average what steering adds to retrieval, from `dyads.views`: pairs, means, and what is `said` with a `table`.

    means: tables by the language steered to (toward), by kinship and by level, the last two of pairs steered to their
    source. level is the third of retrieval on `dev`, so that a pair is not called low for having been unlucky on the
    sentences of the gain.
    """
    pairs = by_pair(views.before, views.cubes, views.languages)
    own = pairs[pairs["toward"] == "source"].assign(level=lambda t: thirds(t, views.early))
    near = own["source"].map(families) == own["target"].map(families)
    own["kin"] = near.map({True: "within families", False: "across"})
    own = own.sort_values("level", key=lambda x: x.map(list(_THIRDS).index), kind="stable")
    parts = {"toward": pairs.dropna(subset="value"), "kin": own, "level": own}
    means = {key: pair_means(part, ["units", key], families) for key, part in parts.items()}
    differences = contrasts(pairs, families)
    rows = [
        differences.assign(units="difference"),
        *(part.rename(columns={key: "contrast"}) for key, part in means.items()),
    ]
    table = pd.concat(rows, ignore_index=True).set_index(["units", "contrast"])
    best = most_helped(views.before, dyads.to_source(views.cubes["experts"]), views.languages)
    said = findings.gains(differences, best)
    return SimpleNamespace(pairs=pairs, means=means, table=table, said=said)


def by_pair(before: np.ndarray, cubes: Mapping[str, np.ndarray], languages: Sequence[str]) -> pd.DataFrame:
    """table[source, target, units, toward, value]: what steering adds to each pair's retrieval.

    before [source, target, sentence] are hits of the untouched model, `cubes` maps the kind of units to hits
    [steered to, source, target, sentence]. toward: the pair's source, its target, or another (mean over these).
    """
    rows, others = [], len(languages) - 2
    for units, cube in cubes.items():
        each = cube.mean(-1) - before.mean(-1)  # [toward, source, target]
        ends = {"source": np.einsum("sst->st", each), "target": np.einsum("tst->st", each)}
        rest = each.sum(0) - ends["source"] - ends["target"]
        ends["another"] = rest / others if others else np.full_like(rest, np.nan)
        rows += [dyads.retrieved(x[..., None], languages, toward).assign(units=units) for toward, x in ends.items()]
    table = pd.concat(rows, ignore_index=True).rename(columns={"quantity": "toward"})
    return table[["source", "target", "units", "toward", "value"]]


def contrasts(gained: pd.DataFrame, families: Mapping[str, str]) -> pd.DataFrame:
    """`pair_means` of two differences of gains, by `contrast`: experts less random units, and source less another.

    The first is of pairs steered to their source; the second, of experts, says whether it matters who is steered to.
    """
    value = dict(iter(gained.set_index(["source", "target"]).groupby(["units", "toward"])["value"]))
    first, other = gained["units"].unique()
    found = {
        f"{first} less {other}": value[first, "source"] - value[other, "source"],
        "steered to the source less to another": value[first, "source"] - value[first, "another"],
    }
    rows = pd.concat(found, names=["contrast"]).dropna().reset_index()
    return pair_means(rows, ["contrast"], families)


def thirds(table: pd.DataFrame, by: pd.DataFrame) -> pd.Series:
    """For each row of table[source, target, ...] the third that its pair falls in by by[source, target, value]."""
    place = by.set_index(["source", "target"])["value"].rank(method="first", pct=True)
    place = place.reindex(pd.MultiIndex.from_frame(table[["source", "target"]])).to_numpy()
    return pd.Series(_THIRDS[np.minimum((place * 3).astype(int), 2)], table.index)


def most_helped(before: np.ndarray, after: np.ndarray, languages: Sequence[str], top: int = 5) -> pd.DataFrame:
    """table[source, target, chosen, held_out]: the pairs whose retrieval rises most, and their gain where not chosen.

    Hits [source, target, sentence]. Pairs are ranked on every other sentence (`chosen`), so that `held_out`, on the
    rest, is not too good to be true.
    """
    gain = after - before
    chosen, rest = (dyads.retrieved(gain[..., start::2], languages, "gain") for start in range(2))
    found = chosen.rename(columns={"value": "chosen"}).assign(held_out=rest["value"])
    return found.nlargest(top, "chosen")[["source", "target", "chosen", "held_out"]]
