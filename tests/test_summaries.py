"""A sweep's summary: each group counts the same, and says where it came from."""

import json

import numpy as np
import pandas as pd
import pytest

from helpers.common import results, stats, store
from helpers.running import records

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
    row = records.summarise(TABLE, ["k", "layer"], value="change", over="model").iloc[0]
    assert (row.change, row.low, row.high) == stats.few_interval([0.0, 1.0]) and row.n == 2


def test_one_group_has_no_interval_and_an_unknown_column_is_named():
    row = records.summarise(TABLE.query("model == 'a'"), ["k"], value="change", over="model").iloc[0]
    assert row.change == 0 and np.isnan(row.low) and row.n == 1
    with pytest.raises(LookupError, match="chang.*change"):
        records.summarise(TABLE, ["k"], value="chang", over="model")


def test_a_summary_is_written_with_its_provenance(tmp_path, monkeypatch):
    runs = pd.DataFrame({"run": ["1", "2"], "commit": ["c", "c"], "seconds": [1.0, 2.0], "status": "completed"})
    monkeypatch.setattr(records, "gather", lambda *_: TABLE)
    monkeypatch.setattr(records, "manifest", lambda _: runs)
    path = records.write_summary("full", "steering.parquet", ["k"], value="change", over="model", folder=tmp_path)
    assert path.read_text() == "k,change,low,high,n\n5,0.5,-5.8531,6.8531,2\n"
    facts = json.loads((tmp_path / "full-steering.json").read_text())
    assert facts["runs"] == ["1", "2"] and facts["commits"] == ["c"] and facts["seconds"] == 3
    assert facts["parameters"]["keys"] == ["k"] and facts["helpers"] == store.describe()["helpers"]


def test_a_contrast_is_taken_within_a_group():
    table = pd.DataFrame({"model": list("abab"), "units": ["x", "x", "y", "y"], "change": [1.0, 9.0, 2.0, 10.5]})
    found = records.summarise(table, ["units"], value="change", over="model", contrast="units").set_index("units")
    assert found.change.to_dict() == {"x": 5.0, "y": 6.25, "x less y": -1.25}
    assert found.loc["x less y", ["low", "high"]].tolist() == list(stats.few_interval([-1.0, -1.5])[1:])


def test_committed_summaries_are_read_with_where_they_come_from(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "ROOT", tmp_path)
    place = tmp_path / "notebooks" / "sweeps" / "factors-controls"
    place.parent.mkdir(parents=True)
    place.with_suffix(".csv").write_text("k,change\n5,0.5\n")
    place.with_suffix(".json").write_text('{"commits": ["c"]}')
    table, about = results.read_summary("factors-controls")
    assert table.k.tolist() == [5] and about == {"commits": ["c"]}
    with pytest.raises(LookupError, match="no summary none.csv"):
        results.read_summary("none")
