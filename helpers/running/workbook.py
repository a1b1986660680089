"""The whole workbook: every numbered notebook with its defaults, each as soon as what it reads is there.

One idea: notebooks tell in their parameters what they read (`edits_run` is the run that wrote the edits), so that two
that do not read each other can run at once. Most of a notebook's time goes to a single core; the training in the first
one is what uses all, and every other notebook waits for it.
"""

import logging
import multiprocessing
import os
import signal
import time
from contextlib import suppress
from multiprocessing.connection import Connection, wait

import pandas as pd

from helpers.common import results
from helpers.common.progress import progress
from helpers.running import kernels, runner
from helpers.running.parameters import inspect

_log = logging.getLogger(__name__)


def execute(names: list[str] | None = None, *, force: bool = False, workers: int = 1) -> pd.DataFrame:
    """Table [notebook, seconds, status, message] of the numbered notebooks, in order; status is as in `run.notebook`.

    At most `workers` run at once, the first one alone, each in a process of its own with its share of the cores, or all
    of them where nothing else can run beside it. A notebook that fails stops none of the others.
    """
    names = names or runner.listed()
    before = {name: reads(name, names) for name in names}
    waiting, running, rows = list(names), {}, {}
    try:
        with progress(None, "workbook", len(names)) as bar:
            while waiting or running:
                ready = [name for name in waiting if before[name] <= set(rows)][: workers - len(running)]
                threads = 0 if not running and len(ready) == 1 else max(1, _cores() // workers)  # 0: all
                for name in ready:
                    waiting.remove(name)
                    running[name] = (*_start(name, force, threads), time.time())
                bar.set_postfix_str(", ".join(running))
                ended = wait([pipe for pipe, *_ in running.values()], timeout=1)
                for name in [name for name, (pipe, *_) in running.items() if pipe in ended]:
                    pipe, process, started = running.pop(name)
                    status, message = _outcome(pipe, process)
                    rows[name] = (name, round(time.time() - started, 1), status, message)
                    _log.info("%s: %s in %s s", name, status, rows[name][1])
                    bar.update()
    finally:
        for _, process, _ in running.values():
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGINT)
            process.join()
    return pd.DataFrame([rows[name] for name in names], columns=["notebook", "seconds", "status", "message"])


def reads(name: str, names: list[str]) -> set[str]:
    """The notebooks among `names` that have to end before this one: the first, and those whose results it reads."""
    read = {results.READERS.get(parameter) for parameter in inspect(runner.resolve(name))}
    return ({names[0]} | read) & set(names) - {name}


def _start(name: str, force: bool, threads: int) -> tuple[Connection, multiprocessing.Process]:
    """The pipe that the outcome will come through, and the process that sends it."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(theirs, name, force, threads))
    process.start()
    theirs.close()
    return ours, process


def _child(pipe: Connection, name: str, force: bool, threads: int) -> None:
    """Send (status, message) of one run; nothing is sent by a process that is killed or interrupted."""
    if threads:
        os.environ.update(kernels.threads(threads))
    with suppress(KeyboardInterrupt):
        try:
            pipe.send((runner.notebook(name, force=force, quiet=True).status, ""))
        except (ValueError, LookupError, RuntimeError, OSError) as error:
            pipe.send(("failed", str(error)))


def _outcome(pipe: Connection, process: multiprocessing.Process) -> tuple[str, str]:
    with pipe:
        try:
            found = pipe.recv()
        except EOFError:
            found = "failed", "its process was killed, most often for lack of memory; try again with --workers 1"
    process.join()
    return found


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
