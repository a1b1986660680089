"""Sweeps: the same notebooks over many parameters, anywhere, so that being stopped loses nothing.

A run has an identity (its notebook, its parameters), and everything is filed under that: its results, its lock, its
record, a small file written when it starts and when it ends. What is complete is not run again, by this or another.
The workbook is the sweep of one point, the defaults, over every numbered notebook.
"""

import logging
import re
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from pathlib import Path

import pandas as pd
from filelock import Timeout

from helpers import ROOT
from helpers.common import progress, results, store
from helpers.common.lookup import known
from helpers.running import executors, grids, parameters, records, runner

_KILLED = re.compile("kernel (was killed|died)", re.IGNORECASE)
_PAUSE = 0.5  # seconds between looks at runs that another process is busy with
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
_log = logging.getLogger(__name__)


def plan(path: str | Path) -> list[dict]:
    """The runs of a sweep's YAML file in the order a single worker takes them, each once, none started.

    Each is a `runner.plan` with its sweep and needs: the runs of earlier notebooks at the same point. A notebook is
    given those names of a point that it declares, and a parameter such as `experts_run` the run at its own point that
    writes experts. ValueError or LookupError for anything that is wrong in the file, or names what is not there.
    """
    path = _resolve(path)
    spec = grids.read(path, grids.KEYS)
    try:
        sources = [runner.resolve(str(name)) for name in spec.get("notebooks", [])]
        if not sources:
            raise ValueError("no notebooks; write notebooks: [01_expert_discovery]")
        declared = {source: parameters.inspect(source) for source in sources}
        names = sorted({name for found in declared.values() for name in found})
        rows: dict[str, dict] = {}
        for point in grids.points(spec):
            for name in point:
                known(name, names, f"parameter, in {', '.join(source.stem for source in sources)},")
            _add(rows, point, declared)
    except (ValueError, LookupError) as error:
        raise type(error)(f"{path.name}: {error.args[0]}") from None
    return [row | {"sweep": path.stem} for row in rows.values()]


def plan_workbook(names: Sequence[str] = (), force: bool = False) -> list[dict]:
    """The runs of notebooks, or of all, with their defaults: each after the first and after those that it reads.

    The first prepares what all others share. A parameter such as `edits_run` tells whose results a notebook reads.
    """
    runs = {name: runner.plan(runner.resolve(name), {}) for name in names or runner.listed()}
    for name, row in runs.items():
        read = {next(iter(runs)), *(results.READERS.get(parameter) for parameter in row["parameters"])} - {name}
        after = [run["run"] for other, run in runs.items() if other in read]
        row |= {"sweep": "workbook", "needs": [], "after": after, "asked": True, "force": force}
    return list(runs.values())


def execute(path: str | Path, profile: Mapping = executors.ALONE, *, retry_failed: bool = False) -> pd.DataFrame:
    """The manifest of a sweep once every run has been performed, with a profile as `executors.check` returns it."""
    rows, name = plan(path), _resolve(path).stem
    perform(name, rows, profile, retry_failed=retry_failed)
    store.write_table(records.home(name) / "manifest.parquet", records.manifest(name))
    return records.manifest(name)


def execute_workbook(names: Sequence[str] = (), *, force: bool = False, workers: int = 1) -> pd.DataFrame:
    """Table [notebook, run, seconds, status, error] of the numbered notebooks, in order; status is as in `perform`.

    At most `workers` run at once, each with its share of the cores. A notebook that fails stops none of the others.
    """
    rows = plan_workbook(names, force)
    state = perform("workbook", rows, executors.ALONE | {"workers": workers, "cores": 0}, retry_failed=True)
    table = pd.DataFrame([records.read(row) | {"status": state[row["run"]]} for row in rows])
    table["seconds"] = table.seconds.where(table.status != "skipped", 0.0).round(1)
    return table[["notebook", "run", "seconds", "status", "error"]]


def perform(name: str, rows: Sequence[dict], profile: Mapping, *, retry_failed: bool = False) -> dict[str, str]:
    """What became of planned runs, by id: completed, skipped (it was complete), failed, or blocked by a failed one.

    A run starts when all that it `needs` have completed and those it is `after` have ended, at most one for each of the
    profile's workers; one that another process is busy with is looked at again later, so that two sweeps share the
    work. A kernel gets as many threads as the profile has `cores`, on every back-end, so that results are equal to the
    last bit (0: its share of this machine's, all of them with no run beside it), and on this machine a GPU of its own.
    Runs that failed before stay failed unless `retry_failed`.
    """
    slots, gpus, aloud = range(profile["workers"]), executors.gpus(profile), _log.isEnabledFor(logging.INFO)
    queue, running, state = list(rows), {}, {}
    with executors.pool(profile) as pool:
        store.write_json(records.home(name) / "sweep.json", store.describe() | {"runs": [row["run"] for row in rows]})
        while queue or running:
            queue = [row for row in queue if not _settle(row, state, retry_failed)]
            free = sorted({*slots} - {slot for _, slot in running.values()})
            chosen = list(zip([row for row in queue if {*row["after"]} <= {*state}], free))
            share = profile["cores"] or (
                0 if len(chosen) == 1 and not running else max(1, executors.cores() // len(slots))
            )
            for row, slot in chosen:
                queue.remove(row)
                told = dict.fromkeys(_THREADS, str(share)) if share else {}
                told |= {"CUDA_VISIBLE_DEVICES": gpus[slot]} if gpus else {}
                running[pool.submit(attempt, row, told, aloud)] = row, slot
            for future in wait(running, return_when=FIRST_COMPLETED).done if running else ():
                row, _ = running.pop(future)
                outcome = _outcome(future, row)
                if outcome == "busy":
                    queue.append(row)
                    time.sleep(_PAUSE)
                else:
                    state[row["run"]] = outcome
                    _log.info("%s %s %s, %d of %d", row["notebook"], row["run"], outcome, len(state), len(rows))
    return state


def attempt(row: Mapping, environment: Mapping[str, str], aloud: bool = False) -> str:
    """What became of one run, its kernel with this environment: as in `perform`, or busy when another process is at it.

    A run whose kernel was killed is started once more.
    """
    if aloud:  # in the log of a job
        progress.tell()
    try:
        with store.locked(row["run"]):
            return _done(row) or _try(row, environment)
    except Timeout:
        return "busy"


def status(rows: Sequence[Mapping]) -> pd.DataFrame:
    """Table [run, notebook, status, ...] of planned runs as they stand: one column for each parameter that varies.

    Status is completed, failed, running (somewhere, now), interrupted (its process is gone) or planned.
    """
    head = pd.DataFrame([{"run": row["run"], "notebook": row["notebook"], "status": _status(row)} for row in rows])
    return head.join(records.varied([row["given"] for row in rows]).fillna(""))


def _resolve(path: str | Path) -> Path:
    """A sweep's file by its path, or by its name in notebooks/sweeps."""
    path = Path(path)
    return path if path.is_file() or path.suffix else ROOT / "notebooks" / "sweeps" / f"{path}.yaml"


def _add(rows: dict, point: Mapping, declared: Mapping) -> None:
    """Add to `rows` the runs of one point: each notebook with what it declares, and the runs it reads by their ids."""
    before: dict[str, str] = {}
    for source, found in declared.items():
        read = {name: before.get(results.READERS.get(name)) for name in found}
        given = {name: run for name, run in read.items() if run} | {k: v for k, v in point.items() if k in found}
        try:
            planned = runner.plan(source, given)
        except ValueError as error:
            hint = "put a text in quotes; in a grid, each value of a list parameter is itself a list"
            raise ValueError(f"{source.stem}: {error.args[0]}; {hint}") from None
        if not runner.is_complete(planned):
            runner.refuse_absent(planned["parameters"])
        row = rows.setdefault(planned["run"], planned | {"needs": []})
        row["needs"] = row["after"] = list(dict.fromkeys([*row["needs"], *before.values()]))
        before[source.stem] = planned["run"]


def _settle(row: Mapping, state: dict, retry_failed: bool) -> bool:
    """Whether no work on a run is left or possible; if so, `state` says why."""
    if {state.get(need) for need in row["needs"]} & {"failed", "blocked"}:
        state[row["run"]] = records.write(row, "blocked", error="an earlier notebook at this point failed")
    elif {*row["after"]} <= {*state}:
        if status := _done(row):
            state[row["run"]] = status
        elif records.read(row).get("status") == "failed" and not retry_failed:
            state[row["run"]] = "failed"
    return row["run"] in state


def _done(row: Mapping) -> str:
    """`skipped` for a run that is complete (one that a person asked for is the latest again), empty for one to do."""
    if row.get("force") or not runner.is_complete(row):
        return ""
    if row.get("asked"):
        runner.ask_again(row)
    return records.completed(row).replace("completed", "skipped")


def _outcome(future: Future, row: Mapping) -> str:
    """Status that a worker sent, or failed where the worker did not live to send one."""
    try:
        return future.result()
    except (OSError, ImportError):
        raise  # a full disk or a wrong installation is no matter of this run
    except (Exception, CancelledError) as error:
        return records.write(row, "failed", error=f"its worker was lost {executors.LOST} times: {type(error).__name__}")


def _try(row: Mapping, environment: Mapping[str, str], last: bool = False) -> str:
    """What became of a run that is executed now, its record telling so before and after."""
    records.write(row, "running", started=records.now(), attempts=records.read(row).get("attempts", 0) + 1)
    started = time.time()
    try:
        runner.perform(row, environment)
    except KeyboardInterrupt:
        records.write(row, "interrupted", seconds=time.time() - started)
        raise
    except Exception as error:
        if _KILLED.search(str(error)) and not last:
            return _try(row, environment, last=True)
        return records.write(row, "failed", seconds=time.time() - started, error=str(error) or repr(error))
    return records.completed(row)


def _status(row: Mapping) -> str:
    """How a run stands, as `status` tells it."""
    try:
        with store.locked(row["run"]):
            stated = "done" if runner.is_complete(row) else records.read(row).get("status")
            told = {"done": "completed", "failed": "failed", "running": "interrupted", "interrupted": "interrupted"}
            return told.get(stated, "planned")
    except Timeout:
        return "running"
