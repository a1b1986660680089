"""What goes wrong in the middle of a sweep, really done: nothing complete is lost or repeated, and the record tells.

A full disk, a cache cut in half and Ctrl-C in pretraining are tried where files are written: in test_store and
test_mini; a single run's faults are in test_run.
"""

import os
import signal
import subprocess
from contextlib import nullcontext
from pathlib import Path

import pytest
from homes import enter, home, log, make_home, record, start, wait_until, write_sweep

from helpers.running import executors, records, sweep

pytestmark = pytest.mark.slow

__all__ = ["home"]


def finish(process: subprocess.Popen) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command that ends by itself."""
    told = process.communicate(timeout=180)
    return process.returncode, *told


def gone(pid: object) -> bool:
    """Whether a process has ended (or only waits to be buried)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_one_sweep_survives_whatever_its_notebooks_do(home):
    write_sweep(home, grid={"mode": ["exit", "die", "die once", "ok"]})
    code, out, _ = finish(start(home, "sweep", "small"))
    assert code == 1
    assert "2 failed" in out and "2 completed" in out
    assert "left early (sys.exit?)" in record(home, mode="exit")["error"]
    assert "kernel was killed" in record(home, mode="die")["error"]
    told = {mode: (record(home, mode=mode)["status"], record(home, mode=mode)["attempts"]) for mode in ("die", "ok")}
    assert told == {"die": ("failed", 2), "ok": ("completed", 1)}
    assert record(home, mode="die once")["attempts"] == 2
    assert len(log(home)) == len(set(log(home))) == 2
    for mode, place in ((mode, Path(record(home, mode=mode)["folder"])) for mode in ("exit", "die")):
        assert [path.name for path in place.iterdir()] == ["01_expert_discovery.failed.ipynb"], mode


def test_a_sweep_that_is_killed_goes_on_where_it_was(home):
    write_sweep(home, grid={"mode": ["ok", "hang once"]})
    process = start(home, "sweep", "small")
    wait_until(lambda: (home / "seen-hang once").exists())
    process.kill()
    process.communicate()
    table = records.manifest("small")
    assert table.status.tolist() == ["completed", "running"]
    assert sweep.status(sweep.plan("small")).status.tolist() == ["completed", "interrupted"]
    wait_until(lambda: gone((home / "seen-hang once").read_text()))
    table = sweep.execute("small")
    assert (table.status.tolist(), table.attempts.tolist()) == (["completed"] * 2, [1, 2])
    assert log(home) == table.run.tolist()


def test_ctrl_c_stops_a_sweep_and_its_workers(home):
    write_sweep(home, grid={"mode": ["hang once"], "k": [1, 2]})
    process = start(home, "sweep", "small", "--workers", 2)
    wait_until(lambda: (home / "seen-hang once").exists())
    process.send_signal(signal.SIGINT)
    code, _, err = finish(process)
    assert code == 130
    assert "stopped; what had completed is kept" in err.splitlines() and "Traceback" not in err
    wait_until(lambda: gone((home / "seen-hang once").read_text()))
    assert set(sweep.status(sweep.plan("small")).status) <= {"interrupted", "planned", "completed"}


def test_the_run_of_a_killed_kernel_is_done_once_more_and_the_one_beside_it_goes_on(home):
    write_sweep(home, grid={"mode": ["hang once", "ok"]})
    process = start(home, "sweep", "small", "--workers", 2)
    wait_until(lambda: (home / "seen-hang once").exists() and (home / "seen-hang once").read_text())
    kernel = int((home / "seen-hang once").read_text())
    assert kernel != process.pid and record(home, mode="hang once")["worker"].endswith(f":{process.pid}")
    os.kill(kernel, signal.SIGKILL)
    code, out, err = finish(process)
    assert code == 0, err
    assert "2 completed" in out
    assert (record(home, mode="hang once")["attempts"], record(home, mode="ok")["attempts"]) == (2, 1)
    assert len(log(home)) == len(set(log(home))) == 2


def test_a_run_that_takes_every_worker_with_it_is_given_up(home, monkeypatch):
    class Lost:
        """An executor whose workers all die."""

        def submit(self, function, *arguments):
            return executors.Inline().submit(lambda: 1 / 0)

    write_sweep(home, notebooks=["01_expert_discovery", "02_steering"])
    monkeypatch.setattr(executors, "pool", lambda profile: nullcontext(Lost()))
    table = sweep.execute("small")
    assert table.status.tolist() == ["failed", "blocked"]
    assert table.error[0].startswith("its worker was lost 3 times")


def test_two_sweeps_at_once_share_the_runs(home):
    write_sweep(home, grid={"k": [1, 2, 3]})
    write_sweep(home, "other", grid={"k": [3, 2, 1]})
    both = [start(home, "sweep", name) for name in ("small", "other")]
    outcomes = [finish(process) for process in both]
    assert [code for code, *_ in outcomes] == [0, 0], outcomes
    assert all("3 completed" in out for _, out, _ in outcomes)
    assert len(log(home)) == len(set(log(home))) == 3
    assert len({record(home, name, k=k)["completed"] for name in ("small", "other") for k in (1, 2, 3)}) == 3


def test_a_full_disk_is_told_and_leaves_nothing_half_written(tmp_path, monkeypatch):
    resource = pytest.importorskip("resource", reason="limits on file size exist on POSIX only")
    enter(make_home(tmp_path / "home"), monkeypatch)
    write_sweep(tmp_path / "home", grid={"k": [200_000]})

    def shrink() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (64_000, 64_000))

    code, _, err = finish(start(tmp_path / "home", "sweep", "small", preexec_fn=shrink))
    assert code == 1
    assert "no room for" in err and "bytes are free" in err
    place = Path(record(tmp_path / "home")["folder"])
    assert [path.name for path in place.iterdir()] == ["01_expert_discovery.failed.ipynb"]
    assert sweep.execute("small", retry_failed=True).status.tolist() == ["completed"]
