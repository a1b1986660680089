"""200 tiny runs on two workers while kernels are killed at random: at the end all have completed.

A run is executed at least once: a kernel that is killed after its last cell leaves no completed run, and the run is
done again. What a completed run leaves is of one execution, its last: tables and notebook bear the same mark.

Run: make soak, or python tests/soak.py [runs] [seconds between kills]. The sweep is started again, as a person would,
with --retry-failed, until nothing has failed; a run whose kernel is killed is started once more by the sweep itself.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import psutil
from homes import PARAMETERS, write_notebook, write_sweep

CELL = """
import os, time, uuid
from helpers.common import results, store
name, mark = results.current_run("01_experts"), uuid.uuid4().hex
print(f"{name} {mark}")
for part in ("first", "last"):
    _ = store.write_json(results.folder(name, corpus, model, revision) / f"{part}.json", mark)
    time.sleep(0.15)
with open("log", "a") as log:
    log.write(f"{name} {mark}\\n")
"""


def kernels(home: Path) -> list[psutil.Process]:
    """The kernels that this sweep has running."""
    found = []
    for process in psutil.process_iter(["cmdline", "environ"]):
        line, environment = process.info["cmdline"] or [], process.info["environ"] or {}
        if "ipykernel_launcher" in line and environment.get("ISOGLOSS_HOME") == str(home):
            found.append(process)
    return found


def kill_now_and_then(home: Path, stop: threading.Event, pause: float, killed: list) -> None:
    """Kill a random kernel every `pause` seconds or so, at any moment of its life."""
    chance = random.Random(0)
    while not stop.wait(chance.uniform(0.5, 1.5) * pause):
        alive = kernels(home)
        if alive:
            victim = chance.choice(alive)
            os.kill(victim.pid, signal.SIGKILL)
            killed.append(victim.pid)


def main() -> int:
    """Print the closing table; 1 unless every run has completed with the results of one execution."""
    runs, pause = int(sys.argv[1]) if len(sys.argv) > 1 else 200, float(sys.argv[2]) if len(sys.argv) > 2 else 6.0
    home = Path(tempfile.mkdtemp(prefix="isogloss-soak-")).resolve()
    (home / "notebooks" / "sweeps").mkdir(parents=True)
    write_notebook(home, "01_expert_discovery", PARAMETERS, CELL)
    write_sweep(home, "soak", grid={"k": list(range(1, runs + 1))})
    stop, killed, started, rounds = threading.Event(), [], time.time(), 0
    thread = threading.Thread(target=kill_now_and_then, args=(home, stop, pause, killed), daemon=True)
    thread.start()
    command = [sys.executable, "-m", "helpers", "sweep", "soak", "--workers", "2", "--retry-failed"]
    code = 1
    while code == 1 and rounds < 10:
        done = subprocess.run(command, env=os.environ | {"ISOGLOSS_HOME": str(home)}, capture_output=True, text=True)
        code, rounds = done.returncode, rounds + 1
        print(f"round {rounds}: exit code {code}, {(done.stdout or done.stderr).strip().splitlines()[-1]}", flush=True)
    stop.set()
    thread.join()
    return close(
        home, runs, {"kernels killed": len(killed), "sweeps started": rounds, "seconds": time.time() - started}
    )


def close(home: Path, runs: int, facts: dict) -> int:
    """Print what became of all; 1 unless each completed, with the results of the execution that ended last."""
    import pandas as pd

    table = pd.read_parquet(home / "data/results/sweeps/soak/manifest.parquet")
    ends = [line.split() for line in (home / "log").read_text().splitlines()]
    last = dict(ends)
    folders = {Path(folder).name: Path(folder) for folder in table.folder}
    mixed = [run for run, folder in folders.items() if marks(folder) != {last.get(run)}]
    halves = [
        path.name for path in home.glob("data/results/world/*/*/*") if ".partial" in path.name or ".tmp" in path.name
    ]
    rows = {
        "runs": runs,
        "completed": int((table.status == "completed").sum()),
        "started more than once": int((table.attempts > 1).sum()),
        "most attempts at one": int(table.attempts.max()),
        "came to their end twice": sum(count > 1 for count in Counter(run for run, _ in ends).values()),
        "of several executions": len(mixed),
        "half-written files": len(halves),
        **facts,
        "median seconds a run": float(table.seconds.median()),
    }
    for name, value in rows.items():
        print(f"  {name:26s} {value:8.1f}" if isinstance(value, float) else f"  {name:26s} {value:8d}")
    whole = rows["completed"] == runs == len(last) and not mixed and not halves
    print("every run has the results of one execution" if whole else f"NOT every run is whole; see {home}")
    return int(not whole)


def marks(folder: Path) -> set[str]:
    """The marks of the executions that a run's tables and its executed notebook come from."""
    book = json.loads((folder / "01_expert_discovery.ipynb").read_text())
    printed = "".join("".join(output.get("text", [])) for cell in book["cells"] for output in cell.get("outputs", []))
    return {printed.split()[1], *(json.loads((folder / f"{part}.json").read_text()) for part in ("first", "last"))}


if __name__ == "__main__":
    sys.exit(main())
