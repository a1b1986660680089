"""Records of runs: a small file for each, written when it starts and when it ends, and the tables made of them.

A sweep that is killed loses nothing, because nothing is kept in memory alone. Results are not committed, summaries are:
a CSV of means and intervals that anybody can read, and a JSON of the same name that tells where they came from.
"""

import json
import os
import shutil
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from helpers import DATA
from helpers.common import results, stats, store
from helpers.common.lookup import known

COLUMNS = (
    *("notebook", "run", "status", "started", "seconds", "attempts", "error", "model", "revision", "parameters"),
    *("commit", "helpers", "versions", "reads", "outputs", "folder", "worker"),
)
_BLANK = {"started": "", "seconds": 0.0, "attempts": 0, "completed": 0.0, "error": "", "reads": [], "outputs": []}


def manifest(name: str) -> pd.DataFrame:
    """Table of a sweep's runs, one row each, in order: what their records say now. LookupError for an unknown sweep."""
    place = home(known(name, sweeps(), "sweep that was started")) / "sweep.json"
    runs = json.loads(place.read_text(encoding="utf-8"))["runs"]
    records = [read({"sweep": name, "run": run}) for run in runs]
    frame = pd.DataFrame(list(filter(None, records)), columns=list(COLUMNS))
    texts = {column: frame[column].map(json.dumps) for column in ("parameters", "versions")}
    lists = {column: frame[column].map(", ".join) for column in ("reads", "outputs")}
    return frame.assign(**texts, **lists).astype({"seconds": float, "attempts": int})


def gather(name: str, filename: str) -> pd.DataFrame:
    """One table of that name from all completed runs of a sweep, the run and its varied parameters as first columns."""
    done = manifest(name).query("status == 'completed'").reset_index(drop=True)
    given = varied(map(json.loads, done.parameters)).map(lambda v: str(v) if isinstance(v, list | dict) else v)
    tables = []
    for row, values in zip(done.itertuples(), given.to_dict("records")):
        if (path := Path(row.folder, filename)).exists():
            table = store.read_table(path)
            keys = {"run": row.run} | {key: value for key, value in values.items() if key not in table}
            tables.append(table.assign(**keys)[[*keys, *(column for column in table if column not in keys)]])
    if not tables:
        raise LookupError(f"no completed run of sweep {name!r} has {filename!r}; {len(done)} have completed")
    return pd.concat(tables, ignore_index=True)


def varied(given: Iterable[Mapping]) -> pd.DataFrame:
    """The parameters that are not the same in all runs, a column each; NaN where a run has no such parameter."""
    frame = pd.DataFrame(list(given), dtype=object)
    return frame.loc[:, frame.map(repr).nunique() > 1]


def summarise(table: pd.DataFrame, keys: Sequence[str], *, value: str, over: str, contrast: str = "") -> pd.DataFrame:
    """table[*keys, value, low, high, n]: the mean over the groups of `over`, whose number is n, and its t interval.

    A group is what is independent of the others, such as the training of a model; each counts the same, however many
    rows it has. With one group there is no interval (NaN). `contrast` is one of the keys: rows follow for its first
    level less each other level (`stats.contrasts`), differences taken within a group.
    """
    for name in filter(None, [*keys, value, over, contrast]):
        known(name, list(table), "column")
    each = table.groupby([*keys, over], sort=False, as_index=False)[value].mean()
    return stats.by_group(stats.contrasts(each, contrast, value) if contrast else each, keys, value)


def write_summary(
    name: str, filename: str, keys: Sequence[str], *, value: str, over: str, folder: Path, contrast: str = ""
) -> Path:
    """The path of a sweep's summary, `<folder>/<name>-<table>.csv`, written with its provenance as JSON beside it."""
    table, runs = gather(name, filename), manifest(name).query("status == 'completed'")
    path = Path(folder) / f"{name}-{Path(filename).stem}.csv"
    facts = dict(sweep=name, table=filename, keys=list(keys), value=value, over=over, rows=len(table))
    facts |= {"contrast": contrast} if contrast else {}
    made = dict(runs=runs.run.tolist(), commits=sorted(set(runs.commit)), seconds=round(float(runs.seconds.sum())))
    found = summarise(table, keys, value=value, over=over, contrast=contrast)
    store.write_text(path, found.to_csv(index=False, float_format="%.5g", lineterminator="\n"))
    store.write_json(path.with_suffix(".json"), store.describe(facts) | made)
    return path


def completed(row: Mapping) -> str:
    """The status of a run that is complete, put on record from the marker in its folder.

    It is `failed` where the run read a result of another point's run than its own: then it is no result of this sweep.
    """
    marker, before, folder = results.read_marker(row["folder"]), read(row), row["folder"]
    reads = sorted({Path(entry["path"]).parent.name for entry in marker["inputs"] if entry["path"]})
    error = _misread(reads, row["needs"])
    if not error and (before.get("status"), before.get("completed")) == ("completed", marker["completed"]):
        return "completed"
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    outputs = [file for file in files if file != results.MARKER and not file.startswith(".")]
    commit = marker.get("sources", {}).get("commit", row["parameters"].get("revision", ""))
    facts = {"started": now(marker["started"]), "revision": commit, "reads": reads, "outputs": outputs, "error": error}
    return write(row, "failed" if error else "completed", **marker | facts)


def write(row: Mapping, status: str, **facts: object) -> str:
    """The status, now on record beside what else is known of the run."""
    told = {name: row[name] for name in ("notebook", "run", "parameters", "folder")} | {"status": status}
    told |= {"model": row["parameters"].get("model", ""), "worker": f"{socket.gethostname()}:{os.getpid()}"}
    fresh = _BLANK | store.describe() | {"revision": row["parameters"].get("revision", "")}
    store.write_json(_record(row), fresh | read(row) | facts | told)
    return status


def read(row: Mapping) -> dict:
    """The record of a run; empty when there is none, or none that can be read."""
    try:
        return json.loads(_record(row).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def markers() -> dict[str, dict]:
    """What is on record of every completed run, by its id, the one last asked for at the end."""
    found = [results.read_marker(path.parent) for path in DATA.glob(f"results/*/*/*/{results.MARKER}")]
    return {run["run"]: run for run in sorted(found, key=lambda run: run["asked"])}


def defaults() -> list[dict]:
    """What is on record of the newest completed run of each notebook with its default parameters, in order."""
    newest = {run["notebook"]: run for run in markers().values() if run["default"]}
    if not newest:
        raise LookupError("no default run has completed; run first: python -m helpers workbook")
    return [newest[name] for name in sorted(newest)]


def show_figures(folder: Path) -> list[Path]:
    """The PNG figures of the newest default runs, copied to a folder."""
    found = [path for run in defaults() for path in sorted((run["folder"] / "figures").glob("*.png"))]
    folder.mkdir(exist_ok=True)
    return [Path(shutil.copyfile(path, folder / path.name)) for path in found]


def sweeps() -> list[str]:
    """Names of the sweeps that were started."""
    return [path.parent.name for path in home("*").parent.glob("*/sweep.json")]


def home(name: str) -> Path:
    """Folder of a sweep's records and tables."""
    return DATA / "results" / "sweeps" / name


def now(seconds: float | None = None) -> str:
    """The time in UTC, to the second, as in 2026-01-31T12:00:00Z; of an epoch or of this moment."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _misread(reads: list[str], needs: list[str]) -> str:
    """What is wrong with the runs that were read; empty when those of the sweep's own notebooks are of this point."""
    own = {need.split("-")[0]: need for need in needs}
    for other in reads:
        mine = own.get(other.split("-")[0], other)
        if mine != other and other not in needs:
            move = "declare a parameter such as experts_run: str = '' and pass it on to results.latest"
            return f"it read {other}, the latest, and not {mine} of its own point; {move}"
    return ""


def _record(row: Mapping) -> Path:
    return home(row["sweep"]) / "runs" / f"{row['run']}.json"
