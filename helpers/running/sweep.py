"""Sweeps: the same notebooks over many parameters, on any back-end, so that being stopped loses nothing.

One idea: a run has an identity (its notebook, its parameters), and everything is filed under that: its results, its
lock, and its record, a small file written when it starts and when it ends. What is complete is not run again, by this
sweep or another; the manifest is no more than the records side by side.
"""

import contextlib
import io
import logging
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, wait
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pandas as pd
from filelock import Timeout

from helpers import ROOT
from helpers.common import results, store
from helpers.common.lookup import known
from helpers.common.progress import progress
from helpers.running import executors, grids, kernels, parameters, records, runner

_KILLED = re.compile("kernel (was killed|died)", re.IGNORECASE)
_PAUSE = 0.5  # seconds between looks at runs that another sweep is busy with
_log = logging.getLogger(__name__)


def plan(path: str | Path) -> list[dict]:
    """The runs of a sweep's YAML file in the order a single worker takes them, each once, none started.

    Each has sweep, turn, notebook, source, run, given (the values to set), parameters (all of them), folder, and needs,
    the runs of earlier notebooks at the same point. A notebook is given those names of a point that it declares, and a
    parameter such as `experts_run` the run at its own point that writes experts. ValueError or LookupError for anything
    that is wrong in the file; every value is checked against the type that the notebook declares, and corpora,
    languages and models must be there.
    """
    path = _resolve(path)
    spec = grids.read(path, grids.KEYS)
    try:
        sources = [runner.resolve(str(name)) for name in spec.get("notebooks", [])]
        if not sources:
            raise ValueError("no notebooks; write notebooks: [01_expert_discovery]")
        declared = {source: parameters.inspect(source) for source in sources}
        names = {name for found in declared.values() for name in found}
        rows: dict[str, dict] = {}
        for point in grids.points(spec):
            for name in point:
                known(name, sorted(names), f"parameter, in {', '.join(source.stem for source in sources)},")
            _add(rows, point, declared)
    except (ValueError, LookupError) as error:
        raise type(error)(f"{path.name}: {error.args[0]}") from None
    return [row | {"sweep": path.stem, "turn": turn} for turn, row in enumerate(rows.values())]


def execute(
    path: str | Path,
    executor: Executor | None = None,
    *,
    slots: int = 1,
    retry_failed: bool = False,
    threads: int = 1,
    gpus: Sequence[str] = (),
) -> pd.DataFrame:
    """The manifest of a sweep once every run has completed, failed, or is blocked by a failed one.

    `slots` is how many runs the executor does at a time (no executor: one, in this process); `threads` and `gpus` are
    as in `attempt`. Runs that failed before stay failed unless `retry_failed`. Two sweeps at once share the work: what
    the other is at is looked at again later.
    """
    rows, name = plan(path), _resolve(path).stem
    store.write_json(records.home(name) / "sweep.json", store.describe() | {"runs": [row["run"] for row in rows]})
    waiting, ready, running, state = {row["run"]: row for row in rows}, {}, {}, {}
    work = partial(_submit, executor or executors.Inline(), threads=threads, gpus=tuple(gpus))
    with progress(None, name, len(rows)) as bar:
        while waiting or ready or running:
            _release(waiting, ready, state, retry_failed)
            for row in sorted(ready.values(), key=lambda row: row["turn"])[: slots - len(running)]:
                running[work(row)] = ready.pop(row["run"])
            for future in wait(running, return_when=FIRST_COMPLETED).done if running else ():
                row = running.pop(future)
                _finish(row, _outcome(future, row), ready, state)
            bar.update(len(state) - bar.n)
    store.write_table(records.home(name) / "manifest.parquet", records.manifest(name))
    return records.manifest(name)


def attempt(row: Mapping, threads: int = 1, gpus: Sequence[str] = ()) -> str:
    """What became of one run: completed, failed, or busy when another process is at it; never raises for a failed run.

    A run whose kernel was killed is started once more. The kernel gets as many `threads` on every back-end, so that
    results are equal to the last bit, and of several `gpus` the one with its worker's number.
    """
    index = executors.worker_index()
    environment = kernels.threads(threads)
    if gpus:
        environment["CUDA_VISIBLE_DEVICES"] = gpus[(index or 0) % len(gpus)]
    # a worker's progress bars would write over the sweep's own
    silence = contextlib.nullcontext() if index is None else contextlib.redirect_stderr(io.StringIO())
    try:
        with store.locked(row["run"]), _environment(environment), silence:
            status = _try(row)
            return _try(row) if status == "failed" and _KILLED.search(records.read(row)["error"]) else status
    except Timeout:
        return "busy"


def status(path: str | Path) -> pd.DataFrame:
    """Table [run, notebook, status, ...] of what a sweep would do: one column for each parameter that varies.

    Status is completed, failed, running (somewhere, now), interrupted (its process is gone) or planned.
    """
    rows = plan(path)
    frame = pd.DataFrame([row["given"] for row in rows], dtype=object)
    varied = [name for name in frame if frame[name].map(repr).nunique(dropna=False) > 1]
    head = pd.DataFrame([{name: row[name] for name in ("run", "notebook")} | {"status": _status(row)} for row in rows])
    return pd.concat([head, frame[varied].fillna("")], axis=1)


def folder(path: str | Path) -> Path:
    """Where a sweep's records and manifest live."""
    return records.home(_resolve(path).stem)


def _resolve(path: str | Path) -> Path:
    """A sweep's file by its path, or by its name in notebooks/sweeps."""
    path = Path(path)
    return path if path.is_file() or path.suffix else ROOT / "notebooks" / "sweeps" / f"{path}.yaml"


def _add(rows: dict, point: Mapping, declared: Mapping) -> None:
    """Add to `rows` the runs of one point: each notebook with what it declares, and the runs it reads by their ids."""
    before: dict[str, str] = {}
    for source, found in declared.items():
        given = {name: value for name, value in point.items() if name in found} | _reads(found, point, before)
        try:
            given = parameters.check(found, given)
        except ValueError as error:
            wrong = next((value for name, value in given.items() if repr(name) in error.args[0]), None)
            raise ValueError(f"{source.stem}: {error.args[0]}{grids.hint(wrong)}") from None
        given = ({"interactive": False} if "interactive" in found else {}) | given
        planned = runner._plan(source, found, given, None)
        if not runner._is_complete(planned):
            runner.refuse_absent(planned["parameters"])
        facts = {name: planned[name] for name in ("run", "parameters")} | {"folder": str(planned["folder"])}
        row = rows.setdefault(
            planned["run"], {"notebook": source.stem, "source": str(source), "given": given, "needs": [], **facts}
        )
        row["needs"] = list(dict.fromkeys([*row["needs"], *before.values()]))
        before[source.stem] = planned["run"]


def _reads(found: Mapping, point: Mapping, before: Mapping) -> dict:
    """Values of parameters such as `experts_run`, which name the run to read: the one at the same point."""
    wanted = {name: results.READERS.get(name) for name in found if name not in point}
    return {name: before[notebook] for name, notebook in wanted.items() if notebook in before}


def _release(waiting: dict, ready: dict, state: dict, retry_failed: bool) -> None:
    """Move runs out of `waiting`: to `state` where no work is left or possible, to `ready` once their needs are met."""
    for name, row in list(waiting.items()):
        needs = {state.get(need) for need in row["needs"]}
        if needs & {"failed", "blocked"}:
            state[name] = records.write(row, "blocked", error="an earlier notebook at this point failed")
        elif None in needs:
            continue
        elif runner._is_complete(_paths(row)):
            state[name] = records.completed(row)
        elif records.read(row).get("status") == "failed" and not retry_failed:
            state[name] = "failed"
        else:
            ready[name] = row
        del waiting[name]


def _submit(executor: Executor, row: Mapping, *, threads: int, gpus: Sequence[str]) -> Future:
    return executor.submit(attempt, row, threads, gpus)


def _outcome(future: Future, row: Mapping) -> str:
    """Status that a worker sent, or failed where the worker did not live to send one."""
    try:
        return future.result()
    except (OSError, ImportError):
        raise  # a full disk or a wrong installation is no matter of this run
    except (Exception, CancelledError) as error:
        return records.write(row, "failed", error=f"its worker was lost {executors.LOST} times: {type(error).__name__}")


def _finish(row: Mapping, status: str, ready: dict, state: dict) -> None:
    """Note what became of a run; one that is busy elsewhere goes to the end of the queue."""
    if status == "busy":
        time.sleep(_PAUSE)
        ready[row["run"]] = row | {"turn": row["turn"] + 1_000_000}
        return
    state[row["run"]] = status
    record = records.read(row)
    _log.info("%s %s %s in %.1f s", row["notebook"], row["run"], status, record["seconds"])


def _try(row: Mapping) -> str:
    """Execute a run once, its record telling so before and after; no more is done for one that is complete by now."""
    if runner._is_complete(_paths(row)):
        return records.completed(row)
    records.write(row, "running", started=records.now(), attempts=records.read(row).get("attempts", 0) + 1)
    started = time.time()
    try:
        runner.notebook(row["source"], row["given"])
    except KeyboardInterrupt:
        records.write(row, "interrupted", seconds=time.time() - started)
        raise
    except Exception as error:
        told = str(error) if isinstance(error, RuntimeError | ValueError | OSError) else repr(error)
        return records.write(row, "failed", seconds=time.time() - started, error=told)
    return records.completed(row)


def _status(row: Mapping) -> str:
    """How a run stands, as `status` tells it."""
    if runner._is_complete(_paths(row)):
        return "completed"
    stated = records.read(row).get("status")
    try:
        with store.locked(row["run"]):
            stated = "interrupted" if stated == "running" else stated
            return stated if stated in ("failed", "interrupted") else "planned"
    except Timeout:
        return "running"


def _paths(row: Mapping) -> dict:
    """What the runner looks at to see whether a run is complete."""
    return {"folder": Path(row["folder"]), "output": Path(row["folder"], Path(row["source"]).name)}


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Nothing, while the environment has these values, for kernels that start meanwhile."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
