"""The whole workbook: what runs beside what, and what a failure, a kill and Ctrl-C leave behind."""

import json
import os
import signal
import subprocess
import sys

import pytest
from homes import PARAMETERS, home, start, wait_until, write_notebook
from psutil import pid_exists

from helpers.running import executors, sweep

pytestmark = pytest.mark.slow

__all__ = ["home"]
NOTE = """
import os, time
from helpers.common import results
with open("log", "a") as log:
    log.write(f"start {results.current_run('')[:2]} {os.environ.get('OMP_NUM_THREADS', 'all')}\\n")
time.sleep(0.2)
with open("log", "a") as log:
    log.write(f"end {results.current_run('')[:2]}\\n")
"""


def log(home):
    return (home / "log").read_text().splitlines() if (home / "log").exists() else []


def test_a_notebook_waits_for_the_first_and_for_those_it_reads(home):
    write_notebook(home, "00_start", PARAMETERS)
    write_notebook(home, "03_other", PARAMETERS + 'experts_run: str = ""\nsteering_run: str = ""\n')
    names = ["00_start", "01_expert_discovery", "02_steering", "03_other"]
    rows = sweep.plan_workbook(names)
    runs = [row["run"] for row in rows]
    assert [row["after"] for row in rows[:3]] == [[], runs[:1], runs[:2]]
    assert sweep.status(rows).to_dict("list") == {"run": runs, "notebook": names, "status": ["planned"] * 4}
    assert rows[3]["after"] == runs[:2]  # 02 has another name here
    assert all(row["given"] == {"interactive": False} and row["default"] for row in rows)


def test_two_at_once_keep_the_order_that_reading_asks_for_and_go_on_after_a_failure(home, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    write_notebook(home, "00_start", PARAMETERS, NOTE)
    write_notebook(home, "01_expert_discovery", PARAMETERS, NOTE, "1 / 0")
    write_notebook(home, "02_steering", PARAMETERS + 'experts_run: str = ""\n', NOTE)
    write_notebook(home, "04_alone", PARAMETERS, NOTE)
    process = start(home, "workbook", "--workers", "2")
    out, told = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "ZeroDivisionError" in told
    assert [line.split()[::2] for line in out.splitlines()[-4:]] == [
        ["00_start", "completed"],
        ["01_expert_discovery", "failed"],
        ["02_steering", "completed"],
        ["04_alone", "completed"],
    ]
    lines = [" ".join(line.split()[:2]) for line in log(home)]
    assert lines[:2] == ["start 00", "end 00"]
    assert lines.index("start 02") > lines.index("end 01")
    share = max(1, executors.cores() // 2)
    threads = {line.split()[1]: line.split()[2] for line in log(home) if line.startswith("start")}
    assert threads["00"] == "all" and threads["01"] == threads["04"] == str(share)
    assert threads["02"] in (str(share), "all"), "all where 04 has ended before 01"
    again = start(home, "workbook", "--workers", "2").communicate(timeout=120)[0]
    assert again.count("skipped") == 3


def test_a_run_whose_kernel_is_killed_is_told(home):
    write_notebook(home, "00_start", PARAMETERS)
    write_notebook(home, "01_expert_discovery", PARAMETERS, "import os; os.kill(os.getpid(), 9)")
    write_notebook(home, "02_steering", PARAMETERS)
    process = start(home, "workbook")
    out, told = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "lack of memory; ask for fewer" in told
    assert [line.split()[2] for line in out.splitlines()[-3:]] == ["completed", "failed", "completed"]
    assert [line.split()[1] for line in out.splitlines()[-3:]][1] != "0.0"


def test_a_complete_workbook_is_skipped_at_once_and_is_the_latest_again(home):
    """No process is started and no notebook machinery imported for what is complete."""
    assert start(home, "workbook").wait(120) == 0
    marker = next(home.glob("data/results/*/*/01-*/run.json"))
    asked = json.loads(marker.read_text())["asked"]
    code = (
        "import sys; from helpers.running import sweep; table = sweep.execute_workbook();"
        "print(*table.status, 'papermill' in sys.modules, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=home)
    assert done.stdout.split() == ["skipped", "skipped", "False", "False"]
    assert json.loads(marker.read_text())["asked"] > asked


def test_ctrl_c_ends_every_run_and_its_kernel(home):
    wait = "import os, time\nfrom pathlib import Path\n_ = Path(f'pid{os.getpid()}').write_text('')\ntime.sleep(300)"
    write_notebook(home, "00_start", PARAMETERS)
    for name in ("01_expert_discovery", "02_steering"):
        write_notebook(home, name, PARAMETERS, wait)
    process = start(home, "workbook", "--workers", "2")
    wait_until(lambda: len(list(home.glob("pid*"))) == 2)
    os.kill(process.pid, signal.SIGINT)
    told = process.communicate(timeout=120)[1]
    assert process.returncode == 130, told
    assert told.splitlines()[-1] == "stopped; what had completed is kept"
    assert "Traceback" not in told
    wait_until(lambda: not any(pid_exists(int(path.name[3:])) for path in home.glob("pid*")))
