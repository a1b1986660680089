"""What stays of a sweep: one small table of means and intervals, with its provenance beside it.

Results are not committed, summaries are: a CSV that anybody can read, and a JSON of the same name that tells which
runs, commits and versions it came from.
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from helpers.common import stats, store
from helpers.common.lookup import known
from helpers.running import records


def summarise(table: pd.DataFrame, keys: Sequence[str], *, value: str, over: str, contrast: str = "") -> pd.DataFrame:
    """table[*keys, value, low, high, n]: the mean over the groups of `over`, whose number is n, and its t interval.

    A group is what is independent of the others, such as the training of a model; each counts the same, however many
    rows it has. With one group there is no interval (NaN). `contrast` is one of the keys: rows follow for its first
    level less each other level (`stats.contrasts`), differences taken within a group.
    """
    for name in filter(None, [*keys, value, over, contrast]):
        known(name, list(table), "column")
    each = table.groupby([*keys, over], sort=False, as_index=False)[value].mean()
    each = stats.contrasts(each, contrast, value) if contrast else each
    rows = [(*key, *stats.few_interval(part[value]), len(part)) for key, part in each.groupby(list(keys), sort=False)]
    return pd.DataFrame(rows, columns=[*keys, value, "low", "high", "n"])


def write(
    name: str, filename: str, keys: Sequence[str], *, value: str, over: str, folder: Path, contrast: str = ""
) -> Path:
    """The path of a sweep's summary, `<folder>/<name>-<table>.csv`, written with its provenance as JSON beside it."""
    table = records.gather(name, filename)
    runs = records.manifest(name).query("status == 'completed'")
    path = Path(folder) / f"{name}-{Path(filename).stem}.csv"
    facts = dict(sweep=name, table=filename, keys=list(keys), value=value, over=over, rows=len(table))
    facts |= {"contrast": contrast} if contrast else {}
    made = dict(runs=runs.run.tolist(), commits=sorted(set(runs.commit)), seconds=round(float(runs.seconds.sum())))
    found = summarise(table, keys, value=value, over=over, contrast=contrast)
    store.write_text(path, found.to_csv(index=False, float_format="%.5g", lineterminator="\n"))
    store.write_json(path.with_suffix(".json"), store.describe(facts) | made)
    return path
