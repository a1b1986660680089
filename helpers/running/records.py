"""Records of runs: a small file for each, written when it starts and when it ends, and the tables made of them.

A sweep that is killed loses nothing, because nothing is kept in memory alone.
"""

import json
import os
import shutil
import socket
import time
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from helpers import DATA
from helpers.common import results, store
from helpers.common.lookup import known

COLUMNS = (
    *("notebook", "run", "status", "started", "seconds", "attempts", "error", "model", "revision", "parameters"),
    *("commit", "helpers", "versions", "reads", "outputs", "folder", "worker"),
)
_BLANK = {"started": "", "seconds": 0.0, "attempts": 0, "completed": 0.0, "error": "", "reads": [], "outputs": []}


def manifest(name: str) -> pd.DataFrame:
    """Table of a sweep's runs, one row each, in order: what their records say now. LookupError for an unknown sweep."""
    base = home(name).parent
    known(name, [path.parent.name for path in base.glob("*/sweep.json")], "sweep that was started")
    runs = json.loads((base / name / "sweep.json").read_text(encoding="utf-8"))["runs"]
    records = [read({"sweep": name, "run": run}) for run in runs]
    frame = pd.DataFrame([record for record in records if record], columns=list(COLUMNS))
    texts = {column: frame[column].map(json.dumps) for column in ("parameters", "versions")}
    lists = {column: frame[column].map(", ".join) for column in ("reads", "outputs")}
    return frame.assign(**texts, **lists).astype({"seconds": float, "attempts": int})


def gather(name: str, filename: str) -> pd.DataFrame:
    """One table of that name from all completed runs of a sweep, the run and its varied parameters as first columns."""
    done = manifest(name).query("status == 'completed'").reset_index(drop=True)
    given = pd.DataFrame([json.loads(text) for text in done.parameters])
    varied = given[[key for key in given if given[key].map(repr).nunique() > 1]]
    varied = varied.map(lambda value: str(value) if isinstance(value, list | dict) else value)
    tables = []
    for row, values in zip(done.itertuples(), varied.to_dict("records")):
        if (path := Path(row.folder, filename)).exists():
            table = store.read_table(path)
            keys = {"run": row.run} | {key: value for key, value in values.items() if key not in table}
            tables.append(table.assign(**keys)[[*keys, *(column for column in table if column not in keys)]])
    if not tables:
        raise LookupError(f"no completed run of sweep {name!r} has {filename!r}; {len(done)} have completed")
    return pd.concat(tables, ignore_index=True)


def completed(row: Mapping) -> str:
    """The status of a run that is complete, put on record from the marker in its folder.

    It is `failed` where the run read a result of another point's run than its own: then it is no result of this sweep.
    """
    marker, before, folder = results.read_marker(row["folder"]), read(row), row["folder"]
    reads = sorted({Path(entry["path"]).parent.name for entry in marker["inputs"] if entry["path"]})
    error = _misread(reads, row["needs"])
    if not error and (before.get("status"), before.get("completed")) == ("completed", marker["completed"]):
        return "completed"
    facts = {name: marker[name] for name in ("commit", "versions", "helpers", "seconds", "completed")}
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    facts["outputs"] = [file for file in files if file != results.MARKER and not file.startswith(".")]
    commit = marker.get("sources", {}).get("commit", row["parameters"].get("revision", ""))
    facts |= {"started": now(marker["started"]), "revision": commit, "reads": reads, "error": error}
    return write(row, "failed" if error else "completed", **facts)


def write(row: Mapping, status: str, **facts: object) -> str:
    """The status, now on record beside what else is known of the run."""
    origin = {name: value for name, value in store.describe().items() if name in ("commit", "versions", "helpers")}
    told = {name: row[name] for name in ("notebook", "run", "parameters", "folder")} | {"status": status}
    told |= {"model": row["parameters"].get("model", ""), "worker": f"{socket.gethostname()}:{os.getpid()}"}
    fresh = _BLANK | origin | {"revision": row["parameters"].get("revision", "")}
    store.write_json(_record(row), fresh | read(row) | told | facts)
    return status


def read(row: Mapping) -> dict:
    """The record of a run; empty when there is none, or none that can be read."""
    try:
        return json.loads(_record(row).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def defaults() -> list[dict]:
    """What is on record of the newest completed run of each notebook with its default parameters, in order."""
    markers = [results.read_marker(path.parent) for path in DATA.glob(f"results/*/*/*/{results.MARKER}")]
    newest = {run["notebook"]: run for run in sorted(markers, key=lambda run: run["asked"]) if run["default"]}
    if not newest:
        raise LookupError("no default run has completed; run first: python -m helpers workbook")
    return [newest[name] for name in sorted(newest)]


def show_figures(folder: Path) -> list[Path]:
    """The PNG figures of the newest default runs, copied to a folder."""
    found = [path for run in defaults() for path in sorted((run["folder"] / "figures").glob("*.png"))]
    folder.mkdir(exist_ok=True)
    return [Path(shutil.copyfile(path, folder / path.name)) for path in found]


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
