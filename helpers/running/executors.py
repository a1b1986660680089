"""Where runs are waited for: in this process, in threads of it, or in jobs of SLURM, PBS or LSF.

Every place is an executor with `submit(function, *arguments) -> Future`, so that what is repeated does not know where.
On this machine a thread is enough, since the kernel of a run is a process of its own. Jobs are Dask's: one does one run
at a time, and the runs of a lost one go to another. They and their scheduler speak over TLS with keys made for the
occasion, because whoever reaches an open Dask port can run code as its owner.
"""

import importlib
import logging
import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from helpers import ROOT
from helpers.common.lookup import known
from helpers.running import kernels

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
ALONE = {"cluster": "local", "workers": 1, "cores": 1, "gpus": False}  # the defaults: one run after the other
JOBS = {"slurm": ("SLURMCluster", "sbatch"), "pbs": ("PBSCluster", "qsub"), "lsf": ("LSFCluster", "bsub")}
LOST = 3  # workers that may vanish under one task before it is given up
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
    spool = str(ROOT / "data" / "cache" / "cluster")
    full = ALONE | {"directives": [], "setup": [], "spool": spool} | dict(profile)
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
    """The executor of a checked profile, closed on leaving; Ctrl-C ends the kernels of this process as well."""
    if profile["cluster"] == "local":
        with ThreadPoolExecutor(profile["workers"]) as threads, kernels.interruptible():
            yield Inline() if profile["workers"] == 1 else threads
        return
    if not shutil.which(submit := JOBS[profile["cluster"]][1]):
        raise RuntimeError(f"no {submit} here; start the sweep where jobs can be submitted from")
    distributed, dask = _imported("distributed"), _imported("dask")
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what matters arrives as an outcome
    settings = {"distributed.scheduler.allowed-failures": LOST - 1, "distributed.scheduler.http.routes": []}
    with dask.config.set(settings), _jobs(profile) as cluster:
        _log.info("submitting %d jobs; they write their logs to %s", profile["workers"], profile["spool"])
        cluster.adapt(minimum_jobs=profile["workers"], maximum_jobs=profile["workers"])  # replaces jobs that end
        with distributed.Client(cluster) as client:
            yield client.get_executor(pure=False, retries=0, **{"resources": {"GPU": 1}} if profile["gpus"] else {})


def job_script(profile: Mapping) -> str:
    """The script that would be submitted for each worker."""
    known(profile["cluster"], JOBS, "queueing system")
    with _jobs(profile) as cluster:
        return cluster.job_script()


def cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
        scheduler_options={"dashboard": False, "dashboard_address": "127.0.0.1:0"},  # nothing to see without a key
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
