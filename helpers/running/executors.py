"""Where runs are executed: in this process, on this machine's cores, or as jobs of SLURM, PBS or LSF.

Every place is an executor with `submit(function, *arguments) -> Future`, so that what is repeated does not know where.
A worker does one thing at a time; the tasks of one that is lost go to another. Workers and scheduler speak over TLS
with keys made for the occasion, because whoever reaches an open Dask port can run code as its owner.
"""

import importlib
import logging
import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from typing import Any

from helpers import ROOT
from helpers.common.lookup import known

PROFILE = {  # keys of a profile and their types
    "cluster": str,  # local, slurm, pbs or lsf
    "workers": int,  # on a queue, each is a job of its own
    "cores": int,  # threads of each run, and CPUs of each job
    "gpus": bool,  # one GPU for each worker
    "memory": str,  # of a job, such as 32GB
    "walltime": str,  # of a job, hours:minutes:seconds in quotes
    "queue": str,  # or partition
    "account": str,  # or project
    "directives": list,  # further lines of the job's head, such as --constraint=a100
    "setup": list,  # shell lines before the worker starts, such as conda activate isogloss
    "interface": str,  # network interface, such as ib0
    "spool": str,  # a folder that all nodes see, for keys; default: data/cache/cluster
}
JOBS = {"slurm": ("SLURMCluster", "sbatch"), "pbs": ("PBSCluster", "qsub"), "lsf": ("LSFCluster", "bsub")}
LOST = 3  # workers that may vanish under one task before it is given up
_UNSEEN = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}  # nothing to see without a key
_log = logging.getLogger(__name__)


class Inline(Executor):
    """An executor that does the work at once, in this very process."""

    def submit(self, function: Callable, /, *arguments: Any) -> Future:
        """A future that is already done."""
        future = Future()
        try:
            future.set_result(function(*arguments))
        except Exception as error:
            future.set_exception(error)
        return future


def check(profile: Mapping) -> dict:
    """The profile with defaults; ValueError or LookupError for what no cluster can make of it."""
    full = {"cluster": "local", "workers": 1, "cores": 1, "gpus": False, "directives": [], "setup": []}
    full |= {"spool": str(ROOT / "data" / "cache" / "cluster")} | dict(profile)
    queued = known(full["cluster"], ["local", *JOBS], "cluster") != "local"
    if min(full["workers"], full["cores"]) < 1:
        raise ValueError(f"{full['workers']} workers of {full['cores']} cores; give at least 1 of each")
    missing = [name for name in ("memory", "walltime") if queued and name not in full]
    if missing:
        raise ValueError(f"a profile for {full['cluster']} needs {' and '.join(missing)}, such as 32GB and '08:00:00'")
    lost = [name for name in full if not queued and name in ("memory", "walltime", "queue", "account")]
    if lost:
        raise ValueError(f"{', '.join(lost)} mean nothing on cluster: local; drop them, or name a queueing system")
    if queued and _seconds(full["walltime"]) <= 600:
        raise ValueError(f"walltime {full['walltime']} leaves no time; workers stop 5 minutes before, give over 10")
    return full


@contextmanager
def pool(profile: Mapping) -> Iterator[Executor]:
    """An executor of a checked profile: in this process for one local worker, else Dask's, closed on leaving."""
    local = profile["cluster"] == "local"
    if local and profile["workers"] == 1:
        yield Inline()
        return
    if not local and not shutil.which(submit := JOBS[profile["cluster"]][1]):
        raise RuntimeError(f"no {submit} here; start the sweep where jobs can be submitted from")
    distributed, dask = _imported("distributed"), _imported("dask")
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what matters arrives as an outcome
    settings = {"distributed.scheduler.allowed-failures": LOST - 1, "distributed.scheduler.http.routes": []}
    needs = {"resources": {"GPU": 1}} if profile["gpus"] and not local else {}
    with dask.config.set(settings), (_workers if local else _jobs)(profile) as cluster:
        if not local:
            _log.info("submitting %d jobs; they write their logs to %s", profile["workers"], profile["spool"])
            cluster.adapt(minimum_jobs=profile["workers"], maximum_jobs=profile["workers"])  # replaces jobs that end
        with distributed.Client(cluster) as client:
            yield client.get_executor(pure=False, retries=0, **needs)


def job_script(profile: Mapping) -> str:
    """The script that would be submitted for each worker."""
    known(profile["cluster"], JOBS, "queueing system")
    with _jobs(profile) as cluster:
        return cluster.job_script()


def worker_index() -> int | None:
    """Number of the local Dask worker that this code runs on, from 0; None outside of one."""
    if "distributed" not in sys.modules:
        return None
    from distributed import get_worker

    try:
        return int(get_worker().name)
    except ValueError:  # no worker, or one of a queueing system
        return None


def gpus(profile: Mapping) -> list[str]:
    """The GPUs that local workers share out, as CUDA_VISIBLE_DEVICES names them; ValueError for fewer than workers.

    Empty where none were asked for, and on a queueing system, which shows each job its own.
    """
    if not profile["gpus"] or profile["cluster"] in JOBS:
        return []
    found = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    if not found:
        import torch  # here, because it takes seconds and only GPUs need it

        found = [str(number) for number in range(torch.cuda.device_count())]
    if len(found) < profile["workers"]:
        raise ValueError(f"{profile['workers']} workers but {len(found)} GPUs; ask for at most one worker a GPU")
    return found


def _workers(profile: Mapping):
    """A running cluster of workers on this machine."""
    size = {"n_workers": profile["workers"], "threads_per_worker": 1, "memory_limit": 0, "scheduler_kwargs": _UNSEEN}
    cluster = _imported("distributed").LocalCluster
    return cluster(**size, host="127.0.0.1", protocol="tls", security=True, silence_logs=logging.CRITICAL)


def _jobs(profile: Mapping):
    """A cluster of jobs; none is submitted yet."""
    os.makedirs(profile["spool"], mode=0o700, exist_ok=True)
    lifetime = ["--lifetime", f"{_seconds(profile['walltime']) - 300}s", "--lifetime-stagger", "60s"]
    gpu = ["--resources", "GPU=1"] if profile["gpus"] else []
    home = [f"export ISOGLOSS_HOME={shlex.quote(str(ROOT))}", "export HF_HUB_OFFLINE=1"]
    return getattr(_imported("dask_jobqueue"), JOBS[profile["cluster"]][0])(
        **{name: profile[name] for name in ("queue", "memory", "interface") if profile.get(name)},
        **_head(profile),
        cores=1,  # threads of the worker, which does one run at a time
        processes=1,
        python=shlex.quote(sys.executable),
        job_script_prologue=home + profile["setup"],
        worker_extra_args=lifetime + gpu,
        log_directory=profile["spool"],
        local_directory="${TMPDIR:-/tmp}",
        shared_temp_directory=profile["spool"],
        protocol="tls://",
        security=True,
        scheduler_options=_UNSEEN,
    )


def _head(profile: Mapping) -> dict:
    """The options that say time, CPUs, GPU and account in the words of each queueing system."""
    cores, gpu, clock, account = (profile.get(name) for name in ("cores", "gpus", "walltime", "account"))
    hours, minutes = divmod(_seconds(clock) // 60, 60)
    chunk = f"select=1:ncpus={cores}:mem={profile['memory']}{':ngpus=1' if gpu else ''}"
    own, more = {
        "slurm": ({"walltime": clock, "job_cpu": cores, "account": account}, ["--gres=gpu:1"]),
        "pbs": ({"walltime": clock, "resource_spec": chunk, "account": account}, []),
        "lsf": ({"walltime": f"{hours}:{minutes:02}", "ncpus": cores, "project": account}, ['-gpu "num=1"']),
    }[profile["cluster"]]
    return {name: value for name, value in own.items() if value} | {
        "job_extra_directives": more * gpu + profile["directives"]
    }


def _imported(name: str):
    try:
        return importlib.import_module(name)
    except ImportError:
        raise ImportError(f"{name} is not installed; pip install -c constraints.txt -e '.[cluster]'") from None


def _seconds(walltime: str) -> int:
    """Seconds of a wall time such as 08:00:00 or 2-00:00:00; ValueError for another form."""
    if not re.fullmatch(r"(\d+-)?\d+:\d+(:\d+)?", walltime):
        raise ValueError(f"walltime {walltime!r}; write hours:minutes:seconds in quotes, such as '08:00:00'")
    days, _, clock = walltime.rpartition("-")
    hours, minutes, seconds = map(int, f"{clock}:0".split(":")[:3])
    return int(days or 0) * 86400 + hours * 3600 + minutes * 60 + seconds
