"""The same runs anywhere: in this process, in threads of it, and as jobs, with a stand-in for the queue."""

import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import yaml
from homes import enter, home, log, make_home, record, wait_until, write_sweep
from pandas.testing import assert_frame_equal
from typer.testing import CliRunner

from helpers.running import cli as command_line
from helpers.running import executors, grids, records, sweep

pytestmark = pytest.mark.slow

__all__ = ["home"]
pytest.importorskip("dask_jobqueue", reason="the extra `cluster` is not installed")
JOB = {"cluster": "slurm", "workers": 2, "cores": 4, "memory": "32GB", "walltime": "08:00:00", "queue": "gpu"}
ASKED = JOB | {"account": "ours", "gpus": True, "directives": ["--nice=1"], "setup": ["module load cuda"]}


@pytest.mark.parametrize(
    ("profile", "told"),
    [
        ({"cluster": "slrum"}, "no cluster 'slrum'; did you mean slurm"),
        ({"workers": 0}, "0 workers of 1 cores"),
        ({"cluster": "pbs", "walltime": "01:00:00"}, "a profile for pbs needs memory"),
        ({"queue": "gpu"}, "queue mean nothing on cluster: local"),
        (JOB | {"walltime": "8 hours"}, "walltime '8 hours'; write hours:minutes:seconds"),
        (JOB | {"walltime": "00:10:00"}, "leaves no time"),
    ],
)
def test_a_profile_that_no_cluster_can_meet_is_refused(profile, told):
    with pytest.raises((ValueError, LookupError), match=told):
        executors.check(profile)


def test_a_profile_is_read_as_strictly_as_a_sweep(tmp_path):
    for text, told in [
        ("worker: 2", "no key 'worker'; did you mean workers"),
        ("memory: 32", "memory is 32; write a str"),
    ]:
        (tmp_path / "slurm.yaml").write_text(text)
        with pytest.raises((ValueError, LookupError), match=told):
            grids.read(tmp_path / "slurm.yaml", executors.PROFILE)


@pytest.mark.parametrize(
    ("cluster", "asked"),
    [
        ("slurm", ["#SBATCH -p gpu", "-A ours", "--cpus-per-task=4", "--mem=30G", "-t 08:00:00", "--gres=gpu:1"]),
        ("pbs", ["#PBS -q gpu", "-A ours", "-l select=1:ncpus=4:mem=32GB:ngpus=1", "-l walltime=08:00:00"]),
        ("lsf", ["#BSUB -q gpu", '-P "ours"', "-n 4", "-M 32000000", "-W 8:00", '-gpu "num=1"']),
    ],
)
def test_the_job_script_asks_for_what_the_profile_says(home, cluster, asked):
    script = executors.job_script(executors.check(ASKED | {"cluster": cluster}))
    head = [line for line in script.splitlines() if line.startswith("#")]
    for wanted in [*asked, "--nice=1"]:
        assert any(wanted in line for line in head), f"{wanted} is not in\n{script}"
    body = [line for line in script.splitlines() if line and not line.startswith("#")]
    assert body[:3] == [f"export ISOGLOSS_HOME={home}", "export HF_HUB_OFFLINE=1", "module load cuda"]
    for wanted in (sys.executable, "--nthreads 1", "--resources GPU=1", "--lifetime 28500s", "tls://", "--tls-key"):
        assert wanted in body[3]


def test_without_a_gpu_none_is_asked_for(home):
    for cluster in executors.JOBS:
        script = executors.job_script(executors.check(JOB | {"cluster": cluster, "queue": "all"}))
        assert not any(word in script for word in ("gpu:1", "ngpus", "-gpu", "GPU=1"))


def test_keys_are_for_the_owner_alone(home):
    executors.job_script(executors.check(JOB))
    assert (home / "data/cache/cluster").stat().st_mode & 0o077 == 0


def test_where_nothing_can_be_submitted_the_command_says_so(home, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "slurm.yaml").write_text(yaml.safe_dump(JOB))
    write_sweep(home)
    outcome = CliRunner().invoke(command_line.app, ["sweep", "small", "--cluster", str(tmp_path / "slurm.yaml")])
    assert (outcome.exit_code, outcome.stderr[:14]) == (1, "no sbatch here")


def test_local_workers_share_out_the_gpus(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert executors.gpus(executors.check({"workers": 2, "gpus": True})) == ["3", "5"]
    assert executors.gpus(executors.check({"workers": 2})) == []
    assert executors.gpus(executors.check(JOB | {"gpus": True})) == []
    with pytest.raises(ValueError, match="3 workers but 2 GPUs"):
        executors.gpus(executors.check({"workers": 3, "gpus": True}))


def test_a_run_sees_its_threads_and_a_gpu_that_no_run_beside_it_sees(home, monkeypatch):
    at, seen, most = set(), [], []

    def tried(row: dict, told: dict) -> str:
        own = told["CUDA_VISIBLE_DEVICES"]
        assert own not in at
        at.add(own)
        most.append(len(at))
        seen.append((told["OMP_NUM_THREADS"], own))
        time.sleep(0.1 + 0.1 * (own == "4"))
        at.discard(own)
        return "completed"

    monkeypatch.setattr(sweep, "_try", tried)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    before = dict(os.environ)
    rows = sweep.plan(write_sweep(home, grid={"k": [1, 2, 3, 4, 5, 6]}))
    state = sweep.perform("small", rows, executors.check({"workers": 2, "cores": 3, "gpus": True}))
    assert {*state.values()} == {"completed"} and len(state) == len(seen) == 6
    assert {*seen} == {("3", "4"), ("3", "7")} and max(most) == 2 and dict(os.environ) == before


def results_of(home, workers: int) -> list:
    """The tables of a small sweep, without the columns that tell when and where."""
    path = write_sweep(home, notebooks=["01_expert_discovery", "02_steering"], grid={"k": [3, 4]})
    table = sweep.execute(path, executors.check({"workers": workers}))
    assert table.status.eq("completed").all(), table.error.tolist()
    assert len(log(home)) == 2
    told = table[["notebook", "run", "status", "attempts", "parameters", "reads", "outputs"]]
    return [told, records.gather("small", "steering.parquet")]


def test_two_local_workers_give_the_same_tables_as_none(tmp_path, monkeypatch):
    found = []
    for workers in (1, 2):
        enter(make_home(tmp_path / str(workers)), monkeypatch)
        found.append(results_of(tmp_path / str(workers), workers))
    for alone, shared in zip(*found):
        assert_frame_equal(alone, shared, check_exact=True)


SBATCH = """\
#!/bin/sh
cp "$1" {home}/submitted.sh
setsid sh {home}/submitted.sh >{home}/job.log 2>&1 &
echo $! >>{home}/jobs
echo "Submitted batch job $!"
"""


@pytest.fixture
def queue(home, tmp_path, monkeypatch):
    """A profile for a queueing system whose jobs are processes of this machine; none is left when the test ends."""
    if not shutil.which("setsid"):
        pytest.skip("the stand-in for a queue needs setsid")
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "sbatch").write_text(SBATCH.format(home=home))
    (tools / "scancel").write_text('#!/bin/sh\nkill -- "-$1"\n')
    for tool in tools.iterdir():
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    yield executors.check(
        JOB | {"workers": 1, "gpus": True, "interface": "lo", "setup": [f"export PYTHONPATH={os.getcwd()}"]}
    )
    for job in (home / "jobs").read_text().split():
        wait_until(lambda job=job: subprocess.run(["kill", "-0", "--", f"-{job}"], capture_output=True).returncode)


def test_jobs_of_a_queueing_system_do_the_runs(home, queue):
    table = sweep.execute(write_sweep(home), queue)
    assert table.status.tolist() == ["completed"], table.error.tolist()
    assert "#SBATCH --gres=gpu:1" in (home / "submitted.sh").read_text()


def test_the_run_of_a_lost_worker_is_done_by_another(home, queue):
    path, lost = write_sweep(home, grid={"mode": ["hang once"]}), []

    def kill() -> None:
        wait_until(lambda: (home / "seen-hang once").exists())
        lost.append(record(home)["worker"].rpartition(":")[2])
        os.kill(int(lost[0]), signal.SIGKILL)

    with ThreadPoolExecutor(1) as thread:
        killing = thread.submit(kill)
        table = sweep.execute(path, queue)
        killing.result()
    assert (table.status.tolist(), table.attempts.tolist()) == (["completed"], [2]), table.error.tolist()
    assert table.worker[0].rpartition(":")[2] not in (*lost, str(os.getpid())) and len(log(home)) == 1
