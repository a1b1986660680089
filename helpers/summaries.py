"""What stays of a sweep: one small table of means and intervals, with its provenance beside it.

One idea: results are not committed, conclusions are. The summary is a CSV that anybody can read, and a JSON of the same
name tells which runs, commits and versions it came from.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from helpers import records, stats, store
from helpers.names import known


def summarise(table: pd.DataFrame, keys: Sequence[str], *, value: str, over: str, seed: int = 0) -> pd.DataFrame:
    """table[*keys, value, low, high, n]: the mean over the groups of `over`, whose number is n, groups resampled.

    A group is what is independent of the others, such as the training of a model; each counts the same, however many
    rows it has. With one group there is no interval (NaN).
    """
    for name in [*keys, value, over]:
        known(name, list(table), "column")
    rows = []
    for key, part in table.groupby(list(keys), sort=False):
        each = part.groupby(over, sort=False)[value].mean()
        low, high = stats.mean_interval(each, seed=seed)[1:] if len(each) > 1 else (np.nan, np.nan)
        rows.append((*key, each.mean(), low, high, len(each)))
    return pd.DataFrame(rows, columns=[*keys, value, "low", "high", "n"])


def write(name: str, filename: str, keys: Sequence[str], *, value: str, over: str, folder: Path) -> Path:
    """The path of a sweep's summary, `<folder>/<name>-<table>.csv`, written with its provenance as JSON beside it."""
    table = records.gather(name, filename)
    runs = records.manifest(name).query("status == 'completed'")
    path = Path(folder) / f"{name}-{Path(filename).stem}.csv"
    facts = dict(sweep=name, table=filename, keys=list(keys), value=value, over=over, rows=len(table))
    made = dict(runs=runs.run.tolist(), commits=sorted(set(runs.commit)), seconds=round(float(runs.seconds.sum())))
    found = summarise(table, keys, value=value, over=over)
    store.write_text(path, found.to_csv(index=False, float_format="%.5g", lineterminator="\n"))
    store.write_json(path.with_suffix(".json"), store.describe(facts) | made)
    return path
