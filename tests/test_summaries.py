"""A sweep's summary: each group counts the same, and says where it came from."""

import json

import numpy as np
import pandas as pd
import pytest

from helpers import records, store, summaries

TABLE = pd.DataFrame(
    {
        "model": ["a", "a", "a", "b"],
        "k": [5, 5, 5, 5],
        "layer": 1,
        "change": [0.0, 0.0, 0.0, 1.0],
        "toward": list("xyzx"),
    }
)


def test_each_group_counts_the_same_however_many_rows_it_has():
    row = summaries.summarise(TABLE, ["k", "layer"], value="change", over="model").iloc[0]
    assert (row.change, row.low, row.high, row.n) == (0.5, 0.0, 1.0, 2)


def test_one_group_has_no_interval_and_an_unknown_column_is_named():
    row = summaries.summarise(TABLE.query("model == 'a'"), ["k"], value="change", over="model").iloc[0]
    assert row.change == 0 and np.isnan(row.low) and row.n == 1
    with pytest.raises(LookupError, match="chang.*change"):
        summaries.summarise(TABLE, ["k"], value="chang", over="model")


def test_a_summary_is_written_with_its_provenance(tmp_path, monkeypatch):
    runs = pd.DataFrame({"run": ["1", "2"], "commit": ["c", "c"], "seconds": [1.0, 2.0], "status": "completed"})
    monkeypatch.setattr(records, "gather", lambda *_: TABLE)
    monkeypatch.setattr(records, "manifest", lambda _: runs)
    path = summaries.write("full", "steering.parquet", ["k"], value="change", over="model", folder=tmp_path)
    assert path.read_text() == "k,change,low,high,n\n5,0.5,0,1,2\n"
    facts = json.loads((tmp_path / "full-steering.json").read_text())
    assert facts["runs"] == ["1", "2"] and facts["commits"] == ["c"] and facts["seconds"] == 3
    assert facts["parameters"]["keys"] == ["k"] and facts["helpers"] == store.describe()["helpers"]
